from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, parser

from onnxslim.analysis import ShapeFacts, infer_shapes
from onnxslim.analysis.dims import ceildiv, floordiv, maximum, mul, symbol
from tests.analysis.backend_models import disagreements, frozen, node_cases, symbolic

N, M = symbol("N"), symbol("M")
HEAD = '<ir_version: 8, opset_import: ["" : {opset}{more}]>'


def infer(text: str, opset: int = 17, more: str = "") -> tuple[dict[str, ir.Value], ShapeFacts]:
    """Facts of a model in onnx's text form, and its values by name (the main graph's last)."""
    model = ir.from_proto(parser.parse_model(HEAD.format(opset=opset, more=more) + text))
    facts = infer_shapes(model)
    return {value.name or "": value for value in facts}, facts


def shapes(text: str, *names: str, opset: int = 17) -> list[Any]:
    values, facts = infer(text, opset)
    assert facts.problems == ()
    return [facts.shape(values[name]) for name in names]


def elements(facts: ShapeFacts, value: ir.Value) -> list[Any]:
    known = facts.value(value)
    assert known is not None
    return list(known.flat)


@pytest.mark.parametrize("variant", ["declared", "weights", "symbolic", "symbolic weights"])
def test_nothing_claimed_of_a_backend_model_is_false(variant: str) -> None:
    wrong, known = [], 0
    for case in node_cases():
        if not case.data_sets:
            continue
        inputs, outputs = case.data_sets[0]
        proto, bindings = symbolic(case.model, inputs) if variant.startswith("symbolic") else (case.model, {})
        model = ir.from_proto(frozen(proto, inputs) if variant.endswith("weights") else proto)
        facts = infer_shapes(model)
        wrong += [f"{case.name}: {text}" for text in disagreements(facts, model.graph.outputs, outputs, bindings)]
        known += all(facts.shape(value) is not None for value in model.graph.outputs)
    assert wrong == []
    assert known > 1700


def test_chain_of_shape_arithmetic_has_a_symbolic_value() -> None:
    values, facts = infer("""
        g (float[N, 3, M, 4] x) => (float[a, b] y)
        <int64[1] zero = {0}, int64 two = {2}, int64[1] minus = {-1}> {
            s = Shape(x)
            n = Gather(s, zero)
            m = Gather(s, two)
            half = Div(m, two)
            h = Unsqueeze(half, zero)
            target = Concat<axis = 0>(n, minus, h)
            y = Reshape(x, target)
            c = ConstantOfShape(target)
        }""")
    assert elements(facts, values["target"]) == [N, -1, floordiv(M, 2)]
    shape = facts.shape(values["y"])
    assert shape is not None
    assert shape[0] == N
    assert shape[2] == floordiv(M, 2)
    assert facts.dtype(values["y"]) == ir.DataType.FLOAT
    assert facts.rank(values["y"]) == 3
    assert facts.static_shape(values["y"]) is None
    assert facts.static_shape(values["target"]) == (3,)


def test_shapes_through_floats_are_exact() -> None:
    values, facts = infer("""
        g (float[N] x) => (int64[1] y)
        <float two = {2.0}, float third = {0.3333}, float three = {3.0}> {
            s = Shape(x)
            f = Cast<to = 1>(s)
            d = Mul(f, two)
            doubled = Cast<to = 7>(d)
            q = Div(f, three)
            ceiling = Ceil(q)
            y = Cast<to = 7>(ceiling)
            r = Mul(f, third)
            rounded = Floor(r)
            z = Cast<to = 7>(rounded)
        }""")
    assert elements(facts, values["doubled"]) == [2 * N]
    assert elements(facts, values["y"]) == [ceildiv(N, 3)]
    assert facts.constant(values["z"]) is None
    assert "?" in str(elements(facts, values["z"])[0])


def test_symbols_are_not_merged() -> None:
    values, facts = infer("""
        g (float[N, 4] x, float[M, 4] y, float[512, 4] table) => (float[a, 4] z)
        { z = Add(x, y)  w = Add(z, table)  u = Add(x, x) }""")
    z = facts.shape(values["z"])
    assert z is not None
    assert z[0] not in (N, M)
    assert facts.shape(values["w"]) == (512, 4)
    assert facts.shape(values["x"]) == (N, 4)
    assert facts.shape(values["y"]) == (M, 4)
    assert facts.shape(values["u"]) == (N, 4)


