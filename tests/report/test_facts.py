from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import InputError
from onnxslim.graph import load, parse, save, to_bytes
from onnxslim.report import describe
from tests.passes.slim.classical import fixture

FUNCTIONS = """
<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
g (float[2] x) => (float[2] y) { a = own.twice(x) y = own.twice(a) }
<domain: "own", opset_import: ["" : 17, "own" : 1]>
twice (x) => (y) { a = own.once(x) y = own.once(a) }
<domain: "own", opset_import: ["" : 17]>
once (x) => (y) { a = Relu(x) y = Neg(a) }
"""


def test_a_functions_body_counts_once_for_each_call() -> None:
    assert describe(parse(FUNCTIONS)).ops == {"Neg": 4, "Relu": 4}


def test_lists_of_trees_are_weights() -> None:
    model = fixture("forest_of_two")
    facts = describe(model)
    assert 0.9 * len(to_bytes(model)) < facts.weight_bytes < len(to_bytes(model))
    node = next(iter(model.graph))
    lists = [each for each in node.attributes.values() if each.type.name in ("INTS", "FLOATS", "STRINGS")]
    assert facts.parameters == sum(len(each.value) for each in lists)


def test_lists_of_other_operators_are_no_weights() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[3,2] y) {'
    assert describe(parse(text + " y = Transpose <perm = [1, 0]> (x) }")).weight_bytes == 0


def test_functions_in_a_circle_are_refused() -> None:
    model = parse(FUNCTIONS)
    once = model.functions["own", "once", ""]
    next(iter(once)).domain, next(iter(once)).op_type = "own", "twice"
    with pytest.raises(InputError, match="circle"):
        describe(model)


def test_subgraphs_count_and_constants_are_weights() -> None:
    facts = describe(
        parse("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (bool c, float[3] x) => (float[3] y) {
            k = Constant <value = float[3] {1, 2, 3}> ()
            y = If (c) <
                then_branch = t () => (float[3] a) { a = Add(x, k) },
                else_branch = e () => (float[3] b) { b = com.example.Strange(x) }
            >
        }""")
    )
    assert facts.ops == {"Add": 1, "If": 1, "com.example.Strange": 1}
    assert facts.nodes == 3
    assert (facts.parameters, facts.weight_bytes) == (3, 12)
    assert [port.shape for port in facts.inputs] == [(), (3,)]
    assert facts.bytes is None


def test_a_deep_chain_and_deep_nesting_need_no_stack() -> None:
    node: ir.Node | None = None
    for depth in range(3000):
        attributes = [] if node is None else [ir.AttrGraph("body", ir.Graph([], [], nodes=[node], name=str(depth)))]
        node = ir.Node("own", "Nest", [], attributes)
    assert node is not None
    model = ir.Model(ir.Graph([], [], nodes=[node], opset_imports={"": 17, "own": 1}), ir_version=8)
    assert describe(model).ops == {"own.Nest": 3000}


def test_external_data_counts_once(tmp_path: Path) -> None:
    model = parse(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 64] x) => (float[N, 64] y) { y = MatMul(x, w) }'
    )
    weight = ir.Value(name="w", const_value=ir.tensor(np.ones((64, 64), np.float32), name="w"))
    matmul = next(iter(model.graph))
    model.graph.register_initializer(weight)
    matmul.replace_input_with(1, weight)
    save(model, tmp_path / "m.onnx", external_data=True)
    facts = describe(load(tmp_path / "m.onnx"), tmp_path / "m.onnx")
    assert facts.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert facts.bytes > 64 * 64 * 4
    assert facts.weight_bytes == 64 * 64 * 4
    assert facts.inputs[0].shape == ("N", 64)


def test_types_that_are_no_tensors() -> None:
    facts = describe(
        parse("""<ir_version: 8, opset_import: ["" : 17]>
        g (seq(float[N]) x, optional(int64[2]) o) => (int64 y) { y = SequenceLength(x) }""")
    )
    assert [port.dtype for port in facts.inputs] == ["sequence(float32)", "optional(int64)"]
