"""A function of TensorFlow tensors: its export by tf2onnx, and every operation of its graph."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its kernels sum in another order than the plain ones

import numpy as np
import tensorflow as tf
import tf2onnx

from .base import Exported, ExportOptions, Feed, Operation, Refused

TRACED = 1 << 30
"""Bytes of inner values that a trace keeps, about."""
UNSEEN = frozenset({"Const", "Placeholder", "Identity", "IdentityN", "NoOp", "StopGradient"})
"""Types of operations that compute nothing."""


class TensorFunction:
    """What tf2onnx takes, with its inputs in order.

    Args:
        call: Takes a tensor for each input, and returns tensors in any structure.
        specs: A ``tf.TensorSpec`` with a name for each input.
    """

    def __init__(self, call: Callable[..., Any], specs: Sequence[Any]) -> None:
        self.call, self.specs = call, list(specs)
        self.names = [spec.name for spec in self.specs]

    def tensors(self, feed: Feed) -> list[Any]:
        """The arrays of a feed as tensors, in the order of the inputs."""
        return [tf.constant(feed[spec.name], dtype=spec.dtype) for spec in self.specs]

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs, in the order in which TensorFlow flattens their structure."""
        return flat_outputs(self.call(*self.tensors(feed)))

    def export(self, options: ExportOptions) -> Exported:
        """By ``tf2onnx.convert.from_function``; where that would make inputs of constants, from the frozen graph.

        Raises:
            Refused: An operator has no counterpart.
        """
        function = tf.function(self.call, autograph=False)
        concrete = function.get_concrete_function(*self.specs)
        more: dict[str, Any] = {"opset": options.opset, "output_path": options.path}
        if all(each.dtype == tf.resource for each in concrete.captured_inputs):
            with unsupported_refused():
                tf2onnx.convert.from_function(function, input_signature=self.specs, **more)
            return Exported(f"tf2onnx.convert.from_function {tf2onnx.__version__}")
        frozen = _frozen(concrete)
        more["input_names"] = [each.name for each in frozen.inputs]
        more["output_names"] = [each.name for each in frozen.outputs]
        more["tensors_to_rename"] = dict(zip(more["input_names"], self.names, strict=True))
        with unsupported_refused():
            tf2onnx.convert.from_graph_def(frozen.graph.as_graph_def(), **more)
        return Exported(f"tf2onnx.convert.from_graph_def {tf2onnx.__version__}")

    def trace(self, feed: Feed) -> list[Operation]:
        """Every operation of the graph with its variables frozen, which is what tf2onnx converts."""
        frozen = _frozen(tf.function(self.call, autograph=False).get_concrete_function(*self.specs))
        seen = [
            each
            for each in ordered(frozen.graph.get_operations())
            if each.type not in UNSEEN and each.outputs and each.outputs[0].dtype.is_numpy_compatible
        ]
        fetched = frozen.prune([each.name for each in frozen.inputs], [each.outputs[0].name for each in seen])
        steps: list[Operation] = []
        places: dict[str, int] = {}
        held = 0
        for operation, value in zip(seen, fetched(*self.tensors(feed)), strict=True):
            array = value.numpy()
            held += array.nbytes
            if held > TRACED or array.dtype.kind not in "fiub":
                continue
            places[operation.name] = len(steps)
            steps.append(Operation(f"{operation.type} {operation.name}", array, value=operation.outputs[0].name))
        for operation in seen:
            if operation.name in places:
                steps[places[operation.name]].users = sorted(set(_users(operation, places)))
        return steps


def _frozen(concrete: Any) -> Any:
    """The same function with its variables as constants, as tf2onnx freezes it too."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)


def _users(operation: Any, places: dict[str, int]) -> Iterator[int]:
    """Places of the operations that read an output, also by way of such that compute nothing."""
    for output in operation.outputs:
        for user in output.consumers():
            if user.name in places:
                yield places[user.name]
            else:
                yield from _users(user, places)


def ordered(operations: Sequence[Any]) -> list[Any]:
    """Operations with each behind those whose outputs it reads."""
    found: dict[str, Any] = {}
    for operation in operations:
        waiting = [operation]
        while waiting:
            each = waiting[-1]
            before = [value.op for value in each.inputs if value.op.name not in found]
            if before:
                waiting += before
            else:
                found[waiting.pop().name] = each
    return list(found.values())


def flat_outputs(structure: Any) -> list[tuple[str, np.ndarray]]:
    """Tensors in the order in which TensorFlow flattens a structure; by name where it is a dictionary."""
    if isinstance(structure, dict) and not any(tf.nest.is_nested(each) for each in structure.values()):
        return [(str(name), np.asarray(structure[name])) for name in sorted(structure)]
    return [("", np.asarray(each)) for each in tf.nest.flatten(structure)]


@contextlib.contextmanager
def unsupported_refused() -> Iterator[None]:
    """Refuses what tf2onnx writes a file for all the same: a graph with operators that it does not know.

    Raises:
        Refused: It named some.
    """
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener, logger = Listener(logging.ERROR), logging.getLogger("tf2onnx")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
    unknown = [text for text in said if text.startswith("Unsupported ops")]
    if unknown:
        raise Refused(
            "tf2onnx has no counterpart of an operator",
            why="; ".join(dict.fromkeys(said))[:600],
            mend="build the model without it, or run Keras on another backend (KERAS_BACKEND=jax with jax2onnx)",
        )
