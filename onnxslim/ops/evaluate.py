"""What a node gives on constant inputs: by numpy where ONNX fixes the bits, else by onnxruntime, one node at a time."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.isolation import Died, out_of_memory, shared_worker
from onnxslim.ops.kernels import KERNELS, NotCovered
from onnxslim.ops.onnx_inference import aborts_onnx

MAX_BYTES = 256 << 20
"""Bytes that the outputs of one node may take."""

SECONDS = 15.0
"""Time that one node may take."""
MAX_MEMORY = 1 << 30
"""Bytes that one node may take besides its inputs: outputs of `MAX_BYTES`, and what its kernel needs."""

_VALUE_ELEMENTS = 1024
"""Integer inputs up to this size are shown to shape inference: they may be shapes, axes or repeats."""
_MAX_IR_VERSION = 10
"""Read by every supported onnxruntime."""


class CannotEvaluate(Exception):
    """The node's outputs could not be computed; the text is the reason."""


def evaluate(
    node: ir.Node,
    inputs: Sequence[ir.TensorProtocol | None],
    opset: int,
    *,
    max_bytes: int = MAX_BYTES,
    room: int | None = None,
) -> tuple[ir.TensorProtocol | None, ...]:
    """Computes the node's outputs. The node is not changed, and no more than ``max_bytes`` are allocated for outputs.

    The size of the outputs is known before anything is computed: an ``Expand`` to 10 GB costs nothing but its refusal.
    The caller asks :func:`onnxslim.ops.determinism.impurity` first.

    Args:
        node: A node of the standard domain without subgraphs.
        inputs: One tensor for each input, None where it is omitted.
        opset: The version of the standard domain.
        max_bytes: Limit on the bytes of all outputs together.
        room: Bytes of the memory budget that are left for them; None means no budget.

    Returns:
        One tensor for each output, None where the output has no name.

    Raises:
        CannotEvaluate: When the size is unknown or too large, or no evaluator knows the operator for these inputs.
    """
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        raise CannotEvaluate("an attribute is a parameter of the function")
    size = output_bytes(node, inputs, opset)
    if size is None:
        raise CannotEvaluate("the size of its output is not known beforehand")
    if size > max_bytes:
        raise CannotEvaluate(f"its output would take {size:,} bytes")
    if room is not None and size > room:
        raise CannotEvaluate(f"its output would take {size:,} bytes, and {room:,} are left of the memory budget")
    kernel = KERNELS.get(node.op_type) if node.domain == "" else None
    if kernel is not None and all(x is None or _plain(x) for x in inputs):
        arrays = [None if x is None else x.numpy() for x in inputs]
        try:
            return tuple(ir.Tensor(np.asarray(y, order="C")) for y in kernel(arrays, _attributes(node), opset))
        except NotCovered:
            pass
        except (IndexError, ValueError, KeyError) as error:
            raise CannotEvaluate(f"the node is not valid: {error}") from error
    return _by_onnxruntime(node, inputs, opset)


def output_bytes(node: ir.Node, inputs: Sequence[ir.TensorProtocol | None], opset: int) -> int | None:
    """Bytes of all outputs, from the shapes (and small integer values) of the inputs; None where unknown.

    Operators whose output size depends on the data (NonZero, Compress, Unique) get their upper bound.
    """
    if node.op_type in _NO_LARGER:
        return sum(0 if x is None else _nbytes(x) for x in inputs)
    if node.op_type in _ELEMENTWISE and node.domain == "":
        return _broadcast_bytes(inputs)
    bound = _DATA_DEPENDENT.get(node.op_type)
    if bound is not None and inputs and inputs[0] is not None:
        return bound * inputs[0].size * max(1, len(inputs[0].shape))
    reason = aborts_onnx(node)
    if reason:
        raise CannotEvaluate(f"the node is not valid: {reason}")
    proto = _model_of(node, inputs, opset, values=False)
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    except Exception as error:  # onnx raises plain RuntimeError subclasses for each kind of invalid node
        raise CannotEvaluate(f"the node is not valid: {str(error).splitlines()[0]}") from error
    total = 0
    for output in inferred.graph.output:
        tensor = output.type.tensor_type
        if not tensor.HasField("shape") or any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
            return None
        count = 1
        for dim in tensor.shape.dim:
            count *= dim.dim_value
        total += int(count * max(1, ir.DataType(tensor.elem_type).itemsize if tensor.elem_type != 8 else 16))
    return total


