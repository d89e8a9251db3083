"""Shape rules of operators that give all elements other axes, and of those that read or fill shapes.

They carry the numbers of small tensors along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Expr, divide, floordiv, lower, mul, product
from onnxslim.analysis.facts import Fact
from onnxslim.analysis.operator import (
    MAX_ELEMENTS,
    Operator,
    Rule,
    as_dim,
    axis_of,
    dims_of,
    moved,
    registering,
    tensor,
)

MOVEMENT_RULES: Final[dict[str, Rule]] = {}
rule = registering(MOVEMENT_RULES)


@rule("Identity", "Dropout")
def _identity(op: Operator) -> Sequence[Fact] | None:
    if op.node.op_type == "Dropout":
        mask = ir.DataType.BOOL if op.version >= 10 else op.fact(0).dtype
        return [Fact(op.fact(0).dtype, op.shape(0)), Fact(mask, op.shape(0))]
    return [op.fact(0)]


@rule("Shape")
def _shape(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    if shape is None:
        return [Fact(ir.DataType.INT64, op.fresh(1))]
    start, end = op.get("start", 0), op.get("end", len(shape))
    start, end = (min(max(i + len(shape) if i < 0 else i, 0), len(shape)) for i in (start, end))
    dims = shape[start:end]
    return [Fact(ir.DataType.INT64, (len(dims),), tensor(dims, (len(dims),)))]


@rule("Size")
def _size(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    value = None if shape is None else tensor([product(shape)], ())
    return [Fact(ir.DataType.INT64, (), value)]


@rule("ConstantOfShape")
def _constant_of_shape(op: Operator) -> Sequence[Fact] | None:
    fill = op.get("value")
    dtype = ir.DataType.FLOAT if fill is None else fill.dtype
    dims = dims_of(op, 0)
    if dims is None:
        return [Fact(dtype)]
    shape = tuple(dims)
    sizes = [dim for dim in shape if isinstance(dim, int)]
    if len(sizes) < len(shape) or int(np.prod(sizes, dtype=object)) > MAX_ELEMENTS:
        return [Fact(dtype, shape)]
    if dtype.is_integer() or dtype in (ir.DataType.BOOL, ir.DataType.FLOAT, ir.DataType.DOUBLE):
        element = 0.0 if fill is None else fill.numpy().reshape(-1)[0].item()
        element = int(element) if dtype == ir.DataType.BOOL else element
        return [Fact(dtype, shape, tensor([element] * int(np.prod(sizes, dtype=np.int64)), sizes))]
    return [Fact(dtype, shape)]


@rule("Transpose")
def _transpose(op: Operator) -> Sequence[Fact] | None:
    fact, shape = op.fact(0), op.shape(0)
    if shape is None:
        return moved(op, op.fresh(len(op.get("perm"))) if op.get("perm") else None)
    order = list(op.get("perm", range(len(shape))[::-1]))
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"perm {order} of rank {len(shape)}")
    return moved(op, tuple(shape[i] for i in order), None if fact.value is None else fact.value.transpose(order))


@rule("Reshape")
def _reshape(op: Operator) -> Sequence[Fact] | None:
    if op.version < 5:
        return None
    dims, shape = dims_of(op, 1), op.shape(0)
    if dims is None:
        return moved(op, None)
    copying = not op.get("allowzero", 0)
    target: list[Dim | None] = []
    for i, dim in enumerate(dims):
        if dim == 0 and copying:
            target.append(op.symbols.dim() if shape is None else shape[i])
        elif dim == -1:
            target.append(None)
        else:
            target.append(as_dim(op, dim))
    holes = [i for i, dim in enumerate(target) if dim is None]
    if len(holes) > 1:
        raise ValueError("two dims are -1")
    if holes:
        rest = product(dim for dim in target if dim is not None)
        target[holes[0]] = None if shape is None else _share(product(shape), rest)
    known = tuple(op.symbols.dim() if dim is None else dim for dim in target)
    value = op.fact(0).value
    if value is not None:
        sizes = [dim for dim in known if isinstance(dim, int)]
        value = value.reshape(sizes) if len(sizes) == len(known) else None
    return moved(op, known, value)


def _share(total: Dim, rest: Dim) -> Dim | None:
    """Total / rest, of which it is known that the division leaves no remainder and rest is not 0."""
    exact = divide(total, rest)
    if exact is not None:
        return exact
    return floordiv(total, rest) if isinstance(rest, int) and rest else None


@rule("Flatten")
def _flatten(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    if shape is None:
        return moved(op, op.fresh(2))
    axis = op.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    pair = product(shape[:axis]), product(shape[axis:])
    value = op.fact(0).value
    return moved(op, pair, None if value is None else value.reshape([d for d in pair if isinstance(d, int)]))


@rule("Squeeze")
def _squeeze(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    axes = op.parameter("axes", 1, 13)
    if shape is None:
        return moved(op, None)
    if axes is None:
        if any(isinstance(dim, Expr) and lower(dim) <= 1 for dim in shape):
            return moved(op, None)
        places = {i for i, dim in enumerate(shape) if dim == 1}
    else:
        places = {axis_of(axis, len(shape)) for axis in axes}
        if any(isinstance(shape[i], int) and shape[i] != 1 for i in places):
            raise ValueError(f"squeezed dims are not all 1: {[str(shape[i]) for i in sorted(places)]}")
    kept = tuple(dim for i, dim in enumerate(shape) if i not in places)
    value = op.fact(0).value
    return moved(op, kept, None if value is None else value.reshape([d for d in kept if isinstance(d, int)]))


@rule("Unsqueeze")
def _unsqueeze(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    axes = op.parameter("axes", 1, 13)
    if shape is None or axes is None:
        return moved(op, None)
    rank = len(shape) + len(axes)
    places = {axis_of(axis, rank) for axis in axes}
    if len(places) != len(axes):
        raise ValueError(f"axes {axes} repeat")
    rest = iter(shape)
    grown = tuple(1 if i in places else next(rest) for i in range(rank))
    value = op.fact(0).value
    return moved(op, grown, None if value is None else value.reshape([d for d in grown if isinstance(d, int)]))


@rule("DepthToSpace", "SpaceToDepth")
def _depth_space(op: Operator) -> Sequence[Fact] | None:
    shape, block = op.shape(0), op.get("blocksize")
    if shape is None or len(shape) != 4:
        return moved(op, op.fresh(4))
    n, c, h, w = shape
    if op.node.op_type == "DepthToSpace":
        return moved(op, (n, floordiv(c, block * block), mul(h, block), mul(w, block)))
    return moved(op, (n, mul(c, block * block), floordiv(h, block), floordiv(w, block)))
