"""Shape rules of operators that move data: they carry the numbers of small tensors along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import (
    Dim,
    Expr,
    add,
    ceildiv,
    divide,
    floordiv,
    lower,
    maximum,
    minimum,
    mul,
    product,
    upper,
)
from onnxslim.analysis.facts import Array, Fact, Shape
from onnxslim.analysis.operator import (
    MAX_ELEMENTS,
    Operator,
    Rule,
    Undecided,
    axis_of,
    broadcast_shapes,
    tensor,
)

MOVEMENT_RULES: Final[dict[str, Rule]] = {}
LARGEST: Final = 2**31 - 1


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators."""

    def register(function: Rule) -> Rule:
        for name in names:
            MOVEMENT_RULES[name] = function
        return function

    return register


def moved(op: Operator, shape: Shape | None, value: Array | None = None) -> list[Fact]:
    """One output of the first input's dtype."""
    if value is not None and value.size > MAX_ELEMENTS:
        value = None
    return [Fact(op.fact(0).dtype, shape, value)]


def carried(op: Operator, value: Array) -> list[Fact]:
    """One output of the first input's dtype, whose value tells its shape."""
    return moved(op, tuple(int(d) for d in value.shape), value)


def dims_of(op: Operator, index: int) -> list[Dim] | None:
    """An integer input's elements as dims; new symbols where only their number is known; None where not even that."""
    elements = op.elements(index)
    if elements is not None:
        return [e for e in elements if isinstance(e, int | Expr)] if len(elements) else []
    shape = op.shape(index)
    if shape is None or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] > 64:
        return None
    return [op.symbols.data() for _ in range(shape[0])]


def as_dim(op: Operator, element: Dim) -> Dim:
    """An element used as a dim: itself, or unknown where it may be negative."""
    return element if lower(element) >= 0 else op.symbols.dim()


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


@rule("Concat")
def _concat(op: Operator) -> Sequence[Fact] | None:
    shapes = [fact.shape for fact in op.inputs if fact is not None]
    ranks = {len(shape) for shape in shapes if shape is not None}
    if len(ranks) > 1:
        raise ValueError(f"ranks {sorted(ranks)} differ")
    if not ranks:
        return moved(op, None)
    (rank,) = ranks
    axis = axis_of(op.get("axis", 1), rank)
    known = [shape for shape in shapes if shape is not None]
    full = [shape for shape in known if 0 not in shape] or known  # onnxruntime lets empty inputs differ
    dims: list[Dim] = []
    for i in range(rank):
        if i == axis:
            dims.append(_total([s[i] for s in known]) if len(known) == len(shapes) else op.symbols.dim())
        else:  # all are the same number in a run that succeeds
            dims.append(next((s[i] for s in full if isinstance(s[i], int)), full[0][i]))
    values = [fact.value for fact in op.inputs if fact is not None and fact.value is not None]
    joined = np.concatenate(values, axis=axis) if len(values) == len(shapes) else None
    return moved(op, tuple(dims), joined)


def _total(dims: list[Dim]) -> Dim:
    total: Dim = 0
    for dim in dims:
        total = add(total, dim)
    return total


@rule("Split")
def _split(op: Operator) -> Sequence[Fact] | None:
    shape, count = op.shape(0), len(op.node.outputs)
    if shape is None:
        return [Fact(op.fact(0).dtype) for _ in range(count)]
    axis = axis_of(op.get("axis", 0), len(shape))
    sizes: list[Dim] | None = None
    given = op.has(1) if op.version >= 13 else op.get("split") is not None
    if given:
        sizes = dims_of(op, 1) if op.version >= 13 else list(op.get("split"))
    elif op.version >= 18:
        chunk = ceildiv(shape[axis], count)
        last = add(shape[axis], mul(chunk, 1 - count))
        sizes = [chunk] * (count - 1) + [last]
    else:
        sizes = [floordiv(shape[axis], count)] * count
    if sizes is None or len(sizes) != count:
        sizes = [op.symbols.dim() for _ in range(count)]
    value, start, facts = op.fact(0).value, 0, []
    for size in sizes:
        part = None
        if value is not None and isinstance(size, int):
            part = value[(slice(None),) * axis + (slice(start, start + size),)]
            start += size
        elif value is not None:
            value = None
        facts.append(Fact(op.fact(0).dtype, (*shape[:axis], size, *shape[axis + 1 :]), part))
    return facts


