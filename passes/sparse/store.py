"""Weights of few values in the file: codes and scales, and nodes that make floats of them when the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused, set_constant
from onnxslim.packing import PREFIX

from .grids import Levels, Values
from .weights import Weight


def store(names: Names, weight: Weight, array: np.ndarray, grids: Sequence[Levels] | None, values: Values) -> None:
    """Lets a weight be computed from what it is made of; ``Cast(codes) * scale``, bit for bit ``array``.

    onnxruntime folds that, so that the model runs as before; a DequantizeLinear would be run every time. The product is
    float32, for not every onnxruntime multiplies float16; a Cast behind it gives the weight its own type.

    Args:
        names: Of the model, of opset 7 or newer.
        weight: Of the main graph or of a body below it.
        array: What it becomes, of its own type.
        grids: Of each group of its rows.
        values: Which numbers it has.
    """
    value, name = weight.value, weight.name
    graph = value.graph  # which may be one around that of the node
    assert isinstance(graph, ir.Graph)
    own, single = ir.DataType.from_numpy(array.dtype), ir.DataType.FLOAT
    if values == "float16":
        half = add_initializer(graph, names.fresh(f"{name}_half"), array.astype(np.float16))
        made = [_cast(half, own)]
    else:
        assert grids is not None
        rows = weight.geometry.matrix(array)
        codes = np.stack([each.nearest(group.astype(np.float64)) for each, group in zip(grids, rows, strict=True)])
        scale = weight.geometry.with_matrix(np.stack([each.scale[:, np.newaxis] for each in grids]))
        table = weight.geometry.with_matrix(codes)
        if not np.array_equal((table * scale).astype(array.dtype), array):
            if own == ir.DataType.FLOAT16:  # where a number lies between two codes, rounding may have made it another's
                set_constant(value, array)
                return
            raise AssertionError(f"{name} is not what its codes and scales make")
        made = []
        if grids[0].whole:
            source = add_initializer(graph, names.fresh(f"{name}_quantized"), table.astype(np.int8))
        else:
            narrow = np.float16 if own == ir.DataType.FLOAT16 else np.float32
            source = add_initializer(graph, names.fresh(f"{name}_codes"), table.astype(narrow))
        if source.dtype != single:
            made.append(_cast(source, single))
            source = made[-1].outputs[0]
            source.name = names.fresh(f"{name}_cast")
        made.append(ir.node("Mul", [source, add_initializer(graph, names.fresh(f"{name}_scale"), scale)]))
        if own != single:
            made[-1].outputs[0].name = names.fresh(f"{name}_single")
            made.append(_cast(made[-1].outputs[0], own))
    out = made[-1].outputs[0]
    made[-1].name = names.fresh(PREFIX)
    shape, dtype = value.shape, value.dtype
    if value.is_initializer():
        graph.initializers.pop(name)
    out.name, value.name = name, names.fresh(f"{name}_before")
    out.shape, out.type = shape, ir.TensorType(dtype or own)
    ir.convenience.replace_all_uses_with(value, out)
    if constant_tensor(value) is not None:
        drop_unused(graph, value)
    graph.insert_before(graph[0], made)


def _cast(value: ir.Value, dtype: ir.DataType) -> ir.Node:
    return ir.node("Cast", [value], {"to": dtype.value})
