"""What operators that pick or place elements demand of indices, axes and lengths."""

from __future__ import annotations

import math

from onnxslim.analysis.facts import Shape
from onnxslim.analysis.operator import Operator, differ


def _outside(indices: list[int] | None, size: object) -> str:
    wrong = [each for each in indices or () if isinstance(size, int) and not -size <= each < size]
    return f"the index {wrong[0]} is none of {size} entries" if wrong else ""


def gather_elements(op: Operator) -> str:
    """GatherElements and ScatterElements: indices of the data's rank, within it, and updates of their shape."""
    data, indices, axis = op.shape(0), op.shape(1), op.get("axis", 0)
    if data is None or indices is None:
        return ""
    if len(data) != len(indices):
        return f"data of {len(data)} dims and indices of {len(indices)}"
    if not -len(data) <= axis < len(data):
        return f"axis {axis} of {len(data)} dims"
    for at, (have, want) in enumerate(zip(data, indices, strict=True)):
        if at != axis % len(data) and isinstance(have, int) and isinstance(want, int) and want > have:
            return f"the indices have {want} entries in axis {at}, the data has {have}"
    updates = op.shape(2)
    if updates is not None and (len(updates) != len(indices) or any(map(differ, updates, indices))):
        return f"the updates have the dims {_dims(updates)}, the indices {_dims(indices)}"
    return _outside(op.integers(1), data[axis])


def gather_nd(op: Operator) -> str:
    """GatherND: each row of the indices is a place in the data."""
    batch = op.get("batch_dims", 0)
    return _rows(op, batch if isinstance(batch, int) and batch >= 0 else 0)


def scatter_nd(op: Operator) -> str:
    """ScatterND: as GatherND, and the updates are what one would gather."""
    wrong = _rows(op, 0)
    data, indices, updates = op.shape(0), op.shape(1), op.shape(2)
    if wrong or data is None or indices is None or updates is None or not indices or not isinstance(indices[-1], int):
        return wrong
    wanted = (*indices[:-1], *data[indices[-1] :])
    if len(wanted) != len(updates) or any(map(differ, wanted, updates)):
        return f"the updates have the dims {_dims(updates)}, and must have {_dims(wanted)}"
    return ""


def _rows(op: Operator, batch: int) -> str:
    data, indices, known = op.shape(0), op.shape(1), op.integers(1)
    if data is None or indices is None or not indices or not isinstance(indices[-1], int):
        return ""
    depth = indices[-1]
    if depth + batch > len(data):
        return f"the indices name {depth} of {len(data) - batch} axes"
    for at in range(depth if known else 0):
        wrong = _outside((known or [])[at::depth], data[batch + at])
        if wrong:
            return wrong
    return ""


def slices(op: Operator) -> str:
    """Slice: starts, ends, axes and steps of one length, each axis once."""
    if op.version < 10:
        starts, ends, axes, steps = op.get("starts"), op.get("ends"), op.get("axes"), None
    else:
        starts, ends, axes, steps = (op.integers(i) for i in (1, 2, 3, 4))
    if 0 in (steps or ()):
        return "a step is 0"
    lengths = {len(each) for each in (starts, ends, axes, steps) if each is not None}
    if op.version >= 10:
        lengths.update(size[0] for i in (1, 2, 3, 4) if (size := op.shape(i)) and isinstance(size[0], int))
    if len(lengths) > 1:
        return f"starts, ends, axes and steps have {' and '.join(map(str, sorted(lengths)))} entries"
    shape = op.shape(0)
    if shape is None or not lengths:
        return ""
    rank = len(shape)
    if axes is None and max(lengths) > rank and (op.version < 10 or not op.has(3)):
        return f"{max(lengths)} axes are cut of {rank} dims"
    outside = [axis for axis in axes or () if not -rank <= axis < rank]
    if outside:
        return f"axis {outside[0]} of {rank} dims"
    twice = len({axis % rank for axis in axes or ()}) < len(axes or ())
    return f"an axis stands twice in {list(axes or ())}" if twice else ""


def cum_sum(op: Operator) -> str:
    """CumSum: an axis of the data."""
    shape, axis = op.shape(0), op.integers(1)
    outside = shape is not None and axis and not -len(shape) <= axis[0] < len(shape)
    return f"axis {axis[0]} of {len(shape or ())} dims" if outside and axis else ""


def steps(op: Operator) -> str:
    """Range: its step is not 0."""
    return "the step is 0" if op.elements(2) == [0] else ""


def reverse_sequence(op: Operator) -> str:
    """ReverseSequence: an axis of batches, and another of time."""
    batch, time = op.get("batch_axis", 1), op.get("time_axis", 0)
    return f"batch_axis and time_axis are both {batch}" if batch == time else ""


def fill(op: Operator) -> str:
    """ConstantOfShape: one value."""
    value = op.attribute("value")
    size = 1 if value is None else math.prod(value.as_tensor().shape.numpy())
    return f"the value has {size} elements, and must have 1" if size != 1 else ""


def _dims(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"
