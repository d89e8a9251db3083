"""Operators of ``ai.onnx.ml``: what classical models of scikit-learn and its kind are exported to."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

DOMAIN: Final = "ai.onnx.ml"


def list_attributes(node: ir.Node) -> list[ir.Attr]:
    """The attributes that hold the operator's weights: lists, where operators of other domains have constants."""
    kinds = (ir.AttributeType.FLOATS, ir.AttributeType.INTS, ir.AttributeType.STRINGS)
    if node.domain != DOMAIN:
        return []
    return [each for each in node.attributes.values() if not each.is_ref() and each.type in kinds]


def class_labels(node: ir.Node) -> tuple[int, ir.DataType] | None:
    """How many labels a classifier knows, and their type; None where it states none, or a parameter of a function."""
    for name, dtype in (
        ("classlabels_strings", ir.DataType.STRING),
        ("classlabels_int64s", ir.DataType.INT64),
        ("classlabels_ints", ir.DataType.INT64),
    ):
        attribute = node.attributes.get(name)
        if attribute is not None and not attribute.is_ref() and len(attribute.value):
            return len(attribute.value), dtype
    return None


def base_values(node: ir.Node) -> list[float]:
    """What an ensemble adds to the sums of its trees; nothing where it states none."""
    for name in ("base_values", "base_values_as_tensor"):
        if name in node.attributes:
            return numbers(node.attributes[name])
    return []


def numbers(attribute: ir.Attr) -> list[float]:
    """The numbers of an attribute that is a list or a tensor."""
    if attribute.type == ir.AttributeType.TENSOR:
        return [float(each) for each in attribute.value.numpy().reshape(-1)]
    return list(attribute.as_floats())
