"""Weights of few values in the file: codes and scales, and nodes that make floats of them when the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused
from onnxslim.packing import PREFIX

from .grids import Levels, Values
from .weights import Weight


def store(model: ir.Model, weight: Weight, array: np.ndarray, grids: Sequence[Levels] | None, values: Values) -> None:
    """Lets a weight be computed from what it is made of; ``Cast(codes) * scale``, bit for bit ``array``.

    onnxruntime folds that, so that the model runs as before; a DequantizeLinear would be run every time.

    Args:
        model: Opset 7 or newer.
        weight: Of the main graph or of a body below it.
        array: What it becomes, float32.
        grids: Of each group of its rows.
        values: Which numbers it has.
    """
    names = Names.of(model)
    value, name = weight.value, weight.name
    graph = value.graph  # which may be one around that of the node
    assert isinstance(graph, ir.Graph)
    if values == "float16":
        half = add_initializer(graph, names.fresh(f"{name}_half"), array.astype(np.float16))
        made = [ir.node("Cast", [half], {"to": ir.DataType.FLOAT.value})]
    else:
        assert grids is not None
        rows = weight.rows(array)
        codes = np.stack([each.nearest(group.astype(np.float64)) for each, group in zip(grids, rows, strict=True)])
        scale = weight.array_of(np.stack([each.scale[:, np.newaxis] for each in grids]))
        table = weight.array_of(codes)
        if not np.array_equal(table * scale, array):
            raise AssertionError(f"{name} is not what its codes and scales make")
        if grids[0].whole:
            integers = add_initializer(graph, names.fresh(f"{name}_quantized"), table.astype(np.int8))
            made = [ir.node("Cast", [integers], {"to": ir.DataType.FLOAT.value})]
            made[0].outputs[0].name = names.fresh(f"{name}_cast")
            source = made[0].outputs[0]
        else:
            made, source = [], add_initializer(graph, names.fresh(f"{name}_codes"), table)
        made.append(ir.node("Mul", [source, add_initializer(graph, names.fresh(f"{name}_scale"), scale)]))
    out = made[-1].outputs[0]
    made[-1].name = names.fresh(PREFIX)
    shape, dtype = value.shape, value.dtype
    if value.is_initializer():
        graph.initializers.pop(name)
    out.name, value.name = name, names.fresh(f"{name}_before")
    out.shape, out.type = shape, ir.TensorType(dtype or ir.DataType.FLOAT)
    ir.convenience.replace_all_uses_with(value, out)
    if constant_tensor(value) is not None:
        drop_unused(graph, value)
    graph.insert_before(graph[0], made)
