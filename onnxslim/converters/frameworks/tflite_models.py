"""TensorFlow Lite: a .tflite file by tf2onnx, beside TensorFlow's own interpreter."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tf2onnx

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, last_line


class LiteModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        path: Of the file.
        known: Arrays of a sample.
    """

    narrows = False

    def __init__(self, path: str, known: Feed) -> None:
        self.path = path
        # The plain kernels: delegates compute in another order, or in another precision.
        plain = tf.lite.experimental.OpResolverType.BUILTIN_REF
        self.interpreter = tf.lite.Interpreter(path, experimental_op_resolver_type=plain)
        self.framework = f"TensorFlow Lite {tf.__version__}"
        self.inputs: list[Any] = self.interpreter.get_input_details()
        self.names = [each["name"] for each in self.inputs]
        quantized = [each["name"] for each in self.interpreter.get_tensor_details() if each["quantization"][0]]
        self.notes = (
            ["the model is quantized: roundings of its runtime and of onnxruntime may differ"] if quantized else []
        )
        self._known = by_name(known, self.names)

    def example(self) -> Feed | None:
        """A sample, or random inputs of the sizes that the file has."""
        if self._known:
            return self._known
        generator, found = np.random.default_rng(0), {}
        for each in self.inputs:
            dtype, shape = np.dtype(each["dtype"]), tuple(int(size) for size in each["shape"])
            if dtype.kind == "f":
                found[each["name"]] = generator.normal(size=shape).astype(dtype)
            else:
                info = np.iinfo(dtype) if dtype.itemsize == 1 else np.iinfo(np.int8)
                low = max(0, info.min) if dtype.itemsize > 1 else info.min
                found[each["name"]] = generator.integers(low, info.max, size=shape).astype(dtype)
        return found

    def export(self, options: ExportOptions) -> Exported:
        """By tf2onnx; the sizes are those of the file."""
        if options.dynamic:
            raise Refused("the sizes of a .tflite file are fixed", mend="leave --dynamic out")
        try:
            made, external = tf2onnx.convert.from_tflite(self.path, opset=options.opset)
        except Exception as error:
            raise Refused("tf2onnx cannot convert the model", why=last_line(error)) from error
        if external:
            raise Refused("the model takes more than one file", why="tf2onnx would write its weights beside it")
        given = [each.name for each in made.graph.input]
        if len(given) != len(self.names):
            raise Refused(f"the file takes {len(self.names)} inputs, and tf2onnx made {len(given)}")
        self.names = given
        self._known = dict(zip(given, self._known.values(), strict=True)) if self._known else {}
        for each, name in zip(self.inputs, given, strict=True):
            each["name"] = name
        with open(options.path, "wb") as file:
            file.write(made.SerializeToString())
        return Exported(f"tf2onnx {tf2onnx.__version__}")

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs in the order of the file."""
        for each in self.inputs:
            self.interpreter.resize_tensor_input(each["index"], np.asarray(feed[each["name"]]).shape)
        self.interpreter.allocate_tensors()
        for each in self.inputs:
            self.interpreter.set_tensor(each["index"], np.asarray(feed[each["name"]], each["dtype"]))
        self.interpreter.invoke()
        outputs = self.interpreter.get_output_details()
        return [(each["name"], self.interpreter.get_tensor(each["index"])) for each in outputs]

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Nothing: the interpreter forgets inner values."""
        return None


def load(request: LoadRequest) -> LiteModel:
    """A .tflite file."""
    return LiteModel(request.source, request.example)
