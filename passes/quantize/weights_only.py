"""Weights stored in int8, everything computed in float: W -> Cast(Wq) * scale.

Both operators have constant inputs, so that onnxruntime folds them when it loads the model: the file is a quarter of
the size, the model in memory and its speed are what they were. A DequantizeLinear would be run every time.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused
from onnxslim.ops.contraction import output_axis

from .grid import weight_grid
from .group import Int8Group
from .rounding import NEAREST, Rounding

LEAST = 1 << 10
"""Numbers in a weight from which on it is worth two nodes."""


def is_large(group: Int8Group) -> bool:
    """Whether the group has a weight that is worth it."""
    tensor = constant_tensor(group.weight)
    return tensor is not None and tensor.size >= LEAST


def store_weights(
    model: ir.Model, groups: Sequence[Int8Group], bits: int, per_channel: bool, rounding: Rounding = NEAREST
) -> None:
    """Stores the weights of contractions in int8, in place. Activations and biases stay as they are.

    Args:
        model: Opset 7 or newer.
        groups: Contractions of ``model``.
        bits: Of the integers.
        per_channel: One scale per output channel, or one per tensor.
        rounding: Of the weights.
    """
    names = Names.of(model)
    graph = model.graph
    done: dict[ir.Value, dict[int, ir.Value]] = {}
    for group in groups:
        tensor, weight = constant_tensor(group.weight), group.weight
        assert tensor is not None
        assert weight is not None
        axis = output_axis(group.node)
        stored = done.setdefault(weight, {})
        if axis not in stored:
            array = tensor.numpy()
            grid = weight_grid(array, axis if per_channel else None, bits=bits)
            shape = [1] * array.ndim
            if per_channel:
                shape[axis] = -1
            base = names.fresh(f"{weight.name}_quantized")
            integers = add_initializer(graph, base, rounding.integers(group.node, array, grid))
            scale = add_initializer(graph, names.fresh(f"{base}_scale"), grid.scale.reshape(shape))
            cast = ir.node("Cast", [integers], {"to": ir.DataType.FLOAT.value})
            product = ir.node("Mul", [cast.outputs[0], scale])
            for node, role in ((cast, "cast"), (product, "dequantized")):
                node.name = node.outputs[0].name = names.fresh(f"{base}_{role}")
            graph[0].prepend([cast, product])
            stored[axis] = product.outputs[0]
        group.node.replace_input_with(1, stored[axis])
    for weight in done:
        drop_unused(graph, weight)
