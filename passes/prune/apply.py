"""Taking channels out of a model: weights are sliced, and every number that told a size tells the new one.

What a Shape operator computed of the old sizes stays as it was, and each operator that reads sizes is told the new ones
itself: arithmetic on shapes (a square root of a head's size, a number of rows) then means what it meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.channels import Channels
from onnxslim.analysis.dims import Expr
from onnxslim.graph.edit import Names, add_initializer, constant_tensor, set_constant
from onnxslim.ops.channels import UPDATES, Kept, Op

Removal = Mapping[str, Sequence[int]]
"""Key of a group -> the places of its atoms that go."""


def kept_ids(channels: Channels, removal: Removal) -> npt.NDArray[np.bool_]:
    """``bool[ids]``: what stays.

    Raises:
        ValueError: A group is unknown, loses all that it has, or an atom is out of range.
    """
    groups = {group.key: group for group in channels.groups}
    gone = np.zeros(channels.links.count, bool)
    for key, atoms in removal.items():
        if key not in groups:
            raise ValueError(f"there is no group {key!r}")
        group, places = groups[key], np.unique(np.asarray(atoms, np.int64))
        if len(places) >= len(group) or (len(places) and not 0 <= places[0] <= places[-1] < len(group)):
            raise ValueError(f"{len(places)} of the {len(group)} channels of {key} cannot go")
        gone[channels.labels[group.ids[places]]] = True
    return ~gone[channels.labels]


def remove_channels(model: ir.Model, channels: Channels, removal: Removal) -> None:
    """Removes channels from the model that ``channels`` were found in, in place; they are stale then.

    Raises:
        ValueError: See `kept_ids`.
    """
    keep = kept_ids(channels, removal)
    links, kept = channels.links, Kept(channels.links, keep, model)
    changed: dict[ir.Value, list[int]] = {}
    for value, axis in links.axes:
        if kept.changed(value, axis):
            changed.setdefault(value, []).append(axis)
    version = model.graph.opset_imports.get("", model.graph.opset_imports.get("ai.onnx", 1))
    touched = dict.fromkeys(node for value in changed for node in _around(value))
    for node in touched:
        if node.op_type in UPDATES and node.domain in ("", "ai.onnx"):
            UPDATES[node.op_type](Op(node, version, links), kept)
    for node in touched:  # last: what is known of sizes is known of the values that are read now
        if node.op_type == "Shape" and node.domain in ("", "ai.onnx"):
            freeze(node, channels, kept)
    for value, axes in changed.items():
        if constant_tensor(value) is not None:
            slice_constant(value, {axis: kept.mask_of(_ids(channels, value, axis)) for axis in axes})
        elif value.is_graph_input() and value.graph is model.graph:
            _read_less(value, axes, kept)
        elif value.shape is not None and len(value.shape) == channels.facts.rank(value):
            dims = list(value.shape)
            for axis in axes:
                dims[axis] = kept.size(value, axis) or 0
            value.shape = ir.Shape(dims)


def _read_less(value: ir.Value, axes: Sequence[int], kept: Kept) -> None:
    """An input of the model stays as it is: what is left of it is gathered once."""
    uses, read = list(value.uses()), value
    assert value.graph is not None
    first = next(iter(value.graph))
    for axis in axes:
        mask = kept.mask(value, axis)
        assert mask is not None
        places = kept.constant(f"{value.name}_places", np.flatnonzero(mask))
        made = ir.node("Gather", [read, places], {"axis": axis})
        made.name = made.outputs[0].name = kept.names.fresh(f"{value.name}_kept")
        first.prepend(made)
        read = made.outputs[0]
    for use in uses:
        use.node.replace_input_with(use.idx, read)


def slice_constant(value: ir.Value, masks: Mapping[int, npt.NDArray[np.bool_]]) -> None:
    """Keeps of a constant what the masks, by axis, are true for."""
    tensor = constant_tensor(value)
    assert tensor is not None
    array = tensor.numpy()
    for axis, mask in masks.items():
        array = np.compress(mask, array, axis=axis)
    set_constant(value, np.ascontiguousarray(array))


def constants_of(model: ir.Model) -> dict[str, ir.Value]:
    """Name -> constant, of the main graph and the bodies below it."""
    found = {}
    for graph in model.graphs():
        for value in (*graph.initializers.values(), *(value for node in graph for value in node.outputs)):
            if constant_tensor(value) is not None:
                found[value.name or ""] = value
    return found


def _ids(channels: Channels, value: ir.Value, axis: int) -> npt.NDArray[np.int64]:
    ids = channels.links.axis(value, axis)
    assert ids is not None
    return ids


def _around(value: ir.Value) -> Iterable[ir.Node]:
    producer = value.producer()
    if producer is not None:
        yield producer
    yield from (use.node for use in value.uses())


def freeze(node: ir.Node, channels: Channels, kept: Kept) -> None:
    """Lets a Shape tell the sizes of before."""
    value, out = node.inputs[0], node.outputs[0]
    new, told = kept.new_sizes(value), channels.facts.shape(value) if value is not None else None
    if not new or value is None or told is None:
        return
    rank = len(told)
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", rank)
    start, end = (min(max(each + rank if each < 0 else each, 0), rank) for each in (start, end))
    fixed = {axis - start: told[axis] for axis in new if start <= axis < end}
    if not fixed:
        return
    count = end - start
    uses = list(out.uses())
    if not any(isinstance(told[start + i], Expr) for i in range(count)):
        numbers = [fixed.get(i, told[start + i]) for i in range(count)]
        replaced = kept.constant(f"{out.name}_before", np.array(numbers, np.int64))
    else:
        gone = [fixed[i] - new[start + i] if i in fixed else 0 for i in range(count)]
        made = ir.node("Add", [out, kept.constant(f"{out.name}_gone", np.array(gone, np.int64))])
        made.name = made.outputs[0].name = kept.names.fresh(f"{out.name}_before")
        node.append(made)
        replaced = made.outputs[0]
    for use in uses:
        use.node.replace_input_with(use.idx, replaced)


# -- the oracle --------------------------------------------------------------------------------------------------------


def silence_channels(model: ir.Model, channels: Channels, removal: Removal) -> None:
    """Keeps the channels but lets nothing read them: the model computes what it will once they are removed.

    Where a contraction sums over a channel that goes, its weight is set to zero, or its input is multiplied by zero.
    It shares with `remove_channels` what belongs together, but nothing of how it is taken out.
    """
    keep, names = kept_ids(channels, removal), Names.of(model)
    for contraction in (*channels.contractions, *channels.links.grouped):
        node, axis = contraction.node, contraction.weight_axis
        value = node.inputs[contraction.weight]
        ids = None if value is None else channels.links.axis(value, axis)
        if value is None or ids is None or keep[ids].all():
            continue
        view = [1] * (channels.facts.rank(value) or 0)
        view[axis] = len(ids)
        dtype = channels.facts.dtype(value) or ir.DataType.FLOAT
        mask = keep[ids].reshape(view).astype(dtype.numpy())
        product = ir.node("Mul", [value, add_initializer(model.graph, names.fresh("silence"), mask)])
        product.name = product.outputs[0].name = names.fresh(f"{value.name}_silenced")
        node.prepend(product)
        node.replace_input_with(contraction.weight, product.outputs[0])
