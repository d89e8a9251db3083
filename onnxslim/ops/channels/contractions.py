"""Operators that sum products over an axis: Conv, ConvTranspose, Gemm, MatMul, Einsum."""

from __future__ import annotations

import numpy as np

from onnxslim.ops.channels.kept import Kept, update
from onnxslim.ops.channels.links import LinkOption, SummedAxis
from onnxslim.ops.channels.operator import OUT, Op, links, merge
from onnxslim.ops.contraction import gemm_axes


@links("Conv", "ConvTranspose")
def _conv(op: Op) -> None:
    shape, weight, group = op.shape(0), op.shape(1), op.integer("group", 1)
    if shape is None or weight is None or not all(isinstance(each, int) for each in (shape[1], *weight[:2])):
        op.pin_all("its shapes are not known")
        return
    turned = op.node.op_type == "ConvTranspose"  # axis 0 of the weights are the inputs, axis 1 the outputs of a group
    outputs = group * weight[1] if turned else weight[0]
    op.link(0, 0, OUT, 0)
    op.link(1, 1 if turned and group == 1 else 0, 0 if turned and group > 1 else OUT, 1)
    if op.value(2) is not None:
        op.link(2, 0, OUT, 1)
    if group == 1:
        op.contract(0, 1, 1, 0 if turned else 1)
    elif group == shape[1]:
        _depthwise(op, group, outputs)
    else:
        sides = (0, shape[1]), (OUT, outputs)
        _grouped(op, group, sides[turned], sides[not turned], inner=1)


def _depthwise(op: Op, group: int, channels: int) -> None:
    """Each input channel has its own outputs: all of them go with it."""
    x, y = op.ids(0, 1), op.ids(OUT, 1)
    op.pin(1, 1, "as many outputs for each channel")
    if x is None or y is None or len(x) != group or len(y) != channels:
        op.pin_ids(x, "its channels are not known")
        op.pin_ids(y, "its channels are not known")
        return
    op.links.unite(y, np.repeat(x, channels // group))


def _grouped(op: Op, group: int, contracted: tuple[int, int], free: tuple[int, int], inner: int) -> None:
    """Either whole groups go, or the same places of every group.

    Args:
        op: The node.
        group: Number of groups.
        contracted: Slot and channels of the side whose places within a group are an axis of the weights of their own.
        free: Slot and channels of the side whose channels are axis 0 of the weights.
        inner: That axis of the weights.
    """
    (slot, size), (other, other_size) = contracted, free
    x, y, w = op.ids(slot, 1), op.ids(other, 1), op.ids(1, inner)
    if x is None or y is None or len(x) != size or len(y) != other_size or size % group or other_size % group:
        for ids in (x, y, w):
            op.pin_ids(ids, "its channels are not known")
        return
    whole = LinkOption(
        ((x, np.repeat(x[:: size // group], size // group)), (y, np.repeat(x[:: size // group], other_size // group))),
        () if w is None else (w,),
        x,
        group,
    )
    within_y = (y, np.tile(y[: other_size // group], group))
    within = LinkOption((within_y,) if w is None else ((x, np.tile(w, group)), within_y), (), x, size // group)
    if w is None:  # one place a group: within it only the other side can go
        within = LinkOption((within_y,), (x,), y, other_size // group)
    op.choose((whole, within), (x, y, w), "the groups of a convolution must stay equal")
    op.links.grouped.append(SummedAxis(op.node, 0, 1, 1, 1 if slot == 0 else 0))


@update("Conv", "ConvTranspose")
def _update_group(op: Op, kept: Kept) -> None:
    group, mask = op.integer("group", 1), kept.mask(op.value(0), 1)
    if group == 1 or mask is None or mask.all():
        return
    # Whole groups, or places within all of them: as many stay in each group that does.
    stay = mask.reshape(group, -1).sum(axis=1)
    kept.set_attribute(op.node, "group", int((stay > 0).sum()))


@links("Gemm")
def _gemm(op: Op) -> None:
    (rows, summed), (over, columns) = gemm_axes(op.integer)
    op.link(0, rows, OUT, 0)
    op.link(1, columns, OUT, 1)
    op.contract(0, summed, 1, over)
    if op.value(2) is not None:
        merge(op, [2])


@links("MatMul")
def _matmul(op: Op) -> None:
    left, right, out = op.rank(0), op.rank(1), op.rank(OUT)
    if left is None or right is None or out is None or not left or not right:
        op.pin_all("its shapes are not known")
        return
    op.contract(0, left - 1, 1, max(right - 2, 0))
    if left > 1:
        op.link(0, left - 2, OUT, out - 1 - (right > 1))
    if right > 1:
        op.link(1, right - 1, OUT, out - 1)
    # Batch axes broadcast as those of an elementwise operator; they end `tail` before the end of the output.
    tail = (left > 1) + (right > 1)
    for back in range(1, max(left, right) - 1):
        axis = out - tail - back
        places = [(slot, rank - 2 - back) for slot, rank in ((0, left), (1, right)) if rank - 2 - back >= 0]
        both = [(slot, each) for slot, each in places if (op.shape(slot) or [1])[each] != 1]
        for slot, each in both:
            op.link(slot, each, OUT, axis)
        ids = op.ids(OUT, axis)
        if len(both) == 2 and ids is not None:
            op.links.batched.append(ids)


@links("Einsum")
def _einsum(op: Op) -> None:
    equation = op.text("equation", "").replace(" ", "")
    terms, arrow, result = equation.partition("->")
    names = terms.split(",")
    if not arrow or "." in equation or any(len(set(name)) < len(name) for name in (*names, result)):
        op.pin_all("only einsums with explicit and different letters are followed")
        return
    first: dict[str, tuple[int, int]] = {}
    for slot, name in (*enumerate(names), (OUT, result)):
        for axis, letter in enumerate(name):
            if letter in first:
                op.link(slot, axis, *first[letter])
            else:
                op.ids(slot, axis)
                first[letter] = (slot, axis)
    if len(names) != 2:
        for letter in set("".join(names)) - set(result):
            op.pin(*first[letter], "a sum over more or fewer than two tensors")
        return
    left, right = names
    for letter in left:
        if letter in right and letter not in result:
            op.contract(0, left.index(letter), 1, right.index(letter))
        elif letter in right:
            ids = op.ids(0, left.index(letter))
            if ids is not None:
                op.links.batched.append(ids)
    for letter in (set(left) ^ set(right)) - set(result):
        op.pin(*first[letter], "a sum over one tensor")
