"""Scale migration: channels of an activation are made alike, and the weights that read them take up the difference.

X W = (X / s) (s W) for any positive s of the channels that X is summed over. One grid for a whole tensor suits channels
of like sizes; s_j = max|X_j|^a / max|W_j|^(1 - a) evens them out, at the cost of less even weights (Xiao et al.,
SmoothQuant, ICML 2023, section 4). Division by s is free where it can be folded into what makes X: a normalization's
scale and bias, or the output channels of the layer before, through operators that commute with positive factors (Nagel
et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019, section 4.1). No operator is
added, and the float model computes the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.calibration import Request, Statistics
from onnxslim.graph.edit import add_initializer, constant_tensor, drop_unused
from onnxslim.ops.contraction import contraction_of, output_axis

EXPONENTS = (0.5, 0.25, 0.75)
"""Of the activation's share in s. The others are tried only where the first one helps."""
WORTH_DB = 0.3
"""Of the outputs, that a migration must bring."""
LARGEST = 64.0
"""Factor of a channel, relative to the geometric mean of all."""
COMMUTING = frozenset({"AveragePool", "GlobalAveragePool", "Identity", "LeakyRelu", "MaxPool", "PRelu", "Relu"})
"""Operators of which f(x / s) = f(x) / s for a positive s of each channel (of PRelu, in its first input)."""
STEPS = 8
"""Operators between an activation and what the division is folded into."""

Place = tuple[ir.Value, int]
"""A constant, and its axis of channels."""
Factors = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Migration:
    """An activation whose channels can be divided.

    Attributes:
        value: What contractions read.
        axis: Of its channels.
        readers: The weights to multiply.
        makers: The constants to divide.
    """

    value: ir.Value
    axis: int
    readers: tuple[Place, ...]
    makers: tuple[Place, ...]

    @property
    def key(self) -> str:
        """Name of the activation."""
        return self.value.name or ""

    @property
    def channels(self) -> int:
        """How many there are."""
        weight, axis = self.readers[0]
        return _shape(weight)[axis]

    @property
    def request(self) -> Request:
        """The range of each channel."""
        return Request(self.key, "range", axis=self.axis)


def migrations_of(model: ir.Model, facts: ShapeFacts) -> tuple[list[Migration], dict[str, str]]:
    """What can be migrated in the main graph; and for the other activations of contractions, by name, why not."""
    found: list[Migration] = []
    reasons: dict[str, str] = {}
    for value in dict.fromkeys(node.inputs[0] for node in model.graph if node.op_type in ("Conv", "Gemm", "MatMul")):
        rank = None if value is None else facts.rank(value)
        if value is None or rank is None or constant_tensor(value) is not None:
            continue
        result = _migration(value, rank)
        if isinstance(result, Migration):
            found.append(result)
        else:
            reasons[value.name or ""] = result
    return found, reasons


def _migration(value: ir.Value, rank: int) -> Migration | str:
    readers: list[Place] = []
    axes = set()
    for use in value.uses():
        place = _reader(use.node, use.idx, rank)
        if isinstance(place, str):
            return place
        readers.append(place[1])
        axes.add(place[0])
    if value.is_graph_output() or len(axes) != 1:
        return "it is an output of the model" if value.is_graph_output() else "it is read along several axes"
    axis, (weight, weight_axis) = axes.pop(), readers[0]
    count = _shape(weight)[weight_axis]
    makers = _makers(value, axis, rank, count)
    return makers if isinstance(makers, str) else Migration(value, axis, tuple(readers), tuple(makers))


def _reader(node: ir.Node, slot: int, rank: int) -> tuple[int, Place] | str:
    """The axis along which a node sums its first input, and the weights by which it multiplies."""
    if node.domain or slot != 0 or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return f"{node.op_type} reads it"
    weight = node.inputs[1]
    tensor = constant_tensor(weight)
    if weight is None or tensor is None or len(weight.uses()) > 1 or tensor.dtype != ir.DataType.FLOAT:
        return "weights that read it are computed, shared, or no float32"
    known = contraction_of(node)
    if isinstance(known, str) or (node.op_type == "MatMul" and len(known.shape) != 2):
        return "weights that read it are no matrix"
    if known.data_axis == 0:
        return "it is read transposed"
    if known.groups not in (1, known.shape[0]):
        return "a convolution of groups reads it"
    return known.data_axis % rank, (weight, known.input_axis if known.groups == 1 else 0)


def _makers(value: ir.Value, axis: int, rank: int, count: int) -> list[Place] | str:
    """The constants that divide ``value`` by channel where they are divided."""
    found: list[Place] = []
    for _ in range(STEPS):
        node = value.producer()
        if node is None or node.domain:
            return "nothing that makes it can be divided"
        places: list[Place] | None = None
        if node.op_type == "Add":
            # (a + b) / s = a / s + b / s: the constant is divided here, the other term further up.
            side = next((i for i in range(2) if constant_tensor(node.inputs[i]) is not None), None)
            if side is None:
                return "it is a sum of two activations"
            found += [(_some(node.inputs[side]), axis - rank)]
            value = _some(node.inputs[1 - side])
        elif node.op_type in COMMUTING:
            value = _some(node.inputs[0])
        else:
            places = _ends(node, axis, rank)
            if places is None:
                return f"{node.op_type} makes it"
            found += places
            wrong = next((reason for place in found if (reason := _unfit(place, count))), "")
            return wrong or [(each, at % len(_shape(each))) for each, at in found]
        if len(value.uses()) > 1 or value.is_graph_output():
            return "something else reads what makes it"
    return "what makes it is too far away"


