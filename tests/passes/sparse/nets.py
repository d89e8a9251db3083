"""Small models with zeros, and what is asserted of what becomes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from onnxslim.execution import Feed, open_session, optimized_graph
from onnxslim.graph import load, to_bytes
from onnxslim.passes.sparse.encode import Encode, Encoding
from onnxslim.pipeline import Context, PassResult
from tests.documents import DIGITS
from tests.ops.channels.nets import feeds, model, node
from tests.packing.arrays import weights

ENCODINGS: tuple[Encoding, ...] = ("auto", "standard", "strict", "folded")


def encoded(proto: onnx.ModelProto, encoding: Encoding = "auto") -> tuple[onnx.ModelProto, PassResult]:
    """As a file has it."""
    made = load(proto.SerializeToString())
    result = Encode(encoding).run(made, Context())
    return onnx.ModelProto.FromString(to_bytes(made)), result


def digits(zeros: float = 0.8) -> onnx.ModelProto:
    """The digits CNN, of whose weights the smallest are zero."""
    proto = onnx.load(str(DIGITS))
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if array.ndim >= 2 and array.dtype == np.float32:
            array[np.abs(array) <= np.quantile(np.abs(array), zeros)] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return proto


def small(opset: int = 17) -> onnx.ModelProto:
    """A convolution, a Gemm and a MatMul with zeros."""
    return model(
        [
            node("Conv x w k -> a", pads=[1, 1, 1, 1]),
            "Relu a -> b",
            "GlobalAveragePool b -> c",
            node("Flatten c -> d", axis=1),
            node("Gemm d v g -> e", transB=1),
            "MatMul e u -> y",
        ],
        {
            "w": weights((48, 3, 3, 3), 0.7),
            "k": (48,),
            "v": weights((64, 48), 0.85, seed=1),
            "g": (64,),
            "u": weights((64, 40), 0.95, seed=2),
        },
        opset=opset,
    )


def outputs(proto: onnx.ModelProto, given: Sequence[Feed]) -> list[np.ndarray]:
    """Of a session as anyone opens one."""
    session = open_session(proto)
    return [np.asarray(array) for feed in given for array in session.run(feed).values()]


def operators(proto: onnx.ModelProto) -> Counter[str]:
    """What onnxruntime runs."""
    return Counter(each.op_type for each in nodes_of(optimized_graph(proto).graph))


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for each in graph.node:
        yield each
        for attribute in each.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def assert_same_but_smaller(
    before: onnx.ModelProto, after: onnx.ModelProto, given: Sequence[Feed] | None = None, *, full: bool = False
) -> None:
    """Smaller, checked, run by the same operators, and with the same bits at the outputs."""
    assert after.ByteSize() < before.ByteSize()
    onnx.checker.check_model(after, full_check=full)
    assert operators(after) == operators(before)
    given = feeds(before) if given is None else given
    for wanted, found in zip(outputs(before, given), outputs(after, given), strict=True):
        assert wanted.dtype == found.dtype
        assert wanted.tobytes() == found.tobytes()


def tensors(model: ir.Model) -> dict[str, bytes]:
    """Name -> dtype, dims and bits of the initializers of all graphs."""
    return {
        name: f"{value.const_value.dtype} {value.const_value.shape}".encode() + value.const_value.tobytes()
        for graph in model.graphs()
        for name, value in graph.initializers.items()
        if value.const_value is not None
    }
