"""CastLike(x, like) -> Cast<to = dtype of like>(x): the values of ``like`` do not count."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule
from onnxslim.rewriter.size import framed, node_bytes


class PlainCast(Rule):
    """Name the type that a CastLike takes from another value, where it is known.

    The rules for Cast then apply, and what only gave the type is no longer needed.
    """

    name: ClassVar[str] = "plain-cast"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("CastLike",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """The Cast."""
        if len(node.inputs) < 2 or node.inputs[0] is None or node.inputs[1] is None:
            return None
        like = node.inputs[1]
        dtype = place.facts.dtype(like)
        if dtype is None:
            return "the type of the second input is not known"
        attributes = {**node.attributes, "to": ir.AttrInt64("to", int(dtype))}
        new = ir.Node("", "Cast", [node.inputs[0]], attributes.values(), num_outputs=1, name=node.name)
        new.metadata_props.update(node.metadata_props)
        grown = node_bytes(new) + framed(len((node.outputs[0].name or "").encode())) - node_bytes(node)
        maker = like.producer()
        if maker is not None and len(maker.outputs) == 1 and place.is_free(like, node):
            grown -= node_bytes(maker)
        if grown > 0:  # counted here with the name that the Cast takes: short names make a CastLike the shorter one
            return f"the file would grow by {grown:,} bytes"
        return Replacement((new,), (new.outputs[0],))
