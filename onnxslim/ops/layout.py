"""What becomes of an operator when the data that it works on come with their axes in another order.

``y = f(x)`` is the same as ``y' = f'(x')``, where ``x'`` is ``x`` transposed, ``y'`` is ``y`` transposed, and ``f'`` is
the same operator with other axes, pads, scales or constants. A rule says what ``f'`` is. Operators without a rule work
on one order only (Conv: channels are the second axis), or what they compute depends on the order (Reshape).
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxslim.ops import turn_ranks, turn_same_ranks
from onnxslim.ops.permutations import Perm, inverse, moves_only_ones, without
from onnxslim.ops.turning import RULES, Array, Fixed, KnownValues, PermutedNode, Turn

__all__ = [
    "RULES",
    "KnownValues",
    "Perm",
    "Turn",
    "inverse",
    "moves_only_ones",
    "turn_ranks",
    "turn_same_ranks",
    "turned",
    "without",
]


def turned(
    node: ir.Node, version: int, perm: Perm, known: KnownValues, constant: Callable[[ir.Value | None], Array | None]
) -> Turn | str | None:
    """The operator on other data.

    Args:
        node: The operator as it is.
        version: Of the default domain.
        perm: Of the data: of the first input, or of the output where that has more dims.
        known: Facts of the values.
        constant: The array of a constant; None for what is none.

    Returns:
        A reason why it stays as it is; None where it has no rule.
    """
    found = RULES.get(node.op_type) if node.domain == "" else None
    if found is None:
        return None
    if any(each.is_ref() for each in node.attributes.values()):
        return "an attribute is a parameter of the function"
    try:
        return found(PermutedNode(node, version, perm, known, constant))
    except Fixed as reason:
        return str(reason)
