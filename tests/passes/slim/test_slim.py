import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import models_zoo
from onnxslim.graph import load, parse, to_bytes, to_proto
from onnxslim.passes.slim import Slim, slim_passes
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_rewrites, assert_same_outputs

HEADER = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]>'
MIXED = f"""{HEADER} g (bool c, float[N, 3, 8, 8] x, float[1] unused) => (float[N, 2, K, L] y)
    <float[2] s = {{1, 8}}, float[2] t = {{3, 4}}, float[2] v = {{4, 16}},
     float[1] one = {{1}}, float[1] uno = {{1}}> {{
    w0 = Constant <value_floats = [0.5, -0.5, 0.25, 1.5, 2.0, -1.0]> ()
    d = Constant <value_ints = [2, 3, 1, 1]> ()
    w = Reshape(w0, d)
    i = Identity(x)
    e = Conv(i, w)
    n = BatchNormalization <epsilon = 0.0> (e, s, t, t, v)
    m = Mul(n, one)
    y0 = If(c) <
        then_branch = a () => (float[N, 2, K, L] p) {{ q = Relu(m)  r = Relu(m)  p0 = Add(q, r)  p = Identity(p0) }},
        else_branch = b () => (float[N, 2, K, L] z) {{ o = Neg(one)  z = Add(m, o) }}
    >
    dead = Exp(uno)
    y = Identity(y0)
}}"""


def test_everything_together() -> None:
    result = assert_rewrites(
        before=MIXED,
        after=f"""{HEADER} g (bool c, float[N, 3, 8, 8] x, float[1] unused) => (float[N, 2, K, L] y)
            <float[2, 3, 1, 1] w = {{0.25, -0.25, 0.125, 3.0, 4.0, -2.0}},
             float[2] b = {{1.5, -4.0}}> {{
            m = Conv(x, w, b)
            y = If(c) <
                then_branch = a () => (float[N, 2, K, L] p) {{ q = Relu(m)  p = Add(q, q) }},
                else_branch = b () => (float[N, 2, K, L] z) <float[1] o = {{-1}}> {{ z = Add(m, o) }}
            >
        }}""",
        rewrite=Slim(),
    )
    assert {action.rule for action in result.actions} >= {
        "remove-node",
        "lift-constant",
        "remove-identity",
        "fold-constant",
        "fuse-conv-batchnorm",
        "merge-nodes",
    }


def test_the_interface_and_all_that_is_written_about_the_model_stay() -> None:
    model = parse(MIXED)
    model.doc_string, model.domain, model.model_version = "doc", "org.example", 7
    model.producer_name, model.producer_version = "tool", "1"
    model.metadata_props["author"] = "me"
    model.graph.doc_string = "graph doc"
    model.graph.metadata_props["k"] = "v"
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.doc_string = f"about {value.name}"
        value.metadata_props["unit"] = str(value.name)
    conv = next(node for node in model.graph if node.op_type == "Conv")
    conv.metadata_props["layer"] = "first"
    before = to_proto(model)
    Slim().run(model, Context())
    after = to_proto(model)
    for name in ("ir_version", "doc_string", "domain", "model_version", "producer_name", "producer_version"):
        assert getattr(after, name) == getattr(before, name), name
    assert list(after.opset_import) == list(before.opset_import)
    assert list(after.metadata_props) == list(before.metadata_props)
    assert after.graph.doc_string == "graph doc"
    assert list(after.graph.metadata_props) == list(before.graph.metadata_props)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert [p.value for node in after.graph.node if node.op_type == "Conv" for p in node.metadata_props] == ["first"]
    assert not after.graph.value_info


def test_twice_is_once() -> None:
    model = parse(MIXED)
    Slim().run(model, Context())
    once = to_bytes(model)
    result = Slim().run(model, Context())
    assert not result.modified
    assert to_bytes(model) == once
    again = load(once)
    Slim().run(again, Context())
    assert to_bytes(again) == once


