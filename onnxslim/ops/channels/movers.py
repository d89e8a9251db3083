"""Operators that move entries: arrays of ids are moved as the data is.

Long because each operator has two rules here: what it links, and what it must be told.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.channels.kept import Kept, update
from onnxslim.ops.channels.operator import OUT, Op, links, parameters

BEFORE_ALL = -(2**62)
"""An end of a Slice that goes backwards up to the first entry."""

# -- whole axes --------------------------------------------------------------------------------------------------------


@links("Transpose")
def _transpose(op: Op) -> None:
    rank = op.rank(0)
    if rank is None:
        return
    perm = op.node.attributes.get_ints("perm", tuple(range(rank))[::-1])
    for axis, source in enumerate(perm):
        op.link(0, source, OUT, axis)


@links("Constant", "Shape")
def _free(op: Op) -> None:
    """Nothing is linked: entries may go, and a Shape goes on telling the old sizes (see `passes.prune.apply`)."""
    out = op.value(OUT)
    if op.node.op_type == "Shape" and out is not None and out.is_graph_output():
        op.pin_all("its size is an output")
        return
    for slot in op.slots():
        if op.node.op_type == "Constant" or slot >= 0:
            for axis in range(op.rank(slot) or 0):
                op.ids(slot, axis)


@links("Concat")
def _concat(op: Op) -> None:
    rank, slots = op.rank(OUT), list(op.slots())
    if rank is None:
        return
    along = op.integer("axis", 0) % rank
    for axis in range(rank):
        if axis != along:
            for slot in slots:
                if slot >= 0:
                    op.link(slot, axis, OUT, axis)
    out, start = op.ids(OUT, along), 0
    for slot in (slot for slot in slots if slot >= 0):
        ids, size = op.ids(slot, along), (op.shape(slot) or [None] * rank)[along]
        if out is None or not isinstance(size, int):
            op.pin_ids(ids, "it is joined with something of unknown size")
            start = -1 if not isinstance(size, int) or start < 0 else start + size
            continue
        part = out[start : start + size]
        if ids is None:
            op.pin_ids(part, "a part of one entry")
        else:
            op.links.unite(ids, part)
        start += size


@links("Split")
def _split(op: Op) -> None:
    rank = op.rank(0)
    if rank is None:
        return
    along, ids, start = op.integer("axis", 0) % rank, None, 0
    ids = op.ids(0, along)
    for slot in (slot for slot in op.slots() if slot < 0):
        for axis in range(rank):
            if axis != along:
                op.link(0, axis, slot, axis)
    for slot in (-1 - i for i in range(len(op.node.outputs))):
        size = (op.shape(slot) or [None] * rank)[along]
        own = op.ids(slot, along)
        if ids is None or not isinstance(size, int) or start < 0:
            op.pin_ids(ids, "its parts are not known")
            op.pin_ids(own, "its parts are not known")
            start = -1
            continue
        if own is None:
            op.pin_ids(ids[start : start + size], "a part of one entry")
        else:
            op.links.unite(ids[start : start + size], own)
        start += size


@update("Split")
def _update_split(op: Op, kept: Kept) -> None:
    rank = op.rank(0) or 1
    along = op.integer("axis", 0) % rank
    if not kept.changed(op.value(0), along):
        return
    sizes = [kept.size(value, along) or 0 for value in op.node.outputs]
    if op.version < 13:
        kept.set_attribute(op.node, "split", sizes)
    else:
        op.node.attributes.pop("num_outputs", None)
        kept.set_input(op.node, 1, np.array(sizes, np.int64))


@links("Expand")
def _expand(op: Op) -> None:
    rank, own, shape = op.rank(OUT), op.rank(0), op.shape(0)
    if rank is None or own is None or shape is None:
        return
    parameters(op, 1)
    for axis in range(rank):
        mine = axis - rank + own
        if mine >= 0 and shape[mine] != 1:
            op.link(0, mine, OUT, axis)
        else:
            op.ids(OUT, axis)
            if mine >= 0:
                op.ids(0, mine)


@links("ConstantOfShape")
def _constant_of_shape(op: Op) -> None:
    parameters(op, 0)
    for axis in range(op.rank(OUT) or 0):
        op.ids(OUT, axis)


@update("Expand", "ConstantOfShape")
def _update_shape(op: Op, kept: Kept) -> None:
    slot = 1 if op.node.op_type == "Expand" else 0
    count = (op.shape(slot) or [0])[0]
    shift = (op.rank(OUT) or 0) - count
    elements = op.elements(slot) or [None] * count
    new = {axis - shift: size for axis, size in kept.new_sizes(op.value(OUT)).items() if axis >= shift}
    kept.set_entries(op, slot, {i: size for i, size in new.items() if elements[i] != 1})


@links("Resize", "Upsample")
def _resize(op: Op) -> None:
    rank, before, after = op.rank(0), op.shape(0), op.shape(OUT)
    if rank is None or before is None or after is None or op.version < 9:
        return
    whole = op.text("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize"
    scales = constant_tensor(op.value(1 if op.version < 11 else 2))
    numbers = [] if scales is None else scales.numpy().tolist()
    resampled = {axis for axis, number in zip(_resized(op, rank), numbers, strict=False) if number != 1}
    for axis in range(min(2, rank)):
        # Batch and channels are not resampled: what is resampled needs its neighbours.
        if whole and before[axis] == after[axis] and axis not in resampled:
            op.link(0, axis, OUT, axis)
    for slot in (1, 2, 3):
        parameters(op, slot)


def _resized(op: Op, rank: int) -> list[int]:
    """The axis of each scale or size."""
    return [axis % rank for axis in op.node.attributes.get_ints("axes", tuple(range(rank)))]


@update("Resize")
def _update_resize(op: Op, kept: Kept) -> None:
    if op.value(3) is not None:
        new = kept.new_sizes(op.value(OUT))
        axes = _resized(op, op.rank(OUT) or 1)
        kept.set_entries(op, 3, {i: new[axis] for i, axis in enumerate(axes) if axis in new})


# -- parts of axes -----------------------------------------------------------------------------------------------------


@links("Slice")
def _slice(op: Op) -> None:
    rank, before, after = op.rank(0), op.shape(0), op.shape(OUT)
    if rank is None or before is None or after is None:
        return
    sliced = _slices(op)
    for axis in range(rank):
        if sliced is not None and axis not in sliced:
            op.link(0, axis, OUT, axis)
        elif sliced is None or not isinstance(before[axis], int):
            op.pin(0, axis, "its slice is not known")
            op.pin(OUT, axis, "its slice is not known")
        else:
            picked(op, axis, axis, np.arange(before[axis])[sliced[axis]])


def _slices(op: Op) -> dict[int, slice] | None:
    """Axis -> what is taken of it; None where that is not known."""
    starts, ends = op.parameter("starts", 1, 10), op.parameter("ends", 2, 10)
    axes = op.parameter("axes", 3, 10)
    steps = op.integers(4) if op.version >= 10 and op.value(4) is not None else None
    rank = op.rank(0) or 0
    unknown = op.version >= 10 and (
        (op.value(3) is not None and axes is None) or (op.value(4) is not None and not steps)
    )
    if starts is None or ends is None or unknown:
        return None
    result = {}
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        step = steps[i] if steps else 1
        end: int | None = ends[i]
        result[axis % rank] = slice(starts[i], None if step < 0 and ends[i] < -(2**31) + 2 else end, step)
    return result


def picked(op: Op, axis: int, out: int, places: np.ndarray) -> None:
    """Entries of an axis at ``places`` are the axis of the output."""
    ids, own = op.ids(0, axis), op.ids(OUT, out)
    if ids is None:
        op.pin_ids(own, "its size is not known")
    elif own is None or len(own) != len(places):
        op.pin_ids(ids[places], "a part of one entry")
        op.pin_ids(own, "its size is not known")
    else:
        op.links.unite(ids[places], own)


@update("Slice")
def _update_slice(op: Op, kept: Kept) -> None:
    sliced, data = _slices(op) or {}, op.value(0)
    if not any(kept.changed(data, axis) for axis in sliced):
        return
    axes, spans = list(sliced), []
    for axis in axes:
        taken, mask = sliced[axis], kept.mask(data, axis)
        if mask is None or mask.all():
            spans.append((taken.start, BEFORE_ALL if taken.stop is None else taken.stop, taken.step))
            continue
        places = np.arange(len(mask))[taken]
        places = (np.cumsum(mask) - 1)[places[mask[places]]]
        if len(set(np.diff(places).tolist())) > 1:
            # What is left of a slice with steps need not have even ones: a Gather takes it out before.
            indices = kept.constant(f"{op.node.outputs[0].name}_places", places)
            gather = ir.node("Gather", [op.node.inputs[0], indices], {"axis": axis})
            op.node.replace_input_with(0, kept.before(op.node, gather, f"{op.node.outputs[0].name}_taken"))
            places = np.arange(len(places))
        spans.append(_span(places))
    starts, ends, steps = ([span[i] for span in spans] for i in range(3))
    if op.version < 10:
        kept.set_attribute(op.node, "starts", starts)
        kept.set_attribute(op.node, "ends", ends)
        return
    for slot, numbers in ((1, starts), (2, ends), (3, axes), (4, steps)):
        if slot < 4 or op.value(4) is not None or any(step != 1 for step in steps):
            kept.set_input(op.node, slot, np.array(numbers, np.int64))


def _span(places: np.ndarray) -> tuple[int, int, int]:
    """Start, end and step of places that are evenly apart."""
    if not len(places):
        return 0, 0, 1
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    end = int(places[-1]) + (1 if step > 0 else -1)
    return int(places[0]), end if end >= 0 else BEFORE_ALL, step


@links("Gather")
def _gather(op: Op) -> None:
    rank, indices, inner = op.rank(0), op.integers(1), op.rank(1)
    shape = op.shape(0)
    if rank is None or inner is None or shape is None:
        return
    along = op.integer("axis", 0) % rank
    for axis in range(rank):
        if axis != along:
            op.link(0, axis, OUT, axis if axis < along else axis + inner - 1)
    if indices is None or inner > 1 or not isinstance(shape[along], int):
        op.pin(0, along, "entries are looked up by what is computed")
        for axis in range(inner):
            op.link(1, axis, OUT, along + axis)
        return
    parameters(op, 1)
    places = np.array(indices, np.int64) % max(shape[along], 1)
    if inner == 0:
        ids = op.ids(0, along)
        op.pin_ids(None if ids is None else ids[places], "it is taken out by its index")
    else:
        picked(op, along, along, places)


@update("Gather")
def _update_gather(op: Op, kept: Kept) -> None:
    rank = op.rank(0) or 1
    along, indices = op.integer("axis", 0) % rank, op.integers(1)
    mask = kept.mask(op.value(0), along)
    if mask is None or mask.all() or indices is None:
        return
    places = np.array(indices, np.int64) % len(mask)
    new = (np.cumsum(mask) - 1)[places[mask[places]]]
    kept.set_input(op.node, 1, new if op.rank(1) else new.reshape(()))


@links("Pad")
def _pad(op: Op) -> None:
    rank, shape = op.rank(0), op.shape(0)
    if rank is None or shape is None:
        return
    pads, mode = _pads(op), op.text("mode", "constant")
    for axis in range(rank):
        if pads is None or not isinstance(shape[axis], int):
            op.pin(0, axis, "its padding is not known")
            op.pin(OUT, axis, "its padding is not known")
            continue
        front, back = pads[axis], pads[axis + rank]
        if not front and not back:
            op.link(0, axis, OUT, axis)
            continue
        ids, out = op.ids(0, axis), op.ids(OUT, axis)
        if mode != "constant" or front < 0 or back < 0 or ids is None or out is None:
            op.pin_ids(ids, "it is padded")
            op.pin_ids(out, "it is padded")
        else:
            op.links.unite(ids, out[front : front + len(ids)])
    parameters(op, 1)


def _pads(op: Op) -> list[int] | None:
    """Begins, then ends, for all axes."""
    pads, rank = op.parameter("pads", 1, 11), op.rank(0) or 0
    if pads is None or op.value(3) is None or op.version < 18:
        return pads if pads is not None and len(pads) == 2 * rank else None
    axes = op.integers(3)
    if axes is None:
        return None
    full = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        full[axis % rank], full[axis % rank + rank] = pads[i], pads[i + len(axes)]
    return full


@update("Pad")
def _update_pad(op: Op, kept: Kept) -> None:
    pads, rank = _pads(op), op.rank(0) or 0
    if pads is None:
        return
    new = list(pads)
    for axis in range(rank):
        mask = kept.mask(op.value(OUT), axis)
        if mask is not None and not mask.all():  # others keep their padding, which may be a crop
            new[axis] = int(mask[: pads[axis]].sum())
            new[axis + rank] = int(mask[len(mask) - pads[axis + rank] :].sum())
    if new == pads:
        return
    if op.version < 11:
        kept.set_attribute(op.node, "pads", new)
        return
    if op.value(3) is not None:
        axes = [axis % rank for axis in op.integers(3) or ()]
        new = [new[axis] for axis in axes] + [new[axis + rank] for axis in axes]
    kept.set_input(op.node, 1, np.array(new, np.int64))


@links("Tile")
def _tile(op: Op) -> None:
    rank, shape, repeats = op.rank(0), op.shape(0), op.integers(1)
    if rank is None or shape is None or op.version < 6:
        return
    parameters(op, 1)
    for axis in range(rank):
        if repeats is None:
            op.pin(0, axis, "how often it is repeated is not known")
            op.pin(OUT, axis, "how often it is repeated is not known")
        elif repeats[axis] == 1:
            op.link(0, axis, OUT, axis)
        else:
            ids, out = op.ids(0, axis), op.ids(OUT, axis)
            if ids is None or out is None:  # copies of one entry must stay as many
                op.pin_ids(out, "copies of one entry")
                op.pin_ids(ids, "its copies are not known")
            else:
                op.links.unite(np.tile(ids, repeats[axis]), out)


@links("DepthToSpace", "SpaceToDepth")
def _depth(op: Op) -> None:
    deep, flat = (0, OUT) if op.node.op_type == "DepthToSpace" else (OUT, 0)
    block = op.integer("blocksize", 1) ** 2
    op.link(0, 0, OUT, 0)
    ids, few = op.ids(deep, 1), op.ids(flat, 1)
    if ids is None or few is None or len(ids) != block * len(few):
        op.pin_ids(ids, "its blocks are not known")
        op.pin_ids(few, "its blocks are not known")
        return
    outer = op.node.op_type == "SpaceToDepth" or op.text("mode", "DCR") == "DCR"
    op.links.unite(ids, np.tile(few, block) if outer else np.repeat(few, block))