def _ends(node: ir.Node, axis: int, rank: int) -> list[Place] | None:
    """The constants of a node whose output is linear in them, channel by channel."""
    inputs = node.inputs
    if node.op_type == "Mul":
        side = next((i for i in range(2) if constant_tensor(inputs[i]) is not None), None)
        return None if side is None else [(_some(inputs[side]), axis - rank)]
    if node.op_type == "LayerNormalization" and axis == rank - 1 and node.attributes.get_int("axis", -1) in (-1, axis):
        return [(each, -1) for each in inputs[1:3] if each is not None]
    bias = [(each, -1) for each in inputs[2:3] if each is not None]
    if node.op_type in ("Conv", "Gemm", "MatMul") and axis == (rank - 1 if node.op_type == "MatMul" else 1):
        return [(_some(inputs[1]), output_axis(node, rank=0)), *bias]
    return None


def _unfit(place: Place, count: int) -> str:
    value, axis = place
    tensor = constant_tensor(value)
    if tensor is None or len(value.uses()) > 1 or tensor.dtype != ir.DataType.FLOAT:
        return "a constant that makes it is computed, shared, or no float32"
    shape = _shape(value)
    if not -len(shape) <= axis < len(shape) or shape[axis] != count:
        return "a constant that makes it does not tell its channels apart"
    return ""


def _some(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


def _shape(value: ir.Value) -> tuple[int, ...]:
    tensor = constant_tensor(value)
    return () if tensor is None else tuple(tensor.shape.numpy())


def factors_of(migration: Migration, statistics: Statistics, exponent: float) -> Factors | None:
    """S of each channel, ``float64[channels]``; None where the channels were not measured.

    Channels that are always zero, or that no weight reads, are left alone.
    """
    found = statistics.range(migration.key, migration.axis)
    if found is None or found.low is None or found.high is None or found.nonfinite:
        return None
    x = np.maximum(np.abs(found.low), np.abs(found.high))
    w = np.zeros_like(x)
    for value, axis in migration.readers:
        tensor = constant_tensor(value)
        assert tensor is not None
        array = np.abs(np.moveaxis(tensor.numpy(), axis, 0)).reshape(len(x), -1)
        w = np.maximum(w, array.max(axis=1, initial=0.0))
    alive = (x > 0) & (w > 0)
    logs = np.zeros_like(x)
    logs[alive] = exponent * np.log(x[alive]) - (1 - exponent) * np.log(w[alive])
    if alive.any():
        logs[alive] -= logs[alive].mean()
    factors: Factors = np.exp(np.clip(logs, -np.log(LARGEST), np.log(LARGEST)))
    return factors


def migrate(migration: Migration, factors: Factors) -> None:
    """Divides what makes an activation by ``factors``, and multiplies what reads it, in place."""
    for places, power in ((migration.makers, -1.0), (migration.readers, 1.0)):
        for value, axis in places:
            _scale(value, axis, factors**power)


def _scale(value: ir.Value, axis: int, factors: Factors) -> None:
    tensor = constant_tensor(value)
    assert tensor is not None
    array = tensor.numpy()
    view = [1] * array.ndim
    view[axis] = -1
    scaled = (array.astype(np.float64) * factors.reshape(view)).astype(array.dtype)
    if value.is_initializer():
        value.const_value = ir.Tensor(scaled, name=value.name)
        return
    producer, (use,) = value.producer(), value.uses()
    assert producer is not None
    graph = producer.graph
    assert isinstance(graph, ir.Graph)
    name = f"{value.name}_migrated"
    while name in graph.initializers:
        name += "_"
    use.node.replace_input_with(use.idx, add_initializer(graph, name, scaled))
    drop_unused(graph, value)


def best_exponent(
    migrations: Sequence[Migration], statistics: Statistics, quality: Callable[[Mapping[str, Factors]], float]
) -> tuple[dict[str, Factors], float, float, float]:
    """The factors of the exponent under which the quantized model is best.

    Args:
        migrations: Of the model.
        statistics: The ranges of their channels.
        quality: dB of the quantized model's outputs with these factors, by key; with none, those of the model as it is.

    Returns:
        Factors by key, the exponent, and the dB before and after; no factors where none brings `WORTH_DB`.
    """
    before = quality({})
    best: tuple[dict[str, Factors], float, float] = ({}, 0.0, before + WORTH_DB)
    for exponent in EXPONENTS:
        factors = {
            each.key: found for each in migrations if (found := factors_of(each, statistics, exponent)) is not None
        }
        after = quality(factors) if factors else before
        if after > best[2]:
            best = (factors, exponent, after)
        if not best[0]:
            break
    return best[0], best[1], before, best[2]
