"""Inputs whose values, not only whose shapes, decide how large an output is."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

_STANDARD = ("", "ai.onnx")
_FOLLOW_SHAPES = frozenset({"com.microsoft", "com.microsoft.nchwc", "ai.onnx.ml"})
"""Domains whose other operators give sizes that follow from the shapes of their inputs."""
_SEARCHES = frozenset({"BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"})

SIZING: Mapping[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "DFT": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "If": (0,),
    "Loop": (0, 1),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
    "NonMaxSuppression": (0, 1, 2, 3, 4),
    "NonZero": (0,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "SequenceAt": (1,),
    "SequenceErase": (1,),
    "SequenceInsert": (2,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "StringSplit": (0,),
    "Tile": (1,),
    "TopK": (1,),
    "Unique": (0,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Operator of the default domain -> places of these inputs. How often a Loop runs is decided in its body too."""


def sizing_inputs(node: ir.Node) -> list[ir.Value]:
    """The inputs of a node that decide sizes; of an operator that is not known, all."""
    inputs = [value for value in node.inputs if value is not None]
    if node.domain in _STANDARD:
        places = SIZING.get(node.op_type, ())
        return [value for place in places if place < len(node.inputs) and (value := node.inputs[place]) is not None]
    return [] if node.domain in _FOLLOW_SHAPES and node.op_type not in _SEARCHES else inputs
