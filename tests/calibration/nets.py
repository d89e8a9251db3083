"""Small models and samples for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from onnxslim.ops.contraction import contraction_of
from onnxslim.ops.unfold import Unfold
from onnxslim.samples import Sample

CONV = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,8,8] x) => (float[N,5] y) <float[4,3,3,3] w, float[4,5] v> {
  c = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)
  r = Relu(c)
  p = GlobalAveragePool(r)
  f = Flatten(p)
  y = MatMul(f, v)
}"""


@dataclass(frozen=True)
class Port:
    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...]


def port(name: str = "x", dtype: Any = np.float32, shape: tuple[int | str | None, ...] = ("N", 3)) -> Port:
    return Port(name, np.dtype(dtype), shape)


def conv_model(seed: int = 0) -> ir.Model:
    """`CONV` with weights: an initializer that the text declares is filled in."""
    rng = np.random.default_rng(seed)
    proto = onnx.parser.parse_model(CONV)
    del proto.graph.initializer[:]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3), np.float32), "w"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal((4, 5), np.float32), "v"))
    return ir.from_proto(proto)


def images(count: int, size: int = 8, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [Sample(f"s{i:03d}", {"x": rng.standard_normal((1, 3, size, size), np.float32)}) for i in range(count)]


def value(model: ir.Model, name: str) -> ir.Value:
    values = [*model.graph.inputs, *model.graph.initializers.values(), *(o for n in model.graph for o in n.outputs)]
    return next(v for v in values if v.name == name)


def unfold_of(node: ir.Node) -> Unfold | str:
    """How the input of a contraction becomes rows, or why it does not."""
    known = contraction_of(node)
    return known if isinstance(known, str) else known.unfold
