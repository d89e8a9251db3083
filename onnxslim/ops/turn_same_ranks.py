"""How operators that keep all axes work on data in another order of axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxslim.ops.channels.elementwise import UNARY
from onnxslim.ops.elementwise import BROADCASTING
from onnxslim.ops.permutations import Perm
from onnxslim.ops.turning import Array, Fixed, PermutedNode, Turn, rule, small


@rule(*UNARY, "Clip", "Dropout")
def _unary(op: PermutedNode) -> Turn:
    return op.same()


@rule(*(name for name in BROADCASTING if name != "Clip"), "Sum", "Mean", "Mod", "PRelu")
def _broadcast(op: PermutedNode) -> Turn:
    rank, perm = len(op.perm), op.perm
    if op.version < 7 or op.rank(op.node.outputs[0]) != rank:
        raise Fixed("it broadcasts to other dims")
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
            raise Fixed("an operand of fewer dims is computed at run time")
    if not made.inputs:
        raise Fixed("no operand has all dims")
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
        raise Fixed("it is over all axes from one on")
    made.attributes["axis"] = ir.AttrInt64("axis", new)
    made.passes = (2 * (axis != last), 2 * (new != last))  # onnxruntime transposes before and after
    return made


@rule("Concat")
def _concat(op: PermutedNode) -> Turn:
    if "axis" not in op.node.attributes:
        raise Fixed("it has no axis")
    if any(op.rank(op.value(index)) != len(op.perm) for index in range(len(op.node.inputs))):
        raise Fixed("its inputs differ in rank")
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
            raise Fixed("its parameters are computed at run time")
        axes = list(range(shape[0]))
    made.constants[3] = small([op.moved(axis) for axis in axes], dtype)
    return made


@rule("Pad")
def _pad(op: PermutedNode) -> Turn:
    made, rank = op.same(), len(op.perm)
    if op.version >= 18 and op.has(3):
        made.constants[3] = small([op.moved(axis) for axis in op.integers(3)], op.known.dtype(op.value(3)))
        return made
    pads = op.list("pads") if op.version < 11 else op.integers(1)
    if pads is None or len(pads) != 2 * rank:
        raise Fixed("its padding is not known")
    pads = [pads[side + axis] for side in (0, rank) for axis in op.perm]
    if op.version < 11:
        made.attributes["pads"] = ir.AttrInt64s("pads", pads)
    else:
        made.constants[1] = small(pads)
    return made


@rule("CumSum")
def _cumsum(op: PermutedNode) -> Turn:
    made, value = op.same(), op.value(1)
    (axis,) = op.integers(1)
    made.constants[1] = lambda: np.array(op.moved(axis), (op.known.dtype(value) or ir.DataType.INT64).numpy())
    return made


@rule("Expand")
def _expand(op: PermutedNode) -> Turn:
    shape, rank = op.integers(1), len(op.perm)
    if op.rank(op.value(0)) != rank or len(shape) > rank:
        raise Fixed("it adds dims")
    wide = [1] * (rank - len(shape)) + shape
    made = op.same()
    made.constants[1] = small([wide[axis] for axis in op.perm])
    return made


@rule("Tile")
def _tile(op: PermutedNode) -> Turn:
    repeats = op.integers(1)
    if op.version < 6 or len(repeats) != len(op.perm):
        raise Fixed("its repeats are not known")
    made = op.same()
    made.constants[1] = small([repeats[axis] for axis in op.perm])
    return made


@rule("QuantizeLinear", "DequantizeLinear")
def _quantize(op: PermutedNode) -> Turn:
    made, shape = op.same(), op.known.shape(op.value(1))
    if shape is None or len(shape) > 1 or op.number("block_size", 0):
        raise Fixed("its scales are not one number, or one along an axis")
    if shape and shape[0] != 1:
        made.attributes["axis"] = ir.AttrInt64("axis", op.moved(op.number("axis", 1)))
    return made


@rule("Resize", "Upsample")
def _resize(op: PermutedNode) -> Turn:
    """Kernels for linear and cubic modes leave the first two axes alone, and know few others."""
    made, rank = op.same(), len(op.perm)
    if op.text("coordinate_transformation_mode", "") == "tf_crop_and_resize" or "axes" in op.node.attributes:
        raise Fixed("it resizes a part, or only some axes")
    at = 2 if op.node.op_type == "Resize" and op.version >= 11 else 1
    scaled: list[bool]
    if op.node.op_type == "Resize" and op.version >= 11 and op.has(3):
        sizes, shape = op.integers(3), op.known.shape(op.value(0))
        if shape is None or len(sizes) != rank:
            raise Fixed("its sizes are not known")
        scaled = [size != dim for size, dim in zip(sizes, shape, strict=True)]
        made.constants[3] = small([sizes[axis] for axis in op.perm])
    else:
        scales = op.constant(at) if op.version >= 9 else None
        if scales is None or scales.shape != (rank,):
            raise Fixed("its scales are not known")
        scaled = [scale != 1 for scale in scales]
        made.constants[at] = lambda: np.ascontiguousarray(scales[list(op.perm)])
    if op.text("mode", "nearest") != "nearest" and (rank not in (4, 5) or scaled[op.perm[0]] or scaled[op.perm[1]]):
        raise Fixed("runtimes interpolate along the last axes only")
    return made
