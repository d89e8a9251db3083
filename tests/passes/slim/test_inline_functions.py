import numpy as np
import onnx
import pytest

from onnxslim.graph import parse, to_bytes, to_proto
from onnxslim.passes.slim import InlineFunctions, Slim
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites, assert_same_graph, assert_same_outputs

HEADER = '<ir_version: 8, opset_import: ["" : 17, "local" : 1]>'


def test_a_function_called_once_is_put_in_its_place() -> None:
    """Its values clash with the caller's, its attribute is a parameter, its constant becomes the caller's."""
    assert_rewrites(
        f"""{HEADER} g (float[2] x) => (float[2] y) {{
            a = Abs(x)  b = local.f <slope = 0.5> (a, x)  y = Exp(b) }}
        <domain: "local", opset_import: ["" : 17]>
        f <slope> (p, q) => (b) {{
            k = Constant <value = float {{2}}> ()
            a = LeakyRelu <alpha: float = @slope> (p)  x = Mul(a, k)  b = Add(x, q) }}""",
        f"""{HEADER} g (float[2] x) => (float[2] y) {{
            a = Abs(x)  k = Constant <value = float {{2}}> ()
            c = LeakyRelu <alpha = 0.5> (a)  d = Mul(c, k)  b = Add(d, x)  y = Exp(b) }}""",
        InlineFunctions(),
    )


def test_defaults_and_omitted_inputs() -> None:
    assert_rewrites(
        f"""{HEADER} g (float[4] x) => (float[M] y) {{ y = local.f (x) }}
        <domain: "local", opset_import: ["" : 17]>
        f <slope: float = 0.25> (p, high) => (b) {{
            a = LeakyRelu <alpha: float = @slope> (p)  b = Clip(a, , high) }}""",
        f"""{HEADER} g (float[4] x) => (float[M] y) {{ a = LeakyRelu <alpha = 0.25> (x)  y = Clip(a) }}""",
        InlineFunctions(),
    )


def test_an_output_that_the_call_leaves_out() -> None:
    """Not run: onnxruntime 1.32 refuses a call with fewer outputs than its function."""
    model = parse(
        f"""{HEADER} g (float[4] x) => (float[M] y) {{ y = local.f (x) }}
        <domain: "local", opset_import: ["" : 17]> f (p) => (b, c) {{ b = Relu(p)  c = Neg(p) }}"""
    )
    InlineFunctions().run(model, Context())
    assert_same_graph(model, f"{HEADER} g (float[4] x) => (float[M] y) {{ y = Relu(x)  c = Neg(x) }}")


def test_an_attribute_that_nobody_gives_is_left_to_the_operator() -> None:
    assert_rewrites(
        f"""{HEADER} g (float[4] x) => (float[M] y) {{ y = local.f (x) }}
        <domain: "local", opset_import: ["" : 17]>
        f <slope> (p) => (b) {{ b = LeakyRelu <alpha: float = @slope> (p) }}""",
        f"{HEADER} g (float[4] x) => (float[M] y) {{ y = LeakyRelu(x) }}",
        InlineFunctions(),
    )


def test_functions_in_functions_go_from_the_inside() -> None:
    """The inner call passes its caller's parameter on; short bodies pay although they are called twice."""
    assert_rewrites(
        f"""{HEADER} g (float[4] x) => (float[M] y) {{ y = local.outer <s = 0.5> (x) }}
        <domain: "local", opset_import: ["" : 17]>
        inner <slope> (p) => (b) {{ b = LeakyRelu <alpha: float = @slope> (p) }}
        <domain: "local", opset_import: ["" : 17, "local" : 1]>
        outer <s> (p) => (b) {{
            a = local.inner <slope: float = @s> (p)
            b = local.inner <slope = 0.75> (a) }}""",
        f"{HEADER} g (float[4] x) => (float[M] y) {{ a = LeakyRelu <alpha = 0.5> (x)"
        " y = LeakyRelu <alpha = 0.75> (a) }",
        InlineFunctions(),
    )


