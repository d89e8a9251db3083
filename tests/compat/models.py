"""Small models that the tests of compatibility share."""

from __future__ import annotations

import numpy as np
import onnx

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float["batch", 4] x) => (float["batch", 3] y)
<float[4, 3] w = {1, 0.5, -1, 2, 0.25, 3, -2, 1, 0.125, 4, -0.5, 1}, float[3] b = {1, 2, 3}, float[3] c = {1, 1, 1}>
{
    total = Add (b, c)
    product = MatMul (x, w)
    same = Identity (product)
    sum = Min (same, total)
    y = Relu (sum)
}
"""
"""Two nodes too many: a constant Add and an Identity."""

STRINGLESS_RANDOM = """<ir_version: 8, opset_import: ["" : 17]>
noise (float[2, 3] x) => (float[2, 3] y)
{
    r = RandomNormal <shape = [2, 3]> ()
    y = Add (x, r)
}
"""


def net(text: str = NET) -> onnx.ModelProto:
    """The model that a text says."""
    made: onnx.ModelProto = onnx.parser.parse_model(text)
    return made


def ops(model: onnx.ModelProto) -> list[str]:
    """Operators in order."""
    return [node.op_type for node in model.graph.node]


COLUMNS = 3000


def large() -> onnx.ModelProto:
    """The same net with 3000 columns: weights of 48 kB, which are worth a file of their own."""
    model = net()
    generator = np.random.default_rng(0)
    for tensor, shape in zip(model.graph.initializer, [(4, COLUMNS), (COLUMNS,), (COLUMNS,)], strict=True):
        tensor.CopyFrom(onnx.numpy_helper.from_array(generator.random(shape, np.float32), tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = COLUMNS
    return model
