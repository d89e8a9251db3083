"""Shape rules of convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, add, ceildiv, floordiv, lower, maximum, minimum, mul
from onnxslim.analysis.facts import Fact, Shape
from onnxslim.analysis.operator import Operator, Rule, moved, registering

CONVOLUTION_RULES: Final[dict[str, Rule]] = {}
rule = registering(CONVOLUTION_RULES)


@rule("Conv", "ConvInteger", "QLinearConv")
def _conv(op: Operator) -> Sequence[Fact] | None:
    second = 3 if op.node.op_type == "QLinearConv" else 1
    x, w = op.shape(0), op.shape(second)
    dtype = op.fact(0).dtype
    if op.node.op_type == "ConvInteger":
        dtype = ir.DataType.INT32
    elif second == 3:
        dtype = op.fact(7).dtype
    if x is None or w is None:
        rank = len(x or w or ())
        return [Fact(dtype, op.fresh(rank) if rank else None)]
    kernel = tuple(op.get("kernel_shape") or w[2:])
    return [Fact(dtype, (x[0], w[0], *_windows(op, x[2:], kernel)))]


def _windows(op: Operator, spatial: Shape, kernel: Sequence[Dim], *, pool: bool = False) -> Shape:
    """Spatial dims after a convolution or pooling with this kernel."""
    rank, ceil = len(spatial), pool and bool(op.get("ceil_mode", 0))
    strides, dilations = op.get("strides") or [1] * rank, op.get("dilations") or [1] * rank
    pads, auto = op.get("pads") or [0] * (2 * rank), op.text("auto_pad", "NOTSET") or "NOTSET"
    if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise ValueError(f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads} of rank {rank}")
    dims: list[Dim] = []
    for i, size in enumerate(spatial):
        stride = strides[i]
        if auto.startswith("SAME"):
            dims.append(ceildiv(size, stride))
            continue
        before, after = (0, 0) if auto == "VALID" else (pads[i], pads[i + rank])
        reach = add(mul(add(kernel[i], -1), dilations[i]), 1)
        room = add(add(size, before + after), mul(reach, -1))
        if isinstance(room, int) and room < 0 and not pool:
            raise ValueError(f"a kernel of {reach} does not fit into {size}, padded by {before} and {after}")
        if pool and not ceil:
            dims.append(_pooled(size, room, stride))
            continue
        dim = add((ceildiv if ceil else floordiv)(room, stride), 1)
        if ceil and not (isinstance(reach, int) and after <= reach - stride):
            # The last window may begin in the padding behind the data: versions of the operator differ in keeping it.
            dim = dim if dim == add(floordiv(room, stride), 1) else op.symbols.dim()
        dims.append(dim)
    return tuple(dims)


def _pooled(size: Dim, room: Dim, stride: int) -> Dim:
    """trunc(room / stride) + 1: where a kernel does not fit, onnxruntime rounds toward zero and may still run."""
    dim = add(floordiv(room, stride), 1)
    if stride == 1 or lower(room) >= 0:
        return dim
    if lower(room) > -stride:
        return maximum(dim, 1)
    if lower(room) == -stride and lower(size) == 0:  # room is -stride for an empty input only
        return maximum(dim, minimum(size, 1))
    beyond = floordiv(maximum(mul(room, -1), 0), stride)
    return add(add(floordiv(maximum(room, 0), stride), mul(beyond, -1)), 1)


@rule("MaxPool", "AveragePool", "LpPool")
def _pool(op: Operator) -> Sequence[Fact] | None:
    x, kernel = op.shape(0), op.get("kernel_shape")
    if kernel is None:
        return None
    shape = None if x is None else (*x[:2], *_windows(op, x[2:], kernel, pool=True))
    return [Fact(op.fact(0).dtype, shape), Fact(ir.DataType.INT64, shape)]


@rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(op: Operator) -> Sequence[Fact] | None:
    x = op.shape(0)
    return moved(op, None if x is None else (*x[:2], *([1] * len(x[2:]))))


@rule("ConvTranspose")
def _conv_transpose(op: Operator) -> Sequence[Fact] | None:
    x, w = op.shape(0), op.shape(1)
    if x is None or w is None:
        return moved(op, None)
    rank, auto = len(x) - 2, op.text("auto_pad", "NOTSET") or "NOTSET"
    channels = mul(w[1], op.get("group", 1))
    wanted = op.get("output_shape")
    if wanted:
        return moved(op, (x[0], channels, *list(wanted)[-rank:]))
    strides, dilations = op.get("strides") or [1] * rank, op.get("dilations") or [1] * rank
    extra, pads = op.get("output_padding") or [0] * rank, op.get("pads") or [0] * (2 * rank)
    kernel = tuple(op.get("kernel_shape") or w[2:])
    dims: list[Dim] = []
    for i, size in enumerate(x[2:]):
        if auto.startswith("SAME"):
            dims.append(op.symbols.dim() if extra[i] else mul(size, strides[i]))
            continue
        padding = 0 if auto == "VALID" else pads[i] + pads[i + rank]
        reach = add(mul(add(kernel[i], -1), dilations[i]), 1)
        dims.append(add(add(mul(add(size, -1), strides[i]), reach), extra[i] - padding))
    return moved(op, (x[0], channels, *dims))