def test_calls_in_branches_and_bodies_that_capture() -> None:
    """The body's branch names a value as the caller names its argument: captured, it must stay the argument."""
    model = parse(
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) {{
            u = Abs(x)
            y = If(c) <then_branch = t () => (float[2] r) {{ r = local.f(u, c) }},
                       else_branch = e () => (float[2] r) {{ r = Neg(u) }}> }}
        <domain: "local", opset_import: ["" : 17]>
        f (p, q) => (b) {{
            b = If(q) <then_branch = t () => (float[2] v) {{ u = Exp(p) v = Add(u, p) }},
                       else_branch = e () => (float[2] v) {{ v = Neg(p) }}> }}"""
    )
    original = to_proto(model)
    assert InlineFunctions().run(model, Context()).modified
    assert not model.functions
    onnx.checker.check_model(to_proto(model), full_check=True)
    for c in (True, False):
        feed = {"x": np.array([1, -2], np.float32), "c": np.array(c)}
        assert_same_outputs(original, model, feeds=[feed])


LONG = "a = Exp(p)  c = Neg(a)  d = Abs(c)  e = Relu(d)  f = Sigmoid(e)  h = Tanh(f)  b = Sqrt(h)"


def test_a_long_body_called_often_stays() -> None:
    before = f"""{HEADER} g (float[2] x) => (float[M] y) {{
            a = local.f(x)  b = local.f(a)  c = local.f(b)  y = local.f(c) }}
        <domain: "local", opset_import: ["" : 17]>
        f (p) => (b) {{ {LONG} }}"""
    assert_declines(before, InlineFunctions(), reason="would grow")


def test_no_file_grows_by_a_byte() -> None:
    """The same body at one to four calls: wherever it is inlined, the file is smaller."""
    for calls in range(1, 5):
        chain = "  ".join(f"a{i + 1} = local.f(a{i})" for i in range(calls))
        model = parse(
            f"""{HEADER} g (float[2] a0) => (float[M] a{calls}) {{ {chain} }}
            <domain: "local", opset_import: ["" : 17]>
            f (p) => (b) {{ c = Exp(p)  b = Neg(c) }}"""
        )
        before = len(to_bytes(model))
        if InlineFunctions().run(model, Context()).modified:
            assert len(to_bytes(model)) <= before
        else:
            assert calls > 1


def test_versions_that_mean_the_same_do_not_hinder() -> None:
    assert_rewrites(
        f"""{HEADER} g (float[2] x) => (float[M] y) {{ y = local.f(x) }}
        <domain: "local", opset_import: ["" : 16]> f (p) => (b) {{ b = Relu(p) }}""",
        f"{HEADER} g (float[2] x) => (float[M] y) {{ y = Relu(x) }}",
        InlineFunctions(),
    )


STAYS = {
    "another version": ('[""  : 12]', "f (p) => (b) { b = Softmax(p) }", "", "may differ"),
    "an input given back": ('["" : 17]', "f (p) => (p) { b = Relu(p) }", "", "gives back"),
    "a value that no call gives": (
        '["" : 17]',
        "f <k> (p) => (b) { c = Constant <value_float: float = @k> () b = Mul(p, c) }",
        "",
        "no value",
    ),
}


@pytest.mark.parametrize(("imports", "function", "call", "reason"), STAYS.values(), ids=STAYS.keys())
def test_what_stays(imports: str, function: str, call: str, reason: str) -> None:
    header = HEADER.replace("17", "13") if "12" in imports else HEADER
    before = f"""{header} g (float[2, 2] x) => (float[N, M] y) {{ y = local.f {call} (x) }}
        <domain: "local", opset_import: {imports}> {function}"""
    assert_declines(before, InlineFunctions(), reason=reason)


def test_copies_share_no_names() -> None:
    """Constants of two copies are tensors of their own: a name set on one would be set on both."""
    model = parse(
        f"""{HEADER} g (float[2] x) => (float[M] y) {{ a = local.f(x)  y = local.f(a) }}
        <domain: "local", opset_import: ["" : 17]>
        f (p) => (b) {{ k = Constant <value = float {{2}}> ()  b = Mul(p, k) }}"""
    )
    original = to_proto(model)
    InlineFunctions().run(model, Context())
    tensors = [node.attributes["value"].as_tensor() for node in model.graph if node.op_type == "Constant"]
    assert len(tensors) in (0, 2)
    for i, tensor in enumerate(tensors):
        tensor.name = str(i)
    assert [tensor.name for tensor in tensors] == [str(i) for i in range(len(tensors))]
    assert_same_outputs(original, model)


def test_slimming_tries_what_pays_only_once_it_is_slimmed() -> None:
    """The body's shape arithmetic folds on each argument, so that four copies are smaller than function and calls."""
    arithmetic = """s = Shape(p)  k = Constant <value = int64 {0}> ()  n = Gather(s, k)
        z = Constant <value = int64[1] {0}> ()  u = Unsqueeze(n, z)  m = Constant <value = int64[1] {-1}> ()
        t = Concat <axis = 0> (u, m)  r = Reshape(p, t)  b = Sin(r)"""
    model = parse(
        f"""{HEADER} g (float[2, 3] x, float[2, 3] z) => (float[N, M] y, float[K, L] w) {{
            a = local.f(x)  y = local.f(a)  c = local.f(z)  w = local.f(c) }}
        <domain: "local", opset_import: ["" : 17]>
        f (p) => (b) {{ {arithmetic} }}"""
    )
    original = to_proto(model)
    before = len(to_bytes(model))
    Slim().run(model, Context())
    assert [node.op_type for node in model.graph] == ["Sin"] * 4
    assert not model.functions
    assert len(to_bytes(model)) < before
    assert_same_outputs(original, model)


def test_a_trial_that_does_not_pay_leaves_no_trace() -> None:
    body = " ".join(f"a{i + 1} = {'Sin' if i % 2 else 'Cos'}(a{i})" for i in range(40))
    calls = " ".join(f"b{i + 1} = local.f(b{i})" for i in range(6))
    model = parse(
        f"""{HEADER} g (float[2] b0) => (float[M] y) <float[2] w = {{1, 2}}> {{ {calls} y = Add(b6, w) }}
        <domain: "local", opset_import: ["" : 17]>
        f (a0) => (c) {{ {body} k = Constant <value = float {{3}}> ()  c = Mul(a40, k) }}"""
    )
    before = to_bytes(model)
    assert not Slim().run(model, Context()).modified
    assert to_bytes(model) == before
