"""A function of TensorFlow by tf2onnx: what Keras models and SavedModels come down to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its kernels reorder sums from run to run

import numpy as np
import tensorflow as tf
import tf2onnx

from .base import Exported, ExportOptions, Feed, Operation, Refused, by_name, last_line

BATCH = 2
"""Size of a first axis that nobody fixes, in inputs that are made up."""


class TensorFlowModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        function: Called with a tensor for each input; answers tensors in any nest.
        signature: Of the inputs, named.
        framework: Name and version.
        known: Arrays of a sample; a name may be a place.
        notes: Of loading.
        words: How many words an integer input may name.
    """

    narrows = False

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Sequence[Any],
        framework: str,
        known: Feed,
        notes: list[str],
        words: int = 2,
    ) -> None:
        self.function, self.signature, self.framework, self.notes = function, list(signature), framework, notes
        self.names = [each.name for each in self.signature]
        self._known, self._words = by_name(known, self.names), words

    def example(self) -> Feed | None:
        """A sample, or random inputs where only the batch is free."""
        if self._known:
            return self._known
        generator, found = np.random.default_rng(0), {}
        for each in self.signature:
            sizes = [BATCH if axis == 0 and size is None else size for axis, size in enumerate(each.shape)]
            if None in sizes:
                raise Refused(
                    f"the size of axis {sizes.index(None)} of input {each.name!r} is not known", mend="give --samples"
                )
            whole = each.dtype.is_integer
            array = generator.integers(self._words, size=sizes) if whole else generator.normal(size=sizes)
            found[each.name] = np.asarray(array).astype(each.dtype.as_numpy_dtype)
        return found

    def export(self, options: ExportOptions) -> Exported:
        """By tf2onnx; axes without a size stay so."""
        unknown = options.dynamic.keys() - set(self.names)
        if unknown:
            raise Refused(f"there is no input {sorted(unknown)[0]!r}", mend="use " + ", ".join(self.names))
        signature = [
            tf.TensorSpec(
                [None if axis in options.dynamic.get(each.name, {}) else size for axis, size in enumerate(each.shape)],
                each.dtype,
                each.name,
            )
            for each in self.signature
        ]
        try:
            made, external = tf2onnx.convert.from_function(
                tf.function(self.function), input_signature=signature, opset=options.opset
            )
        except Exception as error:
            raise Refused("tf2onnx cannot convert the model", why=last_line(error)) from error
        if external:
            raise Refused("the model takes more than one file", why="tf2onnx would write its weights beside it")
        with open(options.path, "wb") as file:
            file.write(made.SerializeToString())
        return Exported(f"tf2onnx {tf2onnx.__version__}")

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The tensors among the outputs, in the order of their nest."""
        given = [tf.constant(np.asarray(feed[each.name]), dtype=each.dtype) for each in self.signature]
        return [("", np.asarray(each)) for each in tf.nest.flatten(self.function(*given))]

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Nothing: a traced function does not show its steps."""
        return None


def valid(name: str) -> str:
    """A name that a tensor of TensorFlow may have."""
    return "".join(each if each.isalnum() or each in "._-" else "_" for each in name.partition(":")[0]) or "input"
