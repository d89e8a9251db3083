"""Attributes that say what an operator does without them."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.ops.determinism import schema
from onnxslim.ops.signature import attribute_key, default_keys

WINDOWED = frozenset({"AveragePool", "Conv", "ConvInteger", "ConvTranspose", "LpPool", "MaxPool", "QLinearConv"})
"""Operators whose strides, dilations and pads the standard gives a default in words, since the rank is the input's."""
IN_WORDS = 11
"""The opset from which on it does so for all of them."""
_WORDS = {"strides": 1, "dilations": 1, "pads": 0}


def is_default(node: ir.Node, attribute: ir.Attr, opset: int) -> bool:
    """Whether a node means the same without one of its attributes.

    Args:
        node: Of any operator; of one that ONNX has no schema of, no attribute is known to be a default.
        attribute: Of the node.
        opset: Version of the node's domain that its graph imports.
    """
    if attribute.is_ref():
        return False
    key = attribute_key(attribute)
    if key is None:
        return False
    if default_keys(node.op_type, opset, node.domain).get(attribute.name) == key:
        return True
    return (
        node.op_type in WINDOWED
        and node.domain in ("", "ai.onnx")
        and opset >= IN_WORDS
        and attribute.type == ir.AttributeType.INTS
        and attribute.name in _WORDS
        # Where pads are computed, those that are given mean nothing, but a runtime may refuse both: they stay.
        and node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
        and all(each == _WORDS[attribute.name] for each in attribute.as_ints())
        and attribute.name in _known(node.op_type, opset, node.domain)
    )


def _known(op_type: str, opset: int, domain: str) -> frozenset[str]:
    """Attributes of an operator that may be left out."""
    op = schema(op_type, opset, domain)
    return frozenset(name for name, each in op.attributes.items() if not each.required) if op else frozenset()