def test_the_bytes_are_the_same_in_any_process(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(to_bytes(parse(MIXED)))
    script = (
        "import sys, hashlib\nfrom onnxslim.graph import load, to_bytes\nfrom onnxslim.passes.slim import Slim\n"
        "from onnxslim.pipeline.context import Context\nmodel = load(sys.argv[1])\nSlim().run(model, Context())\n"
        "print(hashlib.sha256(to_bytes(model)).hexdigest())"
    )
    model = parse(MIXED)
    Slim().run(model, Context())
    here = hashlib.sha256(to_bytes(model)).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    there = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here


@pytest.mark.parametrize("limit", range(12))
def test_any_prefix_of_the_rewrites_is_a_correct_model_no_larger_than_the_original(limit: int) -> None:
    model = parse(MIXED)
    before = len(to_bytes(model))
    result = Slim().run(model, Context(limit=limit))
    assert len(result.actions) == limit
    assert len(to_bytes(model)) <= before
    assert_same_outputs(MIXED, model)


def test_any_single_refused_rewrite_leaves_a_correct_model() -> None:
    keys = [action.key for action in Slim().run(parse(MIXED), Context()).actions]
    for key in keys:
        model = parse(MIXED)
        result = Slim().run(model, Context(refused=frozenset({key})))
        assert key not in {action.key for action in result.actions}
        assert_same_outputs(MIXED, model)


def test_a_dynamic_axis_is_never_frozen_by_a_declaration() -> None:
    text = f"""{HEADER} g (float[B, S] x) => (float[B, S] y) 
        <int64[1] zero = {{0}}, int64[1] minus = {{-1}}, float[2, 5] r> {{
        s = Shape(x)
        b = Gather(s, zero)
        d = Concat <axis = 0> (b, minus)
        r = Reshape(x, d)
        y = Relu(r)
    }}"""
    model = parse(text)
    Slim().run(model, Context())
    assert_same_outputs(text, model)
    assert [str(value.shape) for value in model.graph.inputs] == ["[B,S]"]


def test_names_that_mean_something_else_inside_are_not_captured() -> None:
    text = f"""{HEADER} g (bool c, float[2] x) => (float[2] y) {{
        e = Exp(x)
        y0 = If(c) <
            then_branch = a () => (float[2] p) {{ f = Exp(x)  q = Neg(f)  p = Add(q, f) }},
            else_branch = b () => (float[2] z) {{ z = Neg(x) }}
        >
        y = Add(y0, e)
    }}"""
    model = parse(text)
    branch = model.graph.node(1).attributes["then_branch"].as_graph()
    branch.node(1).outputs[0].name = "e"
    Slim().run(model, Context())
    assert [node.op_type for node in branch] == ["Exp", "Neg", "Add"]


def test_reasons_are_those_of_the_last_round_only() -> None:
    result = Slim().run(parse(f"{HEADER} g (float[2] x) => (float[2] y) {{ y = Identity(x) }}"), Context())
    assert len(result.declined) == 1


def test_every_pass_names_itself_once() -> None:
    assert len({step.name for step in slim_passes()}) == len(slim_passes()) - 1


def test_a_real_model_gets_smaller_and_computes_the_same() -> None:
    path = models_zoo.get("ppocr_cls").path()
    original = load(path)
    model = load(path)
    Slim().run(model, Context())
    assert len(to_bytes(model)) < path.stat().st_size
    count = sum(node.op_type != "Constant" for node in original.graph)
    assert len(model.graph) <= count - 50
    assert not any(node.op_type == "BatchNormalization" for node in model.graph)
    name = model.graph.inputs[0].name or ""
    image = np.random.default_rng(0).uniform(-1, 1, (2, 3, 48, 192)).astype(np.float32)
    assert_same_outputs(to_proto(original), to_proto(model), feeds=[{name: image}])
    assert isinstance(model, ir.Model)


def test_saved_bytes_are_spent_on_folds_that_remove_nodes_once() -> None:
    """The unused weight pays for the Expand; the second run has nothing to spend, and changes nothing."""
    numbers = ", ".join("1" for _ in range(600))
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[8, 32] x) => (float[8, 32] y)
        <float[8, 1] k = {1, 2, 3, 4, 5, 6, 7, 8}, int64[2] s = {8, 32} UNUSED> { a = Expand(k, s)  y = Pow(x, a) }"""
    poor = parse(text.replace("UNUSED", ""))
    rich = parse(text.replace("UNUSED", f", float[600] unused = {{{numbers}}}"))
    before = to_bytes(rich)
    assert not Slim().run(poor, Context()).modified
    Slim().run(rich, Context())
    assert [node.op_type for node in rich.graph] == ["Pow"]
    once = to_bytes(rich)
    assert len(once) < len(before)
    again = load(once)
    assert not Slim().run(again, Context()).modified
    assert to_bytes(again) == once


def test_a_target_becomes_constant_before_its_numbers_are_shared() -> None:
    """Else the Shape in the middle would stay for the one that comes later, and the target would stay computed."""
    model = parse("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, S, 8] x, float[N, S, 2, 4] z, float[N, S, 1] m) => (float[N, S, 8] y)
        <int64 i = {0}, int64 j = {1}, int64[1] o = {0}, int64[1] eight = {8}> {
            a_value_in_the_middle = Neg(x)  a_shape_of_the_middle = Shape(a_value_in_the_middle)
            the_batch = Gather(a_shape_of_the_middle, i)  the_length = Gather(a_shape_of_the_middle, j)
            one_batch = Unsqueeze(the_batch, o)  one_length = Unsqueeze(the_length, o)
            a_computed_target = Concat <axis = 0> (one_batch, one_length, eight)
            one_reshaped = Reshape(z, a_computed_target)  a_sum_of_both = Add(one_reshaped, a_value_in_the_middle)
            a_shape_of_the_sum = Shape(a_sum_of_both)  one_expanded = Expand(m, a_shape_of_the_sum)
            y = Mul(a_sum_of_both, one_expanded)
        }""")
    Slim().run(model, Context())
    (reshape,) = (node for node in model.graph if node.op_type == "Reshape")
    assert reshape.inputs[1] is not None
    assert reshape.inputs[1].is_initializer()


@pytest.mark.slow
def test_onnxruntime_finds_the_same_attention_in_a_slimmed_encoder(tmp_path: Path) -> None:
    optimizer = pytest.importorskip("onnxruntime.transformers.optimizer")
    found = []
    path = models_zoo.get("minilm_l3").path()
    model = load(path)
    Slim().run(model, Context())
    (tmp_path / "slim.onnx").write_bytes(to_bytes(model))
    for each in (path, tmp_path / "slim.onnx"):
        fused = optimizer.optimize_model(str(each), model_type="bert", num_heads=12, hidden_size=384, opt_level=0)
        kinds = [node.op_type for node in fused.model.graph.node]
        found.append([kinds.count(name) for name in ("Attention", "EmbedLayerNormalization", "BiasGelu")])
    assert found[0] == found[1] == [3, 1, 3]