@rule("Slice")
def _slice(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    if shape is None:
        return moved(op, None)
    if op.version < 10:
        starts: list[Dim] = list(op.get("starts", ()))
        ends: list[Dim] = list(op.get("ends", ()))
        axes, steps = op.get("axes"), None
    else:
        first, last = dims_of(op, 1), dims_of(op, 2)
        axes = op.integers(3) if op.has(3) else None
        steps = op.integers(4) if op.has(4) else None
        if first is None or last is None or (op.has(3) and axes is None):
            return moved(op, op.fresh(len(shape)))
        starts, ends = first, last
        if op.has(4) and steps is None:
            steps = [0] * len(starts)
    places = [axis_of(a, len(shape)) for a in (range(len(starts)) if axes is None else axes)]
    dims, value = list(shape), op.fact(0).value
    for i, axis in enumerate(places):
        start, end, step = starts[i], ends[i], 1 if steps is None else steps[i]
        dims[axis] = op.symbols.dim() if step == 0 else _length(op, shape[axis], start, end, step)
        if (
            value is not None
            and isinstance(start, int)
            and isinstance(end, int)
            and isinstance(dims[axis], int)
            and step
        ):
            size = value.shape[axis]
            begin, stop = _position(start, size, step, True), _position(end, size, step, False)
            value = value.take([*range(int(begin), int(stop), step)], axis=axis)  # type: ignore[arg-type]
        else:
            value = None
    return moved(op, tuple(dims), value)


def _position(index: Dim, size: Dim, step: int, begin: bool) -> Dim:
    """An index of Slice as a position: counted from the end where negative, then cut to what is there.

    Raises:
        Undecided: Its sign is not known, or it means different things: a backward slice that begins before the first
            element (nothing in numpy and the ONNX reference, the first element in onnxruntime) or ends at INT_MAX
            (nothing; all up to the front).
    """
    low, high = (0, size) if step > 0 else (-1, add(size, -1))
    if isinstance(index, int) and index >= LARGEST:
        if step < 0 and not begin:
            raise Undecided("end")
        return high
    if isinstance(index, int) and index <= -LARGEST and not (begin and step < 0):
        return low
    if upper(index) < 0:
        index = add(index, size)
        if begin and step < 0 and lower(index) < -1:
            raise Undecided("start")
    elif lower(index) < 0:
        raise Undecided("index")
    return maximum(minimum(index, high), low)


def _length(op: Operator, size: Dim, start: Dim, end: Dim, step: int) -> Dim:
    try:
        first, stop = _position(start, size, step, True), _position(end, size, step, False)
    except Undecided:
        return op.symbols.dim()
    span = add(stop, mul(first, -1)) if step > 0 else add(first, mul(stop, -1))
    return maximum(ceildiv(span, abs(step)), 0)


@rule("Gather")
def _gather(op: Operator) -> Sequence[Fact] | None:
    shape, indices = op.shape(0), op.shape(1)
    if shape is None or indices is None:
        return moved(op, None)
    axis = axis_of(op.get("axis", 0), len(shape))
    value, picks = op.fact(0).value, op.fact(1).value
    picked = None
    if value is not None and picks is not None and all(isinstance(i, int) for i in picks.flat):
        picked = np.asarray(np.take(value, picks.astype(np.int64), axis=axis), dtype=object)
    return moved(op, (*shape[:axis], *indices, *shape[axis + 1 :]), picked)


@rule("Expand")
def _expand(op: Operator) -> Sequence[Fact] | None:
    shape, dims = op.shape(0), dims_of(op, 1)
    if shape is None or dims is None:
        return moved(op, None)
    target = tuple(as_dim(op, dim) for dim in dims)
    grown = broadcast_shapes([shape, target])
    sizes = [dim for dim in grown if isinstance(dim, int)]
    value = op.fact(0).value
    if value is not None and len(sizes) == len(grown) and int(np.prod(sizes, dtype=object)) <= MAX_ELEMENTS:
        return moved(op, grown, np.broadcast_to(value, sizes))
    return moved(op, grown)


@rule("Tile")
def _tile(op: Operator) -> Sequence[Fact] | None:
    if op.version < 6:
        return None
    shape, repeats = op.shape(0), dims_of(op, 1)
    if shape is None or repeats is None:
        return moved(op, None if shape is None else op.fresh(len(shape)))
    dims = tuple(mul(dim, times) for dim, times in zip(shape, repeats, strict=True))
    sizes = [dim for dim in dims if isinstance(dim, int)]
    value = op.fact(0).value
    if value is not None and len(sizes) == len(dims) and int(np.prod(sizes, dtype=object)) <= MAX_ELEMENTS:
        return moved(op, dims, np.tile(value, [times for times in repeats if isinstance(times, int)]))
    return moved(op, dims)


@rule("Pad")
def _pad(op: Operator) -> Sequence[Fact] | None:
    shape = op.shape(0)
    if shape is None or op.version < 2:
        return moved(op, None) if shape is None else None
    pads = list(op.get("pads")) if op.version < 11 else dims_of(op, 1)
    axes = op.parameter("axes", 3, 18) if op.version >= 18 else None
    places = list(range(len(shape))) if axes is None else [axis_of(a, len(shape)) for a in axes]
    if pads is None or len(pads) != 2 * len(places):
        return moved(op, op.fresh(len(shape)))
    dims = list(shape)
    for i, axis in enumerate(places):
        dims[axis] = add(dims[axis], add(pads[i], pads[i + len(places)]))
    return moved(op, tuple(dims))


@rule("DepthToSpace", "SpaceToDepth")
def _depth_space(op: Operator) -> Sequence[Fact] | None:
    shape, block = op.shape(0), op.get("blocksize")
    if shape is None or len(shape) != 4:
        return moved(op, op.fresh(4))
    n, c, h, w = shape
    if op.node.op_type == "DepthToSpace":
        return moved(op, (n, floordiv(c, block * block), mul(h, block), mul(w, block)))
    return moved(op, (n, mul(c, block * block), floordiv(h, block), floordiv(w, block)))
