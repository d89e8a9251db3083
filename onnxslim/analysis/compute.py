"""Shape rules of operators that compute: elementwise, matrix products, reductions, resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Expr, ceildiv, floordiv, maximum, mul
from onnxslim.analysis.facts import Fact, Shape
from onnxslim.analysis.operator import Operator, Rule, Undecided, axis_of, broadcast_shapes, dims_of, moved, registering
from onnxslim.ops.contraction import gemm_axes
from onnxslim.ops.reductions import AXES_ARE_INPUT_SINCE

COMPUTE_RULES: Final[dict[str, Rule]] = {}
rule = registering(COMPUTE_RULES)

SAME_SHAPE: Final = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BitwiseNot",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Cosh",
        "CumSum",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Hardmax",
        "InstanceNormalization",
        "GroupNormalization",
        "LRN",
        "LeakyRelu",
        "Log",
        "LogSoftmax",
        "LpNormalization",
        "MeanVarianceNormalization",
        "Mish",
        "Neg",
        "Not",
        "PRelu",
        "Reciprocal",
        "Relu",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Scatter",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softmax",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
        "Trilu",
    ]
)
BROADCASTING: Final = frozenset(
    [
        "Add",
        "BitwiseAnd",
        "BitwiseOr",
        "BitwiseXor",
        "BitShift",
        "Div",
        "Max",
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Pow",
        "Sub",
        "Sum",
    ]
)
COMPARING: Final = frozenset(["And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor"])


@rule(*SAME_SHAPE)
def _same(op: Operator) -> Sequence[Fact] | None:
    return moved(op, op.shape(0))


@rule("IsInf", "IsNaN")
def _test(op: Operator) -> Sequence[Fact] | None:
    return [Fact(ir.DataType.BOOL, op.shape(0))]


@rule(*BROADCASTING, *COMPARING)
def _broadcasting(op: Operator) -> Sequence[Fact] | None:
    if op.version < 7:  # broadcasting was an attribute then
        return None
    dtype = ir.DataType.BOOL if op.node.op_type in COMPARING else op.fact(0).dtype
    shapes = [fact.shape for fact in op.inputs if fact is not None and fact.shape is not None]
    return [Fact(dtype, broadcast_shapes(shapes) if len(shapes) == len(op.inputs) else None)]


@rule("Where")
def _where(op: Operator) -> Sequence[Fact] | None:
    shapes = [fact.shape for fact in op.inputs if fact is not None and fact.shape is not None]
    return [Fact(op.fact(1).dtype, broadcast_shapes(shapes) if len(shapes) == 3 else None)]


@rule("Cast", "CastLike")
def _cast(op: Operator) -> Sequence[Fact] | None:
    dtype = ir.DataType(op.get("to")) if op.node.op_type == "Cast" else op.fact(1).dtype
    return [Fact(dtype, op.shape(0))]


@rule("BatchNormalization")
def _batch_normalization(op: Operator) -> Sequence[Fact] | None:
    rest = [Fact(op.fact(3).dtype, op.shape(3)), Fact(op.fact(4).dtype, op.shape(4))] if op.version >= 14 else []
    return [Fact(op.fact(0).dtype, op.shape(0)), *rest]


@rule("LayerNormalization", "RMSNormalization")
def _layer_normalization(op: Operator) -> Sequence[Fact] | None:
    return moved(op, op.shape(0)) if len(op.node.outputs) == 1 else None


@rule("MatMul")
def _matmul(op: Operator) -> Sequence[Fact] | None:
    a, b = op.shape(0), op.shape(1)
    if a is None or b is None:
        return moved(op, None)
    if not a or not b:
        raise ValueError("MatMul of a scalar")
    left: Shape = (1, *a) if len(a) == 1 else a
    right: Shape = (*b, 1) if len(b) == 1 else b
    if isinstance(left[-1], int) and isinstance(right[-2], int) and left[-1] != right[-2]:
        raise ValueError(f"contracted dims {left[-1]} and {right[-2]}")
    ends = ((left[-2],) if len(a) > 1 else ()) + ((right[-1],) if len(b) > 1 else ())
    return moved(op, broadcast_shapes([left[:-2], right[:-2]]) + ends)


@rule("Gemm")
def _gemm(op: Operator) -> Sequence[Fact] | None:
    a, b = op.shape(0), op.shape(1)
    (rows, _), (_, columns) = gemm_axes(op.get)
    return moved(op, tuple(op.symbols.dim() if x is None else x[axis] for x, axis in ((a, rows), (b, columns))))


@rule(*AXES_ARE_INPUT_SINCE)
def _reduce(op: Operator) -> Sequence[Fact] | None:
    shape, keep = op.shape(0), op.get("keepdims", 1)
    if shape is None:
        return moved(op, None)
    try:
        axes = op.parameter("axes", 1, AXES_ARE_INPUT_SINCE[op.node.op_type])
    except Undecided:
        # How many axes are reduced may be unknown too.
        return moved(op, op.fresh(len(shape)) if keep else None)
    if not axes and op.get("noop_with_empty_axes", 0):
        return moved(op, shape)
    places = {axis_of(axis, len(shape)) for axis in axes or range(len(shape))}
    return moved(op, _reduced(shape, places, bool(keep)))


def _reduced(shape: Shape, places: set[int], keep: bool) -> Shape:
    if keep:
        return tuple(1 if i in places else dim for i, dim in enumerate(shape))
    return tuple(dim for i, dim in enumerate(shape) if i not in places)


@rule("ArgMax", "ArgMin")
def _arg(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    if shape is None:
        return [Fact(ir.DataType.INT64)]
    axis = axis_of(op.get("axis", 0), len(shape))
    return [Fact(ir.DataType.INT64, _reduced(shape, {axis}, bool(op.get("keepdims", 1))))]


@rule("TopK")
def _top_k(op: Operator) -> Sequence[Fact] | None:
    shape, dtype = op.shape(0), op.fact(0).dtype
    count = [op.get("k")] if op.version < 10 else dims_of(op, 1)
    if shape is None or not count:
        return [Fact(dtype), Fact(ir.DataType.INT64)]
    axis = axis_of(op.get("axis", -1), len(shape))
    dims = (*shape[:axis], count[0], *shape[axis + 1 :])
    return [Fact(dtype, dims), Fact(ir.DataType.INT64, dims)]


@rule("OneHot")
def _one_hot(op: Operator) -> Sequence[Fact] | None:
    shape, depth, dtype = op.shape(0), op.elements(1), op.fact(2).dtype
    if shape is None:
        return [Fact(dtype)]
    axis = axis_of(op.get("axis", -1), len(shape) + 1)
    known = depth is not None and len(depth) == 1 and isinstance(depth[0], int | Expr | float)
    size = depth[0] if depth is not None and known else op.symbols.dim()
    return [Fact(dtype, (*shape[:axis], int(size) if isinstance(size, float) else size, *shape[axis:]))]


@rule("Range")
def _range(op: Operator) -> Sequence[Fact] | None:
    ends, dtype = [op.elements(i) for i in range(3)], op.fact(0).dtype
    start, limit, step = (None if not end else end[0] for end in ends)
    if not isinstance(step, int) or step == 0 or not all(isinstance(e, int | Expr) for e in (start, limit)):
        return [Fact(dtype, op.fresh(1))]
    assert start is not None
    assert limit is not None
    span = limit - start if step > 0 else start - limit
    return [Fact(dtype, (maximum(ceildiv(span, abs(step)), 0),))]


@rule("NonZero")
def _non_zero(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    rank: Dim = op.symbols.dim() if shape is None else max(len(shape), 1)
    return [Fact(ir.DataType.INT64, (rank, op.symbols.dim()))]


@rule("STFT")
def _stft(op: Operator) -> Sequence[Fact] | None:
    # onnx 1.23 takes the spectrum for two-sided although the attribute's default is one-sided.
    shape = op.shape(0)
    return moved(op, (op.symbols.dim() if not shape else shape[0], *op.fresh(2), 2))


@rule("GatherElements")
def _gather_elements(op: Operator) -> Sequence[Fact] | None:
    return moved(op, op.shape(1))


@rule("QuantizeLinear")
def _quantize(op: Operator) -> Sequence[Fact] | None:
    wanted = op.get("output_dtype", 0)
    dtype = ir.DataType(wanted) if wanted else op.fact(2).dtype if op.has(2) else ir.DataType.UINT8
    return [Fact(dtype, op.shape(0))]


@rule("DequantizeLinear")
def _dequantize(op: Operator) -> Sequence[Fact] | None:
    wanted = op.get("output_dtype", 0)
    return [Fact(ir.DataType(wanted) if wanted else op.fact(1).dtype, op.shape(0))]


@rule("Resize", "Upsample")
def _resize(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    if shape is None:
        return moved(op, None)
    axes = op.get("axes") if op.version >= 18 else None
    places = list(range(len(shape))) if axes is None else [axis_of(axis, len(shape)) for axis in axes]
    dims = list(shape)
    if op.node.op_type == "Resize" and op.version >= 11 and op.has(3) and op.shape(3) != (0,):
        sizes = dims_of(op, 3)
        plain = op.text("keep_aspect_ratio_policy", "stretch") == "stretch"
        for i, axis in enumerate(places):
            dims[axis] = sizes[i] if plain and sizes is not None else op.symbols.dim()
        return moved(op, tuple(dims))
    index = 2 if op.node.op_type == "Resize" and op.version >= 11 else 1
    scales = list(op.get("scales", ())) if op.version < 9 else op.elements(index)
    cropped = op.text("coordinate_transformation_mode") == "tf_crop_and_resize"
    if not scales or len(scales) != len(places) or cropped:
        return moved(op, op.fresh(len(shape)))
    for i, axis in enumerate(places):
        dims[axis] = _scaled(op, shape[axis], scales[i])
    return moved(op, tuple(dims))


def _scaled(op: Operator, size: Dim, scale: object) -> Dim:
    """floor(size * scale), where rounding of the product cannot matter."""
    if not isinstance(scale, float) or not math.isfinite(scale) or scale <= 0:
        return op.symbols.dim()
    if isinstance(size, int):
        exact = math.floor(np.float32(scale) * np.float32(size))
        return exact if exact == math.floor(scale * size) else op.symbols.dim()
    numerator, denominator = scale.as_integer_ratio()
    if numerator > 64 or denominator > 4096:
        return op.symbols.dim()
    return floordiv(mul(size, numerator), denominator)