def test_declarations_are_compared_and_never_used() -> None:
    values, facts = infer("""
        g (float[1, 5, 3] x, float[N, 2] p) => (float[1, seqlen] y)
        <float[3, 2] w = {1, 2, 3, 4, 5, 6}, float[1, 9] m, float[3] q, float[1, 4] o, int64[1, 5, 3] l,
         int64[2] sp> {
            m = Relu(x)
            y = MatMul(m, w)
            q = custom.domain.Foo(x)
            o = Relu(q)
            l = Relu(x)
            sp = Shape(p)
        }""", more=', "custom.domain" : 1')  # fmt: skip
    assert facts.shape(values["y"]) == (1, 5, 2)
    assert {c.value for c in facts.contradictions} == {"y", "m", "l"}
    told = next(c for c in facts.contradictions if c.value == "y")
    assert told.declared == "FLOAT[1, seqlen]"
    assert told.inferred == "FLOAT[1, 5, 2]"
    assert facts.shape(values["q"]) is None
    assert facts.shape(values["o"]) is None
    assert facts.claimed(values["q"]) == ir.Shape([3])
    assert facts.claimed(values["o"]) == ir.Shape([1, 4])
    assert facts.claimed(values["m"]) is None
    assert facts.dtype(values["o"]) is None


def test_an_initializer_has_the_shape_of_its_data_and_may_be_fed() -> None:
    values, facts = infer("g (float[4] x, int64[1] s = {2}) => (float[a] y) { y = Reshape(x, s) }")
    assert elements(facts, values["s"]) != [2]
    assert facts.shape(values["y"]) != (2,)

    text = "g () => (float[a] y) <float[3] w = {1, 2, 3}> { y = Relu(w) }"
    proto = parser.parse_model(HEAD.format(opset=17, more="") + text)
    proto.graph.value_info.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [5]))
    model = ir.from_proto(proto)
    facts = infer_shapes(model)
    assert facts.static_shape(model.graph.outputs[0]) == (3,)
    assert [c.value for c in facts.contradictions] == ["w"]


def test_pad_vector_of_exporters_is_followed_through_reversal() -> None:
    """Reshape, Slice with step -1 and Transpose: torch's way to turn its order of pads into ONNX's."""
    values, facts = infer("""
        g (float[1, 8, 5, 5] x) => (float[a, b, c, d] y)
        <int64[8] pads = {0, 0, 1, 1, 0, 0, 0, 0}, int64[2] pairs = {-1, 2}, int64[1] flat = {-1},
         int64[1] start = {-1}, int64[1] end = {-9223372036854775807}, int64[1] axis = {0}, int64[1] step = {-1}> {
            a1 = Reshape(pads, pairs)
            b1 = Slice(a1, start, end, axis, step)
            c1 = Transpose<perm = [1, 0]>(b1)
            d1 = Reshape(c1, flat)
            y = Pad(x, d1)
        }""")
    assert elements(facts, values["d1"]) == [0, 0, 1, 0, 0, 0, 1, 0]
    assert facts.static_shape(values["y"]) == (1, 8, 7, 5)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 12, 13, 17, 18, 21])
def test_attributes_and_inputs_of_all_opsets(opset: int) -> None:
    """The same graph in the form that each opset has for axes, splits, slices, pads and reductions."""
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def add(kind: str, inputs: list[str], outputs: list[str], since: int, **values: Any) -> None:
        names = list(inputs)
        attributes = {} if opset >= since else values
        for key, value in values.items() if opset >= since else ():
            constants.append(onnx.numpy_helper.from_array(np.array(value, np.int64), f"{outputs[0]}_{key}"))
            names.append(constants[-1].name)
        nodes.append(helper.make_node(kind, names, outputs, **attributes))

    add("Slice", ["x"], ["a"], 10, starts=[1], ends=[2**31], axes=[1])
    add("Unsqueeze", ["a"], ["b"], 13, axes=[0])
    add("Squeeze", ["b"], ["c"], 13, axes=[0])
    add("Split", ["c"], ["d", "e"], 13, split=[2, 3])
    add("ReduceSum", ["d"], ["f"], 13, axes=[1])
    add("ReduceMean", ["e"], ["h"], 18, axes=[1])
    add("Pad", ["h"], ["i"], 11, pads=[0, 1, 2, 0])
    nodes[3].attribute.append(helper.make_attribute("axis", 0))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, "N"])]
    names = [name for node in nodes for name in node.output]
    outputs = [helper.make_empty_tensor_value_info(name) for name in names]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = ir.from_proto(proto)
    facts = infer_shapes(model)
    assert facts.problems == ()
    for size in (1, 2, 6):
        arrays = run(proto, {"x": np.ones((5, size), np.float32)})
        assert list(disagreements(facts, model.graph.outputs, arrays, {"N": size})) == []
    assert facts.shape(model.graph.outputs[0]) == (5, maximum(N - 1, 0))
    assert facts.static_shape(model.graph.outputs[-1]) == (5, 2)


