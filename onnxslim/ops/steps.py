"""Operators that step: the least change of an input can change an output by a whole step."""

from __future__ import annotations

import onnx_ir as ir

STEPS = frozenset(
    {
        *("ArgMax", "ArgMin", "TopK", "Hardmax", "NonMaxSuppression", "NonZero", "Unique", "Compress"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("Ceil", "Floor", "Round", "Sign", "Mod", "IsNaN", "IsInf", "Shrink", "ThresholdedRelu"),
        *("QuantizeLinear", "DynamicQuantizeLinear", "Bernoulli", "Multinomial"),
        *("ArrayFeatureExtractor", "Binarizer", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"),
    }
)
"""Operators of the standard domains."""
_QUANTIZED = ("Quantize", "QLinear", "QGemm", "QAttention", "QMoE", "Integer")
"""Parts of the names of onnxruntime's own operators that round to integers."""


def is_step(node: ir.Node) -> bool:
    """Whether the node steps where its inputs are floats.

    >>> x = ir.Value(name="x")
    >>> [is_step(ir.node(op, [x])) for op in ("Round", "Relu")]
    [True, False]
    """
    if node.op_type == "Cast":
        to = node.attributes.get("to")
        return to is not None and not to.is_ref() and not ir.DataType(to.as_int()).is_floating_point()
    return node.op_type in STEPS or any(part in node.op_type for part in _QUANTIZED)
