"""What onnx's own shape inference must not be asked: it is C++ that ends the process on some malformed nodes.

Nothing can be caught there. These were found by asking it about random nodes of every operator; it aborts on some of
``Slice`` too (a negative step along an empty axis), about which nothing here asks it.
"""

from __future__ import annotations

import re

import onnx_ir as ir

_COUNTS = ("batch_dims", "num_outputs")
"""Attributes that it uses as numbers of elements without a look at what is there."""
_EQUATION = re.compile(r"[a-zA-Z,.\s]*(->[a-zA-Z.\s]*)?")
"""Any other character in the equation of an Einsum makes it loop forever (onnx 1.23)."""


def aborts_onnx(node: ir.Node) -> str:
    """Why onnx is not to be asked about the node; empty where it may be."""
    for name in _COUNTS:
        count = node.attributes.get(name)
        if count is None:
            continue
        if count.type != ir.AttributeType.INT or count.is_ref() or count.as_int() < 0:
            return f"{name} is no count"
        if name == "num_outputs" and count.as_int() != len(node.outputs):
            return "num_outputs is not the number of outputs"
    equation = node.attributes.get("equation")
    if equation is not None and equation.type == ir.AttributeType.STRING and not equation.is_ref():
        text = equation.as_string()
        if not _EQUATION.fullmatch(text):
            return f"the equation {text!r} is malformed"
    return ""
