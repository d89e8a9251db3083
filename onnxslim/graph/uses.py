"""Uses of values and inputs of nodes where there are many: onnx-ir copies all of them each time that it is asked.

To replace one input it makes a new tuple of all, and to list the uses of a value another one. With a Concat of 60,000
inputs, or a value of as many uses, that takes minutes in all. Its bookkeeping is done here for many inputs at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

WIDE = 64
"""Inputs of a node from which on they are replaced together."""


def use_count(value: ir.Value) -> int:
    """How many inputs the value is, without a list of them."""
    return len(value._uses)


def replace_inputs(node: ir.Node, changes: Mapping[int, ir.Value | None]) -> None:
    """Gives a node other inputs, by place. Linear in their number."""
    if len(node.inputs) <= WIDE:
        for index, value in changes.items():
            node.replace_input_with(index, value)
        return
    inputs = list(node.inputs)
    for index, value in changes.items():
        old, inputs[index] = inputs[index], value
        if old is not None:
            old._remove_usage(node, index)
        if value is not None:
            value._add_usage(node, index)
    node._inputs = tuple(inputs)


def drop_inputs(node: ir.Node) -> None:
    """Gives up all uses that a node makes of values, as before it is removed."""
    replace_inputs(node, dict.fromkeys(range(len(node.inputs))))
