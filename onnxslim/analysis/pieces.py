"""Shape rules of operators that cut, pick, join and repeat: they carry the numbers of small tensors along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from onnxslim.analysis.dims import Dim, add, ceildiv, floordiv, lower, maximum, minimum, mul, upper
from onnxslim.analysis.facts import Fact
from onnxslim.analysis.operator import (
    MAX_ELEMENTS,
    Operator,
    Rule,
    Undecided,
    as_dim,
    axis_of,
    broadcast_shapes,
    dims_of,
    moved,
    registering,
)

PIECE_RULES: Final[dict[str, Rule]] = {}
rule = registering(PIECE_RULES)
LARGEST: Final = 2**31 - 1


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
