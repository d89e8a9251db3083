"""Conv and the activation after it -> com.microsoft.FusedConv."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.contrib import ACTIVATIONS, DOMAIN
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import float_dtype, scalar

LARGEST = 3.4028234663852886e38
"""A limit that a Clip does not state."""


class FuseFusedConv(Rule):
    """Let a Conv apply the activation that follows it."""

    name: ClassVar[str] = "fuse-fused-conv"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = (*ACTIVATIONS, "Clip")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        value = node.inputs[0]
        conv = place.before(value, "Conv")
        if conv is None or value is None:
            return None
        if any(place.before(x, "DequantizeLinear") for x in conv.inputs):
            return "it runs in int8"
        if not place.is_free(value, node):
            return "others need what is activated too"
        if not float_dtype(place, value):
            return "it is not known to be float32"
        parameters = limits(node, place) if node.op_type == "Clip" else slope(node)
        if parameters is None or any(each.is_ref() for each in (*conv.attributes.values(), *node.attributes.values())):
            return "the parameters of the activation are not known"
        attributes = [*conv.attributes.values(), ir.AttrString("activation", node.op_type)]
        if parameters:
            attributes.append(ir.AttrFloat32s("activation_params", parameters))
        new = ir.Node(DOMAIN, "FusedConv", conv.inputs, attributes, num_outputs=1, name=conv.name)
        new.metadata_props.update(conv.metadata_props)
        return Replacement([new], [new.outputs[0]], node.op_type)


def slope(node: ir.Node) -> list[float] | None:
    """The parameters of an activation of one input: LeakyRelu has one."""
    if node.op_type != "LeakyRelu":
        return []
    alpha = node.attributes.get("alpha")
    return [0.01 if alpha is None else alpha.as_float()]


def limits(node: ir.Node, place: Place) -> list[float] | None:
    """The limits of a Clip, as inputs or as attributes; None where they are computed."""
    found = []
    for index, name, default in ((1, "min", -LARGEST), (2, "max", LARGEST)):
        given = node.inputs[index] if index < len(node.inputs) else None
        number = scalar(place, given) if given is not None else default
        if given is None and name in node.attributes:
            number = node.attributes[name].as_float()
        if number is None:
            return None
        found.append(number)
    return found
