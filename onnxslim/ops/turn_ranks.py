"""How operators that remove or add axes, or pick along one, work on data in another order of axes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.ops.permutations import without
from onnxslim.ops.reductions import AXES_ARE_INPUT_SINCE
from onnxslim.ops.turning import Fixed, PermutedNode, Turn, changed, rule, small


def _axes(op: PermutedNode, since: int) -> list[int] | None:
    """The axes, from the front; None where none are given."""
    given = op.integers(1) if op.version >= since and op.has(1) else None
    given = op.list("axes") if op.version < since else given
    if given is None:
        return None
    axes = [op.perm[op.moved(axis)] for axis in given]
    if len(set(axes)) != len(axes):
        raise Fixed("an axis stands there twice")
    return axes


def _give_axes(op: PermutedNode, made: Turn, axes: Sequence[int], since: int) -> None:
    """Gives an operator the axes where they have gone: as an input from opset ``since`` on, else as an attribute."""
    new = sorted(op.moved(axis) for axis in axes)
    if op.version >= since:
        made.constants[1] = small(new)
    else:
        made.attributes["axes"] = ir.AttrInt64s("axes", new)


@rule(*AXES_ARE_INPUT_SINCE)
def _reduce(op: PermutedNode) -> Turn:
    since, rank = AXES_ARE_INPUT_SINCE[op.node.op_type], len(op.perm)
    axes, keeps = _axes(op, since), op.number("keepdims", 1)
    if not axes:
        if op.number("noop_with_empty_axes", 0):
            return op.same()
        return Turn({0: op.perm}, {0: op.perm} if keeps else {})
    made = Turn({0: op.perm}, {0: op.perm} if keeps else changed(without(op.perm, axes)))
    _give_axes(op, made, axes, since)
    last = set(range(rank - len(axes), rank))
    made.passes = (int(set(axes) != last), int({op.moved(axis) for axis in axes} != last))
    return made


@rule("ArgMax", "ArgMin")
def _arg(op: PermutedNode) -> Turn:
    axis = op.number("axis", 0)
    keeps = op.number("keepdims", 1)
    outputs = {0: op.perm} if keeps else changed(without(op.perm, [axis % len(op.perm)]))
    return Turn({0: op.perm}, outputs, {"axis": ir.AttrInt64("axis", op.moved(axis))})


@rule("Gather")
def _gather(op: PermutedNode) -> Turn:
    axis, rank = op.number("axis", 0), op.rank(op.value(1))
    if rank > 1 or op.rank(op.value(0)) != len(op.perm):
        raise Fixed("its indices are more than a list")
    outputs = {0: op.perm} if rank else changed(without(op.perm, [axis % len(op.perm)]))
    return Turn({0: op.perm}, outputs, {"axis": ir.AttrInt64("axis", op.moved(axis))})


@rule("Squeeze")
def _squeeze(op: PermutedNode) -> Turn:
    axes = _axes(op, 13)
    if axes is None:
        shape = op.known.shape(op.value(0))
        if shape is None or not all(isinstance(dim, int) for dim in shape):
            raise Fixed("which dims it removes is not known")
        axes = [axis for axis, dim in enumerate(shape) if dim == 1]
    made = Turn({0: op.perm}, changed(without(op.perm, axes)))
    _give_axes(op, made, axes, 13)
    return made


@rule("Unsqueeze")
def _unsqueeze(op: PermutedNode) -> Turn:
    axes = _axes(op, 13)
    if axes is None or op.rank(op.value(0)) + len(axes) != len(op.perm):
        raise Fixed("its axes are not known")
    made = Turn(changed(without(op.perm, axes)), {0: op.perm})
    _give_axes(op, made, axes, 13)
    return made
