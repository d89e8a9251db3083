"""Biases in int8 products of any rank: DQ(X) DQ(W) + b -> com.microsoft.MatMulIntegerToFloat with a bias.

onnxruntime makes this kernel of the product anyway, but leaves the sum behind it. Only for its own operators.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxslim.graph.edit import Names, constant_tensor, site
from onnxslim.ops.contrib import DOMAIN, VERSION
from onnxslim.pipeline import Action, Context

from .dead import drop_dead
from .form_region import bias_of

NAME = "integer-bias"


def join_biases(model: ir.Model, context: Context) -> None:
    """Lets int8 products add their biases, in place.

    Args:
        model: In QDQ form; float products stay.
        context: Is asked before each rewrite.
    """
    names = Names.of(model)
    for product in list(model.graph):
        sources = list(sources_of(product))
        if len(sources) < 2:
            continue
        activation, weight = sources
        found = bias_of(product)
        reason = found if isinstance(found, str) else why_not(activation, weight)
        if reason or isinstance(found, str):
            context.decline(NAME, site(product), reason)
            continue
        add, bias = found
        if context.allow(Action(NAME, (add.outputs[0].name or "",), site(product))):
            _join(model, names, product, (activation, weight), add, bias)


def sources_of(product: ir.Node) -> Iterator[ir.Node]:
    """The DequantizeLinear behind each factor of a MatMul."""
    for value in product.inputs if (product.domain, product.op_type) == ("", "MatMul") else ():
        source = value.producer() if value is not None else None
        if source is not None and (source.domain, source.op_type) == ("", "DequantizeLinear"):
            yield source


def why_not(activation: ir.Node, weight: ir.Node) -> str:
    """Why the kernel does not take these factors; empty where it does."""
    zero = constant_tensor(activation.inputs[2]) if len(activation.inputs) > 2 else None
    if zero is None or zero.dtype != ir.DataType.UINT8:
        return "the activation is not in uint8 with a constant zero point"
    scale = constant_tensor(weight.inputs[1])
    if scale is None or (len(scale.shape) and weight.attributes.get_int("axis", 1) not in (1, -1)):
        return "the weight has one scale a row"
    return ""


def _join(
    model: ir.Model, names: Names, product: ir.Node, sources: tuple[ir.Node, ir.Node], add: ir.Node, bias: ir.Value
) -> None:
    activation, weight = sources
    inputs = [activation.inputs[0], weight.inputs[0], activation.inputs[1], weight.inputs[1]]
    inputs += [activation.inputs[2], weight.inputs[2] if len(weight.inputs) > 2 else None, bias]
    new = ir.node("MatMulIntegerToFloat", inputs, domain=DOMAIN)
    y, name, made = add.outputs[0], add.outputs[0].name, new.outputs[0]
    made.type, made.shape, new.name = y.type, y.shape, product.name
    product.prepend(new)
    y.replace_all_uses_with(made, replace_graph_outputs=True)
    factors = list(product.inputs)
    model.graph.remove([product, add], safe=True)
    made.name = name if name is not None else names.fresh("sum")
    for value in factors:
        if value is not None:
            drop_dead(model.graph, value)
    model.graph.opset_imports.setdefault(DOMAIN, VERSION)