_NO_LARGER = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice", "Neg", "Abs"})
"""Outputs take no more bytes than the inputs."""
_ELEMENTWISE = frozenset(
    {
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Equal",
        "Less",
        "Greater",
        "LessOrEqual",
        "GreaterOrEqual",
        "And",
        "Or",
        "Xor",
        "Where",
    }
)
_DATA_DEPENDENT = {"NonZero": 8, "Compress": 8, "Unique": 32}
"""Bytes for each input element (times the rank) at most."""


def _broadcast_bytes(inputs: Sequence[ir.TensorProtocol | None]) -> int:
    given = [x for x in inputs if x is not None]
    try:
        shape = np.broadcast_shapes(*(tuple(x.shape.numpy()) for x in given))
    except ValueError as error:
        raise CannotEvaluate(f"the node is not valid: {error}") from error
    return math.prod(shape) * max(16 if x.dtype == ir.DataType.STRING else math.ceil(x.dtype.itemsize) for x in given)


def _nbytes(tensor: ir.TensorProtocol) -> int:
    return tensor.size * 16 if tensor.dtype == ir.DataType.STRING else tensor.nbytes


def _plain(tensor: ir.TensorProtocol) -> bool:
    """Whether numpy has the dtype itself: no narrow floats, no packed integers, no strings."""
    return tensor.dtype in _PLAIN


_PLAIN = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT16,
        ir.DataType.BOOL,
        *(getattr(ir.DataType, f"{sign}INT{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)),
    }
)


def _attributes(node: ir.Node) -> Mapping[str, Any]:
    return {
        name: attribute.as_tensor().numpy() if attribute.type == ir.AttributeType.TENSOR else attribute.value
        for name, attribute in node.attributes.items()
    }


def _model_of(
    node: ir.Node, inputs: Sequence[ir.TensorProtocol | None], opset: int, *, values: bool
) -> onnx.ModelProto:
    """A model of this node alone. ``values``: all inputs are fed; else small integers stand in it as initializers."""
    graph = onnx.GraphProto(name="node")
    copy = graph.node.add(op_type=node.op_type, domain=node.domain)
    for attribute in node.attributes.values():
        copy.attribute.append(ir.serde.serialize_attribute(attribute))
    for i, tensor in enumerate(inputs):
        copy.input.append(f"x{i}" if tensor is not None else "")
        if tensor is None:
            continue
        if not values and tensor.size <= _VALUE_ELEMENTS and tensor.dtype in _PLAIN:
            proto = graph.initializer.add()
            proto.CopyFrom(ir.to_proto(ir.tensor(tensor.numpy(), dtype=tensor.dtype)))
            proto.name = f"x{i}"
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(f"x{i}", tensor.dtype.value, tensor.shape.numpy()))
    for i, output in enumerate(node.outputs):
        copy.output.append(f"y{i}" if output.name else "")
        if output.name:
            graph.output.add(name=f"y{i}")
    model = onnx.ModelProto(ir_version=_MAX_IR_VERSION, graph=graph)
    model.opset_import.add(domain=node.domain, version=opset)
    return model


@functools.cache
def _session_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _run_node(proto: bytes, feed: Mapping[str, np.ndarray]) -> list[Any]:
    """In the child."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(proto, _session_options(), providers=["CPUExecutionProvider"])
        return list(session.run(None, feed))
    except Exception as error:  # onnxruntime raises a class of its own for each failure
        raise CannotEvaluate(f"onnxruntime does not run it: {str(error).splitlines()[0][:160]}") from error


def _by_onnxruntime(
    node: ir.Node, inputs: Sequence[ir.TensorProtocol | None], opset: int
) -> tuple[ir.TensorProtocol | None, ...]:
    """In a child, on one thread, without optimizations: the bits that the node itself would give in the model."""
    strange = next((x.dtype for x in inputs if x is not None and not _plain(x)), None)
    if strange is not None:
        raise CannotEvaluate(f"numpy has no {strange.name}")
    proto = _model_of(node, inputs, opset, values=True)
    feed = {f"x{i}": tensor.numpy() for i, tensor in enumerate(inputs) if tensor is not None}
    try:
        found = shared_worker().call(_run_node, proto.SerializeToString(), feed, seconds=SECONDS, memory=MAX_MEMORY)
    except Died as death:
        raise CannotEvaluate(f"onnxruntime {death} on it") from None
    except MemoryError:
        raise CannotEvaluate(f"onnxruntime {out_of_memory(MAX_MEMORY)} for it") from None
    except OSError as error:
        raise CannotEvaluate(f"no child process can be started: {error}") from error
    arrays = iter(found)
    outputs = [ir.tensor(next(arrays)) if output.name else None for output in node.outputs]
    if any(y is not None and not _plain(y) for y in outputs):
        raise CannotEvaluate("its output is no plain number")
    return tuple(outputs)
