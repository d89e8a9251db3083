"""Which nodes give back an input as it is, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor


class Known(Protocol):
    """What inference knows of values; see ``onnxslim.analysis.ShapeFacts``. None is unknown."""

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """Element type."""

    def rank(self, value: ir.Value) -> int | None:
        """Number of dimensions."""

    def shape(self, value: ir.Value) -> tuple[Any, ...] | None:
        """Dimensions: numbers, or expressions that are equal only where they are equal in every run."""


Answer = int | str | None
"""The input that the node gives back; or why it does not quite; or None where the question does not arise."""


def forwarded_input(node: ir.Node, opset: int, known: Known) -> Answer:
    """Which input the node's first output always equals in shape, dtype and every bit.

    Args:
        node: A node whose other outputs, if any, are not used.
        opset: Version of the standard domain.
        known: Facts of the values; declared shapes are not to be trusted.

    Returns:
        The index of the input; or a reason, where the node only nearly does nothing; or None.
    """
    if node.domain != "" or not node.inputs or node.inputs[0] is None:
        return None
    rule = _RULES.get(node.op_type)
    return None if rule is None else rule(node, opset, known)


def same_shape(a: ir.Value, b: ir.Value, known: Known) -> bool:
    """Whether both have the same shape in every run."""
    left, right = known.shape(a), known.shape(b)
    return (
        left is not None
        and right is not None
        and len(left) == len(right)
        and all(x == y for x, y in zip(left, right, strict=True))
    )


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def _constant(node: ir.Node, index: int) -> np.ndarray[Any, Any] | None:
    tensor = constant_tensor(node.inputs[index]) if len(node.inputs) > index else None
    return None if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.numpy()


def _ints(node: ir.Node, name: str, index: int) -> list[int] | None:
    """A list that newer opsets take as a constant input and older ones as an attribute."""
    if name in node.attributes:
        attribute = node.attributes[name]
        return None if attribute.is_ref() else [int(x) for x in attribute.as_ints()]
    given = _constant(node, index)
    return None if given is None else [int(x) for x in given.reshape(-1)]


def _always(node: ir.Node, opset: int, known: Known) -> Answer:
    return 0


def _only_input(node: ir.Node, opset: int, known: Known) -> Answer:
    return 0 if len(node.inputs) == 1 else None


def _only_output(node: ir.Node, opset: int, known: Known) -> Answer:
    return 0 if len(node.outputs) == 1 else None


def _dropout(node: ir.Node, opset: int, known: Known) -> Answer:
    if opset < 7:
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        training = _constant(node, 2)
        if training is None or training.any():
            return "it may be in training mode"
    return 0


def _cast(node: ir.Node, opset: int, known: Known) -> Answer:
    attribute = node.attributes.get("to")
    if attribute is None or attribute.is_ref():
        return None
    return 0 if known.dtype(_first(node)) == attribute.value else None


def _cast_like(node: ir.Node, opset: int, known: Known) -> Answer:
    like = node.inputs[1] if len(node.inputs) > 1 else None
    dtype = known.dtype(_first(node))
    return 0 if like is not None and dtype is not None and known.dtype(like) == dtype else None


def _transpose(node: ir.Node, opset: int, known: Known) -> Answer:
    perm = node.attributes.get("perm")
    if perm is None:
        rank = known.rank(_first(node))
        return 0 if rank is not None and rank < 2 else None
    return 0 if not perm.is_ref() and list(perm.as_ints()) == list(range(len(perm.as_ints()))) else None


def _reshape(node: ir.Node, opset: int, known: Known) -> Answer:
    x = _first(node)
    if same_shape(x, node.outputs[0], known):
        return 0
    wanted = _ints(node, "shape", 1)
    allowzero = "allowzero" in node.attributes and node.attributes["allowzero"].value != 0
    if wanted and not allowzero and not any(wanted) and len(wanted) == known.rank(x):
        return 0
    return None


def _if_same_shape(node: ir.Node, opset: int, known: Known) -> Answer:
    return 0 if same_shape(_first(node), node.outputs[0], known) else None


def _expand(node: ir.Node, opset: int, known: Known) -> Answer:
    x = _first(node)
    if same_shape(x, node.outputs[0], known):
        return 0
    wanted, rank = _ints(node, "shape", 1), known.rank(x)
    if wanted is None or any(d != 1 for d in wanted):
        return None
    return 0 if not wanted or (rank is not None and len(wanted) <= rank) else None


def _tile(node: ir.Node, opset: int, known: Known) -> Answer:
    repeats = _ints(node, "repeats", 1) if opset >= 6 else None
    return 0 if repeats is not None and all(r == 1 for r in repeats) else None


def _pad(node: ir.Node, opset: int, known: Known) -> Answer:
    pads = _ints(node, "pads", 1)
    return 0 if pads is not None and not any(pads) else None


def _slice(node: ir.Node, opset: int, known: Known) -> Answer:
    steps = _ints(node, "steps", 4) if len(node.inputs) > 4 and node.inputs[4] is not None else [1]
    if steps is None or any(s < 1 for s in steps):
        return None
    if same_shape(_first(node), node.outputs[0], known):
        return 0
    starts, ends = _ints(node, "starts", 1), _ints(node, "ends", 2)
    if starts is None or ends is None or any(starts) or any(s != 1 for s in steps):
        return None
    return 0 if all(e >= np.iinfo(np.int32).max for e in ends) else None


def _neutral(neutral: float, *, commutes: bool) -> Callable[[ir.Node, int, Known], Answer]:
    """The rule of a binary operator with a neutral element that is not the zero of an addition."""

    def rule(node: ir.Node, opset: int, known: Known) -> Answer:
        for this, other in ((0, 1), (1, 0))[: 2 if commutes else 1]:
            given = _uniform(node, other, opset, known)
            if given is not None and given == neutral:
                return this
        return None

    return rule


def _zero(node: ir.Node, opset: int, known: Known) -> Answer:
    """``x + 0`` and ``x - 0``; of floats only ``x + -0.0`` and ``x - 0.0`` keep the sign of a zero."""
    for this, other in ((0, 1), (1, 0))[: 2 if node.op_type == "Add" else 1]:
        given = _uniform(node, other, opset, known)
        if given is None or given != 0:
            continue
        if given.dtype.kind in "iu" or bool(np.signbit(given)) == (node.op_type == "Add"):
            return this
        return "x + 0.0 turns -0.0 into 0.0"
    return None


def _uniform(node: ir.Node, index: int, opset: int, known: Known) -> np.ndarray[Any, Any] | None:
    """The one number in a constant input that does not widen the other input's shape; None where it is not so."""
    other = node.inputs[1 - index] if len(node.inputs) == 2 else None
    given = _constant(node, index)
    if other is None or given is None or given.size == 0 or opset < 7:
        return None
    first = given.reshape(-1)[0]
    if given.size > 1 and not (given == first).all():
        return None
    if given.ndim and not same_shape(other, node.outputs[0], known):
        rank = known.rank(other)
        if given.size > 1 or rank is None or rank < given.ndim:
            return None
    if first == 0 and given.dtype.kind not in "iub" and np.ptp(np.signbit(given).view(np.uint8)) > 0:
        return None
    return np.asarray(first)


_RULES: dict[str, Callable[[ir.Node, int, Known], Answer]] = {
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _if_same_shape,
    "Squeeze": _if_same_shape,
    "Unsqueeze": _if_same_shape,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _only_output,
    "Concat": _only_input,
    "Sum": _only_input,
    "Max": _only_input,
    "Min": _only_input,
    "Add": _zero,
    "Sub": _zero,
    "Mul": _neutral(1, commutes=True),
    "Div": _neutral(1, commutes=False),
    "Pow": _neutral(1, commutes=False),
}