def run(proto: onnx.ModelProto, feed: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))


BOUNDS = [0, 1, 3, 6, 99, 2**31 - 1, 2**63 - 1, -1, -4, -99, -(2**31), -(2**63)]


@pytest.mark.parametrize("step", [1, 2, -1, -3, 2**31 - 1])
def test_slices_agree_with_onnxruntime_at_their_edges(step: int) -> None:
    nodes, constants = [], [onnx.numpy_helper.from_array(np.array([s], np.int64), f"k{s}") for s in {*BOUNDS, step}]
    for i, (start, end) in enumerate((s, e) for s in BOUNDS for e in BOUNDS):
        nodes.append(helper.make_node("Slice", ["x", f"k{start}", f"k{end}", "k0", f"k{step}"], [f"y{i}"]))
        nodes.append(helper.make_node("Slice", ["v", f"k{start}", f"k{end}", "k0", f"k{step}"], [f"z{i}"]))
    constants.append(onnx.numpy_helper.from_array(np.arange(5), "v"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])]
    outputs = [helper.make_empty_tensor_value_info(node.output[0]) for node in nodes]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = ir.from_proto(proto)
    facts = infer_shapes(model)
    assert facts.problems == ()
    known = sum("?" not in str(facts.shape(value)) for value in model.graph.outputs)
    assert known > (0.7 if step > 0 else 0.5) * len(nodes)
    for size in (0, 1, 2, 4, 7):
        if size == 0 and step < 0:
            continue  # onnxruntime clamps into an empty range here, which is undefined
        arrays = run(proto, {"x": np.ones(size, np.float32)})
        assert list(disagreements(facts, model.graph.outputs, arrays, {"N": size})) == []


def test_integers_wrap_as_their_type_does() -> None:
    values, facts = infer("""
        g (float[N] x) => (int32[1] a)
        <int64[2] big = {1099511627777, -1}, int64[1] most = {9223372036854775807}, int64[1] one = {1}> {
            a = Cast<to = 6>(big)
            b = Cast<to = 2>(big)
            c = Add(most, one)
            s = Shape(x)
            small = Cast<to = 3>(s)
            wide = Cast<to = 6>(s)
        }""")
    assert elements(facts, values["a"]) == [1, -1]
    assert elements(facts, values["b"]) == [1, 255]
    assert elements(facts, values["c"]) == [-(2**63)]
    assert facts.value(values["small"]) is None
    assert elements(facts, values["wide"]) == [N]


def test_scalars_and_empty_tensors() -> None:
    values, facts = infer("""
        g (float x, float[0, N] e) => (float[a] y)
        <int64[1] zero = {0}> {
            s = Shape(x)
            se = Shape(e)
            n = Size(e)
            y = Reshape(x, s)
            both = Concat<axis = 0>(s, se)
            r = ReduceProd<keepdims = 0>(s)
            c = ConstantOfShape(s)
        }""")
    assert facts.static_shape(values["s"]) == (0,)
    assert elements(facts, values["n"]) == [0]
    assert facts.static_shape(values["y"]) == ()
    assert elements(facts, values["both"]) == [0, N]
    assert facts.static_shape(values["r"]) == ()
    assert facts.static_shape(values["c"]) == ()


