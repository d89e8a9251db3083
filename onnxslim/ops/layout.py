"""What becomes of an operator when the data that it works on come with their axes in another order.

``y = f(x)`` is the same as ``y' = f'(x')``, where ``x'`` is ``x`` transposed, ``y'`` is ``y`` transposed, and ``f'`` is
the same operator with other axes, pads, scales or constants. A rule says what ``f'`` is. Operators without a rule work
on one order only (Conv: channels are the second axis), or what they compute depends on the order (Reshape).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxslim.ops.channels.elementwise import UNARY
from onnxslim.ops.elementwise import BROADCASTING
from onnxslim.ops.identity import Known
from onnxslim.ops.reductions import AXES_ARE_INPUT_SINCE

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Perm: TypeAlias = tuple[int, ...]
"""``x.transpose(perm)`` is what stands for ``x``: axis ``a`` of ``x`` is axis ``perm.index(a)`` there."""


class KnownValues(Known, Protocol):
    """Facts of values with their numbers; None is unknown."""

    def constant(self, value: ir.Value) -> Array | None:
        """The numbers of a small tensor."""


@dataclass
class Turn:
    """An operator on data in another order."""

    inputs: dict[int, Perm] = field(default_factory=dict)
    """Inputs that come in another order. All others stay."""
    outputs: dict[int, Perm] = field(default_factory=dict)
    """Outputs that come in another order. All others are what they were."""
    attributes: dict[str, ir.Attr] = field(default_factory=dict)
    """Attributes that change."""
    constants: dict[int, Callable[[], Array]] = field(default_factory=dict)
    """Inputs that are other constants."""
    passes: tuple[int, int] = (0, 0)
    """How often runtimes go over the data beyond once, as it is and turned: their kernels want one order."""


class _Fixed(Exception):
    """Why an operator stays as it is."""


class PermutedNode:
    """A node and the permutation of its data: of the input or the output that has more dims."""

    def __init__(
        self,
        node: ir.Node,
        version: int,
        perm: Perm,
        known: KnownValues,
        constant: Callable[[ir.Value | None], Array | None],
    ) -> None:
        self.node, self.version, self.perm, self.known, self._constant = node, version, perm, known, constant

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def value(self, index: int) -> ir.Value:
        """An input that must be given."""
        value = self.node.inputs[index] if self.has(index) else None
        if value is None:
            raise _Fixed("an input is missing")
        return value

    def rank(self, value: ir.Value) -> int:
        """Number of dims."""
        rank = self.known.rank(value)
        if rank is None:
            raise _Fixed("the number of dims is not known")
        return rank

    def constant(self, index: int) -> Array | None:
        """The array of a constant input of any size."""
        return self._constant(self.value(index))

    def integers(self, index: int) -> list[int]:
        """The numbers in an input."""
        value = self.value(index)
        array = self._constant(value)
        array = self.known.constant(value) if array is None else array
        if array is None or array.dtype.kind not in "iuf":
            raise _Fixed("its parameters are computed at run time")
        return [int(each) for each in array.reshape(-1)]

    def number(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes[name].as_int() if name in self.node.attributes else default

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return self.node.attributes[name].as_string() if name in self.node.attributes else default

    def list(self, name: str) -> list[int] | None:
        """A list of integers."""
        return list(self.node.attributes[name].as_ints()) if name in self.node.attributes else None

    def moved(self, axis: int) -> int:
        """Where an axis has gone."""
        rank = len(self.perm)
        if not -rank <= axis < rank:
            raise _Fixed("an axis is out of range")
        return self.perm.index(axis % rank)

    def same(self) -> Turn:
        """All data in the same other order."""
        outputs = {i: self.perm for i, y in enumerate(self.node.outputs) if y.name}
        return Turn({0: self.perm}, outputs)


Rule: TypeAlias = Callable[[PermutedNode], Turn]
RULES: Final[dict[str, Rule]] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators of the default domain."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def turned(
    node: ir.Node, version: int, perm: Perm, known: KnownValues, constant: Callable[[ir.Value | None], Array | None]
) -> Turn | str | None:
    """The operator on other data.

    Args:
        node: The operator as it is.
        version: Of the default domain.
        perm: Of the data: of the first input, or of the output where that has more dims.
        known: Facts of the values.
        constant: The array of a constant; None for what is none.

    Returns:
        A reason why it stays as it is; None where it has no rule.
    """
    found = RULES.get(node.op_type) if node.domain == "" else None
    if found is None:
        return None
    if any(each.is_ref() for each in node.attributes.values()):
        return "an attribute is a parameter of the function"
    try:
        return found(PermutedNode(node, version, perm, known, constant))
    except _Fixed as reason:
        return str(reason)


def inverse(perm: Sequence[int]) -> Perm:
    """The permutation that undoes ``perm``.

    >>> inverse((2, 0, 1))
    (1, 2, 0)
    """
    return tuple(perm.index(axis) for axis in range(len(perm)))


def without(perm: Perm, axes: Sequence[int]) -> Perm:
    """The permutation of the axes that remain when ``axes`` are removed.

    >>> without((0, 3, 1, 2), (1,))
    (0, 2, 1)
    """
    rest = [axis for axis in range(len(perm)) if axis not in axes]
    return tuple(rest.index(axis) for axis in perm if axis not in axes)


def moves_only_ones(perm: Perm, shape: Sequence[Any]) -> bool:
    """Whether all dims but those of size 1 keep their order, so that the elements do, too."""
    kept = [axis for axis in perm if shape[axis] != 1]
    return kept == sorted(kept)


def _changed(perm: Perm) -> dict[int, Perm]:
    """The first output, where anything changes."""
    return {} if perm == tuple(range(len(perm))) else {0: perm}


def _small(numbers: Sequence[int], dtype: ir.DataType | None = ir.DataType.INT64) -> Callable[[], Array]:
    if dtype is None:
        raise _Fixed("the type of its indices is not known")
    return lambda: np.array(numbers, dtype.numpy())


@rule(*UNARY, "Clip", "Dropout")
def _unary(op: PermutedNode) -> Turn:
    return op.same()


@rule(*(name for name in BROADCASTING if name != "Clip"), "Sum", "Mean", "Mod", "PRelu")
def _broadcast(op: PermutedNode) -> Turn:
    rank, perm = len(op.perm), op.perm
    if op.version < 7 or op.rank(op.node.outputs[0]) != rank:
        raise _Fixed("it broadcasts to other dims")
    made = Turn(outputs={0: perm})
    for index in range(len(op.node.inputs)):
        value = op.value(index)
        array, own = op.constant(index), op.rank(value)
        shape = op.known.shape(value)
        if own == rank:
            made.inputs[index] = perm
        elif array is not None and array.size != 1:
            made.constants[index] = _widened(array, perm)
        elif own and (shape is None or any(dim != 1 for dim in shape)):
            raise _Fixed("an operand of fewer dims is computed at run time")
    if not made.inputs:
        raise _Fixed("no operand has all dims")
    return made


def _widened(array: Array, perm: Perm) -> Callable[[], Array]:
    """A constant of fewer dims for what it is broadcast with: leading dims of 1 are left out."""

    def make() -> Array:
        wide = array.reshape((1,) * (len(perm) - array.ndim) + array.shape).transpose(perm)
        lead = next((i for i, dim in enumerate(wide.shape) if dim != 1), wide.ndim)
        return np.ascontiguousarray(wide.reshape(wide.shape[lead:]))

    return make


@rule("Softmax", "LogSoftmax", "Hardmax")
def _softmax(op: PermutedNode) -> Turn:
    made, last = op.same(), len(op.perm) - 1
    axis = op.number("axis", -1 if op.version >= 13 else 1) % len(op.perm)
    new = op.moved(axis)
    if op.version < 13 and not axis == new == last:
        raise _Fixed("it is over all axes from one on")
    made.attributes["axis"] = ir.AttrInt64("axis", new)
    made.passes = (2 * (axis != last), 2 * (new != last))  # onnxruntime transposes before and after
    return made


@rule("Concat")
def _concat(op: PermutedNode) -> Turn:
    if "axis" not in op.node.attributes:
        raise _Fixed("it has no axis")
    if any(op.rank(op.value(index)) != len(op.perm) for index in range(len(op.node.inputs))):
        raise _Fixed("its inputs differ in rank")
    axis = ir.AttrInt64("axis", op.moved(op.number("axis", 1)))
    return Turn(dict.fromkeys(range(len(op.node.inputs)), op.perm), {0: op.perm}, {"axis": axis})


@rule("Split")
def _split(op: PermutedNode) -> Turn:
    made = op.same()
    made.attributes["axis"] = ir.AttrInt64("axis", op.moved(op.number("axis", 0)))
    return made


@rule("Slice")
def _slice(op: PermutedNode) -> Turn:
    made = op.same()
    if op.version < 10:
        axes = op.list("axes") or list(range(len(op.list("starts") or ())))
        made.attributes["axes"] = ir.AttrInt64s("axes", [op.moved(axis) for axis in axes])
        return made
    starts = op.value(1)
    if op.has(3):
        axes, dtype = op.integers(3), op.known.dtype(op.value(3))
    else:
        shape, dtype = op.known.shape(starts), op.known.dtype(starts)
        if shape is None or len(shape) != 1 or not isinstance(shape[0], int):
            raise _Fixed("its parameters are computed at run time")
        axes = list(range(shape[0]))
    made.constants[3] = _small([op.moved(axis) for axis in axes], dtype)
    return made


@rule("Pad")
def _pad(op: PermutedNode) -> Turn:
    made, rank = op.same(), len(op.perm)
    if op.version >= 18 and op.has(3):
        made.constants[3] = _small([op.moved(axis) for axis in op.integers(3)], op.known.dtype(op.value(3)))
        return made
    pads = op.list("pads") if op.version < 11 else op.integers(1)
    if pads is None or len(pads) != 2 * rank:
        raise _Fixed("its padding is not known")
    pads = [pads[side + axis] for side in (0, rank) for axis in op.perm]
    if op.version < 11:
        made.attributes["pads"] = ir.AttrInt64s("pads", pads)
    else:
        made.constants[1] = _small(pads)
    return made


def _axes(op: PermutedNode, since: int) -> list[int] | None:
    """The axes, from the front; None where none are given."""
    given = op.integers(1) if op.version >= since and op.has(1) else None
    given = op.list("axes") if op.version < since else given
    if given is None:
        return None
    axes = [op.perm[op.moved(axis)] for axis in given]
    if len(set(axes)) != len(axes):
        raise _Fixed("an axis stands there twice")
    return axes


def _give_axes(op: PermutedNode, made: Turn, axes: Sequence[int], since: int) -> None:
    new = sorted(op.moved(axis) for axis in axes)
    if op.version >= since:
        made.constants[1] = _small(new)
    else:
        made.attributes["axes"] = ir.AttrInt64s("axes", new)


@rule(*AXES_ARE_INPUT_SINCE)
def _reduce(op: PermutedNode) -> Turn:
    since, rank = AXES_ARE_INPUT_SINCE[op.node.op_type], len(op.perm)
    axes, keeps = _axes(op, since), op.number("keepdims", 1)
    if not axes:
        if op.number("noop_with_empty_axes", 0):
            return op.same()
        return Turn({0: op.perm}, {0: op.perm} if keeps else {})
    made = Turn({0: op.perm}, {0: op.perm} if keeps else _changed(without(op.perm, axes)))
    _give_axes(op, made, axes, since)
    last = set(range(rank - len(axes), rank))
    made.passes = (int(set(axes) != last), int({op.moved(axis) for axis in axes} != last))
    return made


@rule("ArgMax", "ArgMin")
def _arg(op: PermutedNode) -> Turn:
    axis = op.number("axis", 0)
    keeps = op.number("keepdims", 1)
    outputs = {0: op.perm} if keeps else _changed(without(op.perm, [axis % len(op.perm)]))
    return Turn({0: op.perm}, outputs, {"axis": ir.AttrInt64("axis", op.moved(axis))})


@rule("CumSum")
def _cumsum(op: PermutedNode) -> Turn:
    made, value = op.same(), op.value(1)
    (axis,) = op.integers(1)
    made.constants[1] = lambda: np.array(op.moved(axis), (op.known.dtype(value) or ir.DataType.INT64).numpy())
    return made


@rule("Gather")
def _gather(op: PermutedNode) -> Turn:
    axis, rank = op.number("axis", 0), op.rank(op.value(1))
    if rank > 1 or op.rank(op.value(0)) != len(op.perm):
        raise _Fixed("its indices are more than a list")
    outputs = {0: op.perm} if rank else _changed(without(op.perm, [axis % len(op.perm)]))
    return Turn({0: op.perm}, outputs, {"axis": ir.AttrInt64("axis", op.moved(axis))})


@rule("Squeeze")
def _squeeze(op: PermutedNode) -> Turn:
    axes = _axes(op, 13)
    if axes is None:
        shape = op.known.shape(op.value(0))
        if shape is None or not all(isinstance(dim, int) for dim in shape):
            raise _Fixed("which dims it removes is not known")
        axes = [axis for axis, dim in enumerate(shape) if dim == 1]
    made = Turn({0: op.perm}, _changed(without(op.perm, axes)))
    _give_axes(op, made, axes, 13)
    return made


@rule("Unsqueeze")
def _unsqueeze(op: PermutedNode) -> Turn:
    axes = _axes(op, 13)
    if axes is None or op.rank(op.value(0)) + len(axes) != len(op.perm):
        raise _Fixed("its axes are not known")
    made = Turn(_changed(without(op.perm, axes)), {0: op.perm})
    _give_axes(op, made, axes, 13)
    return made


@rule("Expand")
def _expand(op: PermutedNode) -> Turn:
    shape, rank = op.integers(1), len(op.perm)
    if op.rank(op.value(0)) != rank or len(shape) > rank:
        raise _Fixed("it adds dims")
    wide = [1] * (rank - len(shape)) + shape
    made = op.same()
    made.constants[1] = _small([wide[axis] for axis in op.perm])
    return made


@rule("Tile")
def _tile(op: PermutedNode) -> Turn:
    repeats = op.integers(1)
    if op.version < 6 or len(repeats) != len(op.perm):
        raise _Fixed("its repeats are not known")
    made = op.same()
    made.constants[1] = _small([repeats[axis] for axis in op.perm])
    return made


@rule("QuantizeLinear", "DequantizeLinear")
def _quantize(op: PermutedNode) -> Turn:
    made, shape = op.same(), op.known.shape(op.value(1))
    if shape is None or len(shape) > 1 or op.number("block_size", 0):
        raise _Fixed("its scales are not one number, or one along an axis")
    if shape and shape[0] != 1:
        made.attributes["axis"] = ir.AttrInt64("axis", op.moved(op.number("axis", 1)))
    return made


@rule("Resize", "Upsample")
def _resize(op: PermutedNode) -> Turn:
    """Kernels for linear and cubic modes leave the first two axes alone, and know few others."""
    made, rank = op.same(), len(op.perm)
    if op.text("coordinate_transformation_mode", "") == "tf_crop_and_resize" or "axes" in op.node.attributes:
        raise _Fixed("it resizes a part, or only some axes")
    at = 2 if op.node.op_type == "Resize" and op.version >= 11 else 1
    scaled: list[bool]
    if op.node.op_type == "Resize" and op.version >= 11 and op.has(3):
        sizes, shape = op.integers(3), op.known.shape(op.value(0))
        if shape is None or len(sizes) != rank:
            raise _Fixed("its sizes are not known")
        scaled = [size != dim for size, dim in zip(sizes, shape, strict=True)]
        made.constants[3] = _small([sizes[axis] for axis in op.perm])
    else:
        scales = op.constant(at) if op.version >= 9 else None
        if scales is None or scales.shape != (rank,):
            raise _Fixed("its scales are not known")
        scaled = [scale != 1 for scale in scales]
        made.constants[at] = lambda: np.ascontiguousarray(scales[list(op.perm)])
    if op.text("mode", "nearest") != "nearest" and (rank not in (4, 5) or scaled[op.perm[0]] or scaled[op.perm[1]]):
        raise _Fixed("runtimes interpolate along the last axes only")
    return made
