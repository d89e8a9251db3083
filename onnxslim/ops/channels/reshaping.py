"""Reshape and its like: a flattened axis is linked to one of its factors, found when it is known which are free."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from onnxslim.ops.channels.kept import Kept, update
from onnxslim.ops.channels.links import LinkOption, Size
from onnxslim.ops.channels.operator import OUT, Op, links, parameters, repeated


@links("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(op: Op) -> None:
    before, after = op.shape(0), op.shape(OUT)
    parameters(op, 1)
    if before is None or after is None or (op.node.op_type == "Reshape" and op.version < 5):
        op.pin_all("the shapes are not known")
        return
    for left, right in blocks(before, after):
        _block(op, left, right)


def _block(op: Op, left: Sequence[int], right: Sequence[int]) -> None:
    """Axes of the input that hold the same elements as axes of the output, none of them of size 1."""
    if len(left) == len(right) == 1:
        op.link(0, left[0], OUT, right[0])
        return
    one, slot, many, other = (left, 0, right, OUT) if len(left) == 1 else (right, OUT, left, 0)
    reason = "it is reshaped together with other axes"
    flat = op.ids(slot, one[0]) if len(one) == 1 else None
    parts = [op.ids(other, axis) for axis in many]
    shape = [(op.shape(other) or [])[axis] for axis in many]
    known = all(isinstance(size, int) for size in shape)
    if flat is None or not known or math.prod(shape) != len(flat):
        for axis in one:
            op.pin(slot, axis, reason)
        for ids in parts:
            op.pin_ids(ids, reason)
        return
    options = []
    for i, ids in enumerate(parts):
        if ids is not None:
            others = tuple(each for j, each in enumerate(parts) if j != i and each is not None)
            options.append(LinkOption(((flat, repeated(ids, shape, i)),), others, ids, len(ids)))
    op.choose(options, (flat, *parts), reason)


def blocks(before: Sequence[Size], after: Sequence[Size]) -> list[tuple[list[int], list[int]]]:
    """Splits shapes of equal products into the smallest runs of axes of equal products; axes of size 1 are left out.

    >>> blocks([2, 1, 12, 5], [2, 3, 4, 5])
    [([0], [0]), ([2], [1, 2]), ([3], [3])]
    """
    left = [i for i, size in enumerate(before) if size != 1]
    right = [i for i, size in enumerate(after) if size != 1]
    cuts = {(0, 0), (len(left), len(right))}
    cuts |= _meetings([before[i] for i in left], [after[i] for i in right])
    # From the end too: a size that is not known hides all that come after it.
    back = _meetings([before[i] for i in left[::-1]], [after[i] for i in right[::-1]])
    cuts |= {(len(left) - i, len(right) - j) for i, j in back}
    ordered: list[tuple[int, int]] = []
    for i, j in sorted(cuts):
        if not ordered or (i > ordered[-1][0] and j > ordered[-1][1]):
            ordered.append((i, j))
    if ordered[-1] != (len(left), len(right)):
        ordered[-1] = (len(left), len(right))
    pairs = itertools.pairwise(ordered)
    return [(left[a:c], right[b:d]) for (a, b), (c, d) in pairs]


def _meetings(one: list[Size], other: list[Size]) -> set[tuple[int, int]]:
    """Numbers of leading dims whose products are equal."""
    products: dict[Size, int] = {}
    for count, product in _products(one):
        products.setdefault(product, count)
    return {(products[product], count) for count, product in _products(other) if product in products}


def _products(sizes: list[Size]) -> list[tuple[int, Size]]:
    """The products of the first sizes; they end before one that grows beyond what can be written down."""
    found: list[tuple[int, Size]] = []
    product: Size = 1
    for count, size in enumerate(sizes, 1):
        try:
            product = product * size
        except ArithmeticError:
            break
        if product == 0:
            break
        found.append((count, product))
    return found


@update("Reshape")
def _update_reshape(op: Op, kept: Kept) -> None:
    elements = op.elements(1)
    new = kept.new_sizes(op.value(OUT))
    before = kept.new_sizes(op.value(0))
    if not new and not before:
        return
    for axis, element in enumerate(elements or ()):
        size = kept.size(op.value(OUT), axis)
        if not isinstance(element, int):
            continue
        if element == 0 and size is not None and kept.size(op.value(0), axis) != size:
            new[axis] = size  # it copied an axis that it does not go with
        elif element in (0, -1):
            new.pop(axis, None)
    kept.set_entries(op, 1, new)


@update("Squeeze")
def _update_squeeze(op: Op, kept: Kept) -> None:
    """Without axes all of size 1 go: a single channel that is left must not."""
    before, slot = op.shape(0) or (), op.value(1) if op.version >= 13 else None
    if slot is not None or "axes" in op.node.attributes or 1 not in kept.new_sizes(op.value(0)).values():
        return
    axes = [axis for axis, size in enumerate(before) if size == 1]
    if op.version < 13:
        kept.set_attribute(op.node, "axes", axes)
    else:
        kept.set_input(op.node, 1, np.array(axes, np.int64))
