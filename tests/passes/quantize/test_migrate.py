from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis import infer_shapes
from onnxslim.calibration import collect
from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import open_session
from onnxslim.passes.quantize.migrate import factors_of, migrate, migrations_of
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.pipeline import Context
from onnxslim.samples import Sample

IMAGE, TABLE = (1, 4, 9, 9), (3, 8)
"""Shapes of the inputs."""


def constant(name: str, *shape: int, spread: float = 1.0, along: int = 0) -> ir.Value:
    """Random weights, the same for a name and shape, which grow by ``spread`` in all along an axis."""
    view = [1] * len(shape)
    view[along] = -1
    factors = np.geomspace(1, spread, shape[along]).reshape(view)
    generator = np.random.default_rng([*name.encode(), *shape])
    array = (generator.normal(size=shape) * factors).astype(np.float32)
    return ir.Value(
        name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT), const_value=ir.Tensor(array, name=name)
    )


class Net:
    """A chain of nodes, written as they are read."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.input = ir.Value(name="x", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        self.nodes: list[ir.Node] = []
        self.weights: list[ir.Value] = []
        self.last = self.input

    def add(self, op: str, *inputs: ir.Value, **attributes: int | Sequence[int]) -> ir.Value:
        node = ir.node(op, list(inputs), attributes)
        node.outputs[0].name = f"{op.lower()}_{len(self.nodes)}"
        self.weights += [value for value in inputs if value.const_value is not None and value not in self.weights]
        self.nodes.append(node)
        self.last = node.outputs[0]
        return self.last

    def model(self, *outputs: ir.Value) -> ir.Model:
        shown = list(outputs or (self.last,))
        for value in shown:
            value.type = ir.TensorType(ir.DataType.FLOAT)
        graph = ir.Graph(
            [self.input], shown, nodes=self.nodes, initializers=self.weights, opset_imports={"": 17}, name="net"
        )
        return ir.Model(graph, ir_version=9)


def samples(shape: Sequence[int], count: int = 12, seed: int = 0) -> list[Sample]:
    made = np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
    return [Sample(str(i), {"x": each}) for i, each in enumerate(made)]


def conv_relu_conv() -> ir.Model:
    net = Net(IMAGE)
    net.add("Relu", net.add("Conv", net.input, constant("w0", 64, 4, 3, 3, spread=200), constant("b0", 64)))
    net.add("Conv", net.last, constant("w1", 64, 64, 3, 3, spread=1 / 200, along=1), constant("b1", 64))
    net.add("Softsign", net.last)
    return net.model()


def depthwise() -> ir.Model:
    net = Net(IMAGE)
    net.add("PRelu", net.add("Conv", net.input, constant("w0", 6, 4, 1, 1)), constant("slope", 6, 1, 1))
    net.add("Conv", net.last, constant("w1", 6, 1, 3, 3), group=6)
    return net.model()


def normalized() -> ir.Model:
    net = Net(TABLE)
    normal = net.add("LayerNormalization", net.input, constant("scale", 8), constant("shift", 8), axis=-1)
    left = net.add("MatMul", normal, constant("w1", 8, 5))
    right = net.add("Gemm", normal, constant("w2", 5, 8), constant("b2", 5), transB=1)
    net.add("Add", left, right)
    return net.model()


def decomposed() -> ir.Model:
    net = Net(TABLE)
    scaled = net.add("Mul", net.add("Tanh", net.input), constant("scale", 8))
    net.add("MatMul", net.add("Add", scaled, constant("shift", 8)), constant("w", 8, 5))
    return net.model()


def added() -> ir.Model:
    net = Net(TABLE)
    net.add("Add", constant("b0", 6), net.add("MatMul", net.input, constant("w0", 8, 6)))
    net.add("MatMul", net.add("Relu", net.last), constant("w1", 6, 5))
    return net.model()


@pytest.mark.parametrize(
    ("build", "makers"),
    [
        (conv_relu_conv, {"w0", "b0"}),
        (depthwise, {"w0"}),
        (normalized, {"scale", "shift"}),
        (decomposed, {"scale", "shift"}),
        (added, {"w0", "b0"}),
    ],
)
def test_the_float_model_computes_the_same(build: object, makers: set[str]) -> None:
    model = build()  # type: ignore[operator]
    shape = IMAGE if build in (conv_relu_conv, depthwise) else TABLE
    before, given = model.clone(), samples(shape)
    (found,) = migrations_of(model, infer_shapes(model))[0]
    assert {value.name for value, _ in found.makers} == makers
    factors = factors_of(found, collect(model, given, [found.request]), 0.5)
    assert factors is not None
    assert factors.max() / factors.min() > 1.2
    nodes = [node.op_type for node in model.graph]
    migrate(found, factors)
    assert [node.op_type for node in model.graph] == nodes
    for sample in given[:3]:
        (wanted,), (got,) = (open_session(each).run(sample.feed).values() for each in (before, model))
        np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4 * float(np.abs(wanted).max()))


def test_channels_come_out_alike() -> None:
    model = conv_relu_conv()
    (found,) = migrations_of(model, infer_shapes(model))[0]
    factors = factors_of(found, collect(model, samples(IMAGE), [found.request]), 1.0)
    assert factors is not None
    migrate(found, factors)
    after = collect(model, samples(IMAGE), [found.request]).range(found.key, found.axis)
    assert after is not None
    assert after.high is not None
    assert after.high.max() / after.high.min() < 10  # 200 before, and no factor is beyond its limit


def residual() -> ir.Model:
    net = Net(TABLE)
    normal = net.add("LayerNormalization", net.input, constant("scale", 8), axis=-1)
    net.add("Add", net.add("MatMul", normal, constant("w", 8, 8)), normal)
    return net.model()


def shown() -> ir.Model:
    net = Net(TABLE)
    normal = net.add("LayerNormalization", net.input, constant("scale", 8), axis=-1)
    return net.model(normal, net.add("MatMul", normal, constant("w", 8, 8)))


def curved() -> ir.Model:
    net = Net(TABLE)
    net.add("MatMul", net.add("Sigmoid", net.add("MatMul", net.input, constant("w0", 8, 8))), constant("w", 8, 8))
    return net.model()


def shared() -> ir.Model:
    net = Net(TABLE)
    weight = constant("w", 8, 8)
    net.add("MatMul", net.add("Relu", net.add("MatMul", net.input, weight)), weight)
    return net.model()


def read_above() -> ir.Model:
    net = Net(TABLE)
    inner = net.add("MatMul", net.input, constant("w0", 8, 8))
    return net.model(net.add("MatMul", net.add("Relu", inner), constant("w", 8, 8)), net.add("Tanh", inner))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (residual, "Add reads it"),
        (shown, "it is an output of the model"),
        (curved, "Sigmoid makes it"),
        (shared, "computed, shared"),
        (read_above, "something else reads what makes it"),
    ],
)
def test_what_cannot_be_divided_is_left_with_a_reason(build: object, reason: str) -> None:
    model = build()  # type: ignore[operator]
    found, reasons = migrations_of(model, infer_shapes(model))
    assert not found
    assert any(reason in each for each in reasons.values()), reasons


def quantized(options: QuantizeStatic) -> tuple[float, Context]:
    model = conv_relu_conv()
    before = model.clone()
    context = Context.of(samples=samples(IMAGE, 32), selection=samples(IMAGE, 16, seed=1), bench=False)
    options.run(model, context)
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph) > 1
    feeds = [sample.feed for sample in samples(IMAGE, 16, seed=2)]
    parity = Reference(before, feeds, tier=Tier.LOSSY).check(model)
    assert parity.passed
    return parity.fidelity[0].sqnr_db, context


def test_uneven_channels_are_quantized_better_on_unseen_samples() -> None:
    with_it, context = quantized(QuantizeStatic())
    without, other = quantized(QuantizeStatic(migrate=False))
    assert with_it > without + 1
    assert [action.outputs for action in context.actions if action.rule == "migrate"] == [("relu_1",)]
    assert not any(action.rule == "migrate" for action in other.actions)


def test_it_is_not_used_where_weights_only_are_stored_or_nothing_is_searched() -> None:
    for options in (QuantizeStatic(search=False), QuantizeStatic(keep_slow=True)):
        _, context = quantized(options)
        assert not any("migrate" in (each.rule for each in found) for found in (context.actions, context.declined))


@pytest.mark.parametrize("last", [False, True])
def test_which_output_comes_first_does_not_matter(last: bool) -> None:
    model = conv_relu_conv()
    deep = model.graph.outputs[0]
    simple = ir.node("Relu", [model.graph.inputs[0]], name="simple")
    simple.outputs[0].name, simple.outputs[0].type, simple.outputs[0].shape = "simple", deep.type, ir.Shape([None] * 4)
    model.graph.append(simple)
    model.graph.outputs.insert(1 if last else 0, simple.outputs[0])
    before = model.clone()
    context = Context.of(samples=samples(IMAGE, 32), selection=samples(IMAGE, 16, seed=1), bench=False)
    QuantizeStatic().run(model, context)
    feeds = [sample.feed for sample in samples(IMAGE, 16, seed=2)]
    parity = Reference(before, feeds, tier=Tier.LOSSY).check(model)
    found = next(each.sqnr_db for each in parity.fidelity if each.output == deep.name)
    assert found == pytest.approx(quantized(QuantizeStatic())[0], abs=0.1)
