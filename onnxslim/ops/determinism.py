"""Which operators may be evaluated, merged or removed: purity and side effects.

A pure node gives the same outputs for the same inputs, and does nothing else. What is not known to be pure is not pure.
"""

from __future__ import annotations

import functools
from collections.abc import Container

import onnx
import onnx_ir as ir

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Domains whose operators the ONNX schemas define."""

RUNTIME_DOMAINS = frozenset({"com.microsoft", "com.microsoft.nchwc", "ai.onnx.preview.training", "ai.onnx.training"})
"""Domains of operators that only compute outputs: they may be removed when unused, but their purity is not known."""

RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Standard operators that draw random numbers. A fixed ``seed`` does not help: a session draws anew in each run."""

TOTAL = frozenset(
    {
        *(
            "Abs",
            "Ceil",
            "Constant",
            "Cos",
            "Elu",
            "Erf",
            "Exp",
            "Floor",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
            "Identity",
        ),
        *("IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shape"),
        *("Sigmoid", "Sign", "Sin", "Size", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
    }
)
"""Operators of the default domain that fail on no input of their types, so that to run one in vain does no harm."""

HOLDS_SUBGRAPH = "it holds a subgraph"
"""The reason that ``impurity`` gives where it finds no other."""


@functools.cache
def schema(op_type: str, version: int, domain: str = "") -> onnx.defs.OpSchema | None:
    """The operator's schema at an opset version, or None where ONNX has none.

    >>> schema("Relu", 17).since_version
    14
    >>> schema("Relu", 17, "my.domain") is None
    True
    """
    try:
        return onnx.defs.get_schema(op_type, version, "" if domain == "ai.onnx" else domain)
    except onnx.defs.SchemaError:
        return None


def impurity(node: ir.Node, opset: int, functions: Container[ir.OperatorIdentifier] = ()) -> str | None:
    """Why the node may be neither evaluated at compile time nor merged with its twin; None if it may.

    Args:
        node: The node.
        opset: Version of the node's domain that the graph imports.
        functions: Identifiers of the model's local functions; one of them hides the operator of the same name.
    """
    if node.op_identifier() in functions:
        return "it calls a local function"
    if node.domain not in STANDARD_DOMAINS:
        return f"the domain {node.domain!r} is not known to be deterministic"
    if schema(node.op_type, opset, node.domain) is None:
        return f"the operator is not defined in opset {opset}"
    if node.op_type in RANDOM:
        return "it draws random numbers"
    if node.op_type == "Dropout" and _may_train(node):
        return "it may drop at random"
    if node.op_type == "BatchNormalization" and _training_batchnorm(node, opset):
        return "it updates running statistics"
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            return HOLDS_SUBGRAPH
    return None


def removable_when_unused(node: ir.Node, functions: Container[ir.OperatorIdentifier] = ()) -> bool:
    """Whether nothing but its outputs comes of the node itself; its subgraphs and function body are to be asked too."""
    known = bool(node.outputs) and node.domain in STANDARD_DOMAINS | RUNTIME_DOMAINS
    return known or node.op_identifier() in functions


def _may_train(node: ir.Node) -> bool:
    """Dropout since opset 12 trains when its third input is true; before it never does in an inference graph."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    flag = node.inputs[2]
    if flag.is_graph_input() or flag.const_value is None:
        return True
    return bool(flag.const_value.numpy().any())


def _training_batchnorm(node: ir.Node, opset: int) -> bool:
    if opset >= 14:
        mode = node.attributes.get("training_mode")
        return mode is not None and (mode.is_ref() or mode.as_int() != 0)
    if opset < 7:
        mode = node.attributes.get("is_test")
        return mode is None or mode.is_ref() or mode.as_int() == 0
    return sum(bool(output.name) for output in node.outputs) > 1
