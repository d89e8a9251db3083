"""OnnxSlim's functions that run and compare models, made of this project's. For callers of OnnxSlim only."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnxslim.compat.arguments import check_feed
from onnxslim.compat.console import logger
from onnxslim.execution import open_session
from onnxslim.graph import load, to_graphsurgeon

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

RTOL, ATOL = 1e-3, 1e-4
"""OnnxSlim's bounds; this project's own are tighter (`onnxslim.evaluation.Reference`)."""


def gen_onnxruntime_input_data(
    model: onnx.ModelProto, model_check_inputs: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """A feed of random numbers, dynamic axes 1, or of what ``model_check_inputs`` says."""
    return check_feed(load(model), model_check_inputs or [])


def onnxruntime_inference(
    model: onnx.ModelProto, input_data: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], onnx.ModelProto]:
    """Runs the model once; the outputs by name, and the model."""
    return dict(open_session(model).run(dict(input_data))), model


def check_onnx(
    model: onnx.ModelProto, model_check_inputs: Sequence[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any], onnx.ModelProto]:
    """A feed, the outputs on it, and the model."""
    feed = gen_onnxruntime_input_data(model, model_check_inputs)
    outputs, model = onnxruntime_inference(model, feed)
    return feed, outputs, model


def check_result(raw_onnx_output: Mapping[str, Any], slimmed_onnx_output: Mapping[str, Any]) -> bool:
    """Whether two runs agree in names, shapes and values; logs where they do not."""
    if set(raw_onnx_output) != set(slimmed_onnx_output):
        logger.error("the outputs' names differ: %s, %s", sorted(raw_onnx_output), sorted(slimmed_onnx_output))
        return False
    for name, before in raw_onnx_output.items():
        a, b = np.asarray(before), np.asarray(slimmed_onnx_output[name])
        if a.shape != b.shape or not _close(a, b):
            logger.error("output %r differs", name)
            return False
    return True


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype.kind not in "fiubc":
        return bool((a == b).all())
    return bool(np.allclose(a, b, rtol=RTOL, atol=ATOL, equal_nan=True))


def check_point(model: onnx.ModelProto) -> gs.Graph:
    """The model as a graphsurgeon graph. Two graphs are equal where their nodes, inputs and outputs are."""
    return to_graphsurgeon(load(model))


def is_onnxruntime_available() -> bool:
    """Whether onnxruntime can be imported."""
    return importlib.util.find_spec("onnxruntime") is not None


def check_onnx_compatibility() -> None:
    """Does nothing: the package requires versions that go together, and ``onnxslim doctor`` checks them."""


def update_outputs_dims(
    model: onnx.ModelProto, output_dims: Mapping[str, Sequence[int | str] | None]
) -> onnx.ModelProto:
    """Gives outputs these sizes, in place, where the model does not state a number; returns the model.

    Args:
        model: The model.
        output_dims: Sizes by output; None leaves one as it is. ``"?"`` is unknown.

    Raises:
        ValueError: A size is neither a number nor a name.
    """
    for output in model.graph.output:
        dims = output_dims.get(output.name)
        if dims is None:
            continue
        shape = output.type.tensor_type.shape
        while len(shape.dim) < len(dims):
            shape.dim.add()
        for proto, dim in zip(shape.dim, dims, strict=False):
            if proto.HasField("dim_value") or dim == "?" or dim == -1:
                continue
            if isinstance(dim, str):
                proto.dim_param = dim
            elif isinstance(dim, int):
                proto.dim_value = dim
            else:
                raise ValueError(f"a size is a number or a name, not {dim!r} ({output.name})")
    return model
