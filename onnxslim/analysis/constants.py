"""Facts of weights and of Constant nodes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.elements import FOLLOWED, INTEGERS
from onnxslim.analysis.facts import UNKNOWN, Array, Fact
from onnxslim.analysis.operator import MAX_ELEMENTS, Operator

MAX_FLOATS: Final = 64


def weight_fact(weight: ir.TensorProtocol | None) -> Fact:
    """What a weight is: its numbers too, where it is small."""
    if weight is None:
        return UNKNOWN
    shape = tuple(int(dim) for dim in weight.shape if isinstance(dim, int))
    dtype, size = weight.dtype, weight.size
    if (dtype in INTEGERS and size <= MAX_ELEMENTS) or (dtype in FOLLOWED and size <= MAX_FLOATS):
        return Fact(dtype, shape, _elements(weight.numpy(), dtype))
    return Fact(dtype, shape)


def _elements(array: np.ndarray[Any, Any], dtype: ir.DataType) -> Array:
    numbers = array.astype(np.int64) if dtype == ir.DataType.BOOL else array
    return numbers.astype(object)


def constant_fact(op: Operator) -> Fact:
    """What a Constant node yields."""
    for name, dtype in (("value_int", ir.DataType.INT64), ("value_float", ir.DataType.FLOAT)):
        found = op.attribute(name)
        if found is not None:
            return weight_fact(ir.tensor(found.value, dtype=dtype))
    for name, dtype in (("value_ints", ir.DataType.INT64), ("value_floats", ir.DataType.FLOAT)):
        found = op.attribute(name)
        if found is not None:
            return weight_fact(ir.tensor(np.asarray(found.value, dtype=dtype.numpy())))
    found = op.attribute("value")
    if found is not None:
        return weight_fact(found.as_tensor())
    if op.attribute("value_string") is not None:
        return Fact(ir.DataType.STRING, ())
    found = op.attribute("value_strings")
    return UNKNOWN if found is None else Fact(ir.DataType.STRING, (len(found.value),))