def test_the_same_unknown_length_is_one_dim() -> None:
    values, facts = infer("""
        g (float[N] x, int64 k) => (float[a] y)
        <int64[1] zero = {0}> {
            i = NonZero(x)
            t = Transpose(i)
            s = Shape(t)
            n = Gather(s, zero)
            kk = Unsqueeze(k, zero)
            c = ConstantOfShape(kk)
            d = Expand(c, kk)
            u = ConstantOfShape(n)
            w = Add(u, u)
        }""")
    i, u, w = (facts.shape(values[name]) for name in "iuw")
    assert i is not None
    assert u == (i[1],) == w
    assert facts.static_shape(values["s"]) == (2,)


def test_malformed_nodes_are_reported_and_unknown() -> None:
    values, facts = infer("""
        g (float[3, 4] x, float[5, 6] y) => (float[a] z)
        { z = MatMul(x, y)  u = Add(x, y)  v = Transpose<perm = [0, 0]>(x)  w = Relu(z)
          c = Concat<axis = 7>(x, x) }""")
    assert {node.op_type for node, _ in facts.problems} == {"MatMul", "Add", "Transpose", "Concat"}
    assert all(facts.shape(values[name]) is None for name in "zuvwc")


def test_unknown_operators_stop_inference_only_behind_them() -> None:
    values, facts = infer(
        "g (float[N] x) => (float[a] y) { h = com.acme.Magic(x)  y = Relu(h)  w = Add(h, x)  k = Relu(x) }",
        more=', "com.acme" : 1',
    )
    assert facts.shape(values["y"]) is None
    assert facts.shape(values["w"]) is None
    assert facts.shape(values["k"]) == (N,)


def test_apply_writes_what_is_known_and_keeps_names() -> None:
    model = ir.from_proto(
        parser.parse_model(
            HEAD.format(opset=17, more="")
            + """g (float[N, 3] x) => (float[batch, 3, wrong] y, int64[count, 2] n)
            { h = Relu(x)  y = Concat<axis = 0>(h, h)  i = NonZero(x)  n = Transpose(i) }"""
        )
    )
    facts = infer_shapes(model)
    facts.apply()
    h, y = model.graph[0].outputs[0], model.graph.outputs[0]
    assert h.shape == ir.Shape(["N", 3])
    assert h.dtype == ir.DataType.FLOAT
    assert y.shape == ir.Shape(["2*N", 3])
    assert model.graph.outputs[1].shape == ir.Shape(["count", 2])
    assert infer_shapes(model).contradictions == ()
    assert facts.apply() == 0


def test_reshape_keeps_products_exact() -> None:
    assert shapes(
        """g (float[N, 12, M] x) => (float[a, b] y)
        <int64[4] t = {0, 3, 4, -1}, int64[2] u = {-1, 6}, int64[1] v = {-1}>
        { y = Reshape(x, t)  z = Reshape(y, u)  w = Reshape(z, v)  f = Flatten<axis = 2>(y) }""",
        *"yzwf",
    ) == [(N, 3, 4, M), (2 * mul(N, M), 6), (12 * mul(N, M),), (3 * N, 4 * M)]


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "pads"), [(2, [0, 0]), (3, [0, 0]), (3, [1, 1]), (4, [0, 1])])
def test_pools_agree_with_onnxruntime_where_the_kernel_does_not_fit(
    kernel: int, pads: list[int], stride: int, ceil: int
) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [kernel], "strides": [stride], "pads": pads, "ceil_mode": ceil}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["y"], **attributes),
        helper.make_node("AveragePool", ["x"], ["z"], **attributes),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, "N"])]
    outputs = [helper.make_empty_tensor_value_info(name) for name in "yz"]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = ir.from_proto(proto)
    facts = infer_shapes(model)
    assert facts.problems == ()
    assert ceil or "?" not in str(facts.shape(model.graph.outputs[0]))
    ran = 0
    for size in range(9):
        try:
            arrays = run(proto, {"x": np.ones((1, 2, size), np.float32)})
        except Exception as refused:
            assert size < kernel, refused  # noqa: PT017
            continue
        ran += 1
        assert list(disagreements(facts, model.graph.outputs, arrays, {"N": size})) == []
    assert ran > 4


def test_a_node_that_would_end_the_process_within_onnx_is_a_problem() -> None:
    values, facts = infer(
        "g (float[3, 3, 2] x, int64[1] i) => (float[M] y) { y = GatherND <batch_dims: int = -1> (x, i) }"
    )
    assert facts.shape(values["y"]) is None
    assert "batch_dims is no count" in facts.problems[0][1]
