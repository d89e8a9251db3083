from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from onnxslim.calibration import fingerprints
from tests.calibration.nets import conv_model, value


def last(model: ir.Model) -> str:
    return fingerprints(model)[model.graph.outputs[0]]


def parsed(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(text))


def test_names_of_inner_values_and_nodes_play_no_part() -> None:
    model, renamed = conv_model(), conv_model()
    for number, node in enumerate(renamed.graph):
        node.name = f"node{number}"
        for output in node.outputs:
            output.name = f"other{number}"
    for weight in list(renamed.graph.initializers.values()):
        weight.name = f"weight_{weight.name}"
    assert list(fingerprints(model).values()) == list(fingerprints(renamed).values())


def set_weight(model: ir.Model) -> None:
    weight = model.graph.initializers["w"]
    assert weight.const_value is not None
    array = weight.const_value.numpy().copy()
    array[0, 0, 0, 0] += 1e-3
    weight.const_value = ir.Tensor(array)


def set_attribute(model: ir.Model) -> None:
    model.graph[0].attributes["strides"] = ir.AttrInt64s("strides", [1, 1])


def rename_input(model: ir.Model) -> None:
    model.graph.inputs[0].name = "z"


def change_operator(model: ir.Model) -> None:
    model.graph[1].op_type = "Sigmoid"


def change_opset(model: ir.Model) -> None:
    model.graph.opset_imports[""] = 18


@pytest.mark.parametrize("change", [set_weight, set_attribute, rename_input, change_operator, change_opset])
def test_what_changes_the_values_changes_the_fingerprint(change: Callable[[ir.Model], None]) -> None:
    model = conv_model()
    before = last(model)
    assert before == last(conv_model())
    change(model)
    assert last(model) != before


def test_a_change_invalidates_what_follows_it_only() -> None:
    model, changed = conv_model(), conv_model()
    changed.graph.initializers["v"].const_value = ir.Tensor(np.zeros((4, 5), np.float32))
    before, after = fingerprints(model), fingerprints(changed)
    for name in ("x", "c", "r", "p", "f"):
        assert before[value(model, name)] == after[value(changed, name)]
    assert last(model) != last(changed)


def test_order_of_inputs_and_of_outputs_counts() -> None:
    template = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] a, float[2] b) => (float[2] y) {{ {} }}'
    assert last(parsed(template.format("y = Sub(a, b)"))) != last(parsed(template.format("y = Sub(b, a)")))
    model = parsed(template.format("s, y = Split<axis=0>(a)"))
    marks = fingerprints(model)
    assert marks[value(model, "s")] != marks[value(model, "y")]


def test_constants_are_weights_and_identities_nothing() -> None:
    template = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] a) => (float[2] y) {} {{ {} }}'
    plain = parsed(template.format("<float[2] k = {1.0, 2.0}>", "y = Add(a, k)"))
    wordy = parsed(
        template.format("", "k = Constant<value = float[2] {1.0, 2.0}>() i = Identity(k) s = Add(a, i) y = Identity(s)")
    )
    assert last(plain) == last(wordy)
    assert last(plain) != last(parsed(template.format("<float[2] k = {1.0, 3.0}>", "y = Add(a, k)")))


IF = """<ir_version: 8, opset_import: ["" : 17]> g (bool c, float[2] a) => (float[2] y) {{
  b = Abs(a)
  y = If(c) <then_branch = t () => (float[2] u) {{ u = {} }}, else_branch = e () => (float[2] v) {{ v = Neg(a) }}>
}}"""


def test_bodies_count_with_what_they_capture() -> None:
    marks = {body: last(parsed(IF.format(body))) for body in ("Relu(a)", "Relu(b)", "Sigmoid(a)")}
    assert len(set(marks.values())) == 3
    assert last(parsed(IF.format("Relu(a)").replace(" u", " other"))) == marks["Relu(a)"]


LOOP = """<ir_version: 8, opset_import: ["" : 17]> g (int64 n, bool c, float[2] a) => (float[2] y) {{
  y = Loop(n, c, a) <body = l (int64 i, bool go, float[2] state) => (bool on, float[2] next) {{
    on = Identity(go)
    next = {}
  }}>
}}"""


def test_parameters_of_bodies_are_told_apart_by_place() -> None:
    one, other = last(parsed(LOOP.format("Add(state, a)"))), last(parsed(LOOP.format("Add(state, state)")))
    assert one != other
    renamed = LOOP.format("Add(state, a)").replace("state", "carried")
    assert last(parsed(renamed)) == one


FUNCTION = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]> g (float[2] a) => (float[2] y) {{ y = my.twice(a) }}
<domain: "my", opset_import: ["" : 17]> twice (x) => (z) {{ z = {} }}"""


def test_functions_count_with_their_bodies() -> None:
    assert last(parsed(FUNCTION.format("Add(x, x)"))) != last(parsed(FUNCTION.format("Mul(x, x)")))
    renamed = FUNCTION.format("Add(x, x)").replace("z", "other")
    assert last(parsed(renamed)) == last(parsed(FUNCTION.format("Add(x, x)")))


@pytest.mark.parametrize("order", [1, -1])
def test_long_chains_need_no_recursion(order: int) -> None:
    value = ir.val("x", ir.DataType.FLOAT, (2,))
    inputs, nodes = [value], []
    for _ in range(20_000):
        nodes.append(ir.node("Relu", [value]))
        value = nodes[-1].outputs[0]
    graph = ir.Graph(inputs, [value], nodes=nodes[::order], opset_imports={"": 17})
    marks = fingerprints(ir.Model(graph, ir_version=8))
    assert len(set(marks.values())) == 20_001


def test_weights_of_every_dtype() -> None:
    kinds = [ir.DataType.INT4, ir.DataType.BFLOAT16, ir.DataType.FLOAT8E4M3FN, ir.DataType.BOOL, ir.DataType.INT64]
    tensors = [ir.tensor([1, 0, 1], dtype=kind) for kind in kinds]
    tensors += [ir.StringTensor(text, shape=ir.Shape([2])) for text in ([b"a", b"bc"], [b"ab", b"c"])]
    values = [ir.Value(name=f"k{i}", const_value=tensor) for i, tensor in enumerate(tensors)]
    node = ir.node("Concat", values)
    graph = ir.Graph([], [node.outputs[0]], nodes=[node], initializers=values, opset_imports={"": 17})
    marks = fingerprints(ir.Model(graph, ir_version=10))
    assert len({marks[value] for value in values}) == len(values)
