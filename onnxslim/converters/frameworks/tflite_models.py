"""TensorFlow Lite: .tflite files; by tf2onnx, against the interpreter of LiteRT or TensorFlow.

A quantized file computes in whole numbers, where kernels round in ways of their own: by TensorFlow Lite's kernels for
one processor and for another the outputs differ. So `TFLiteModel.rounding` tells by how much its own kernels differ.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, random_example


class TFLiteModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        path: Of the file.
    """

    narrows = False

    def __init__(self, path: str) -> None:
        self._path = path
        self._lite, self.framework = _interpreters()
        self.notes: list[str] = []
        self._plain = self._lite.Interpreter(
            model_path=path,
            experimental_op_resolver_type=self._resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._own: list[Any] = [self._plain]
        for kind in (self._resolvers.AUTO, self._resolvers.BUILTIN_REF):
            # A delegate takes not every file, which is no fault of it.
            with contextlib.suppress(RuntimeError, ValueError):
                made = self._lite.Interpreter(model_path=path, experimental_op_resolver_type=kind)
                made.allocate_tensors()
                self._own.append(made)
        self._plain.allocate_tensors()
        details = self._plain.get_tensor_details()
        self.quantized = any(len(each["quantization_parameters"]["scales"]) for each in details)
        moving = {place for each in self._operations() for place in each["outputs"]}
        self._integer = any(_scale(each) and each["index"] in moving for each in details)
        if self.quantized and not self._integer:
            self.notes.append(
                "its weights are quantized, and TensorFlow Lite may round what it computes with them; the file does not"
            )

    @property
    def _resolvers(self) -> Any:
        return (
            self._lite.experimental.OpResolverType if hasattr(self._lite, "experimental") else self._lite.OpResolverType
        )

    def _operations(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._plain._get_ops_details()
        return found

    def example(self) -> Feed | None:
        """Random inputs of the sizes that the file declares."""
        return random_example(
            [
                (
                    each["name"],
                    tuple(None if size < 0 else int(size) for size in _signature(each)),
                    np.dtype(each["dtype"]),
                )
                for each in self._plain.get_input_details()
            ]
        )

    def export(self, options: ExportOptions) -> Exported:
        """By ``tf2onnx.convert.from_tflite``."""
        if options.exporter not in (None, "tf2onnx"):
            raise Refused(f"TensorFlow Lite has no exporter {options.exporter!r}", mend="use tf2onnx")
        for name, axes in options.dynamic.items():
            known = {each["name"]: each for each in self._plain.get_input_details()}
            if name not in known:
                raise Refused(f"there is no input {name!r}", mend="use {}".format(", ".join(known)))
            fixed = [
                axis for axis in axes if axis >= len(_signature(known[name])) or _signature(known[name])[axis] >= 0
            ]
            if fixed:
                raise Refused(
                    f"axis {fixed[0]} of input {name!r} is fixed in the .tflite file",
                    mend="convert the model that the file was made of",
                )
        import tf2onnx

        from .tf_functions import unsupported_refused

        with unsupported_refused():
            tf2onnx.convert.from_tflite(self._path, opset=options.opset, output_path=options.path)
        return Exported(f"tf2onnx.convert.from_tflite {tf2onnx.__version__}")

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs of the kernels that need no delegate."""
        return self._run(self._plain, feed)

    def _run(self, interpreter: Any, feed: Feed) -> list[tuple[str, np.ndarray]]:
        for each in interpreter.get_input_details():
            if tuple(each["shape"]) != feed[each["name"]].shape:
                interpreter.resize_tensor_input(each["index"], feed[each["name"]].shape, strict=True)
        interpreter.allocate_tensors()
        for each in interpreter.get_input_details():
            interpreter.set_tensor(each["index"], feed[each["name"]])
        interpreter.invoke()
        return [
            (each["name"], np.array(interpreter.get_tensor(each["index"]))) for each in interpreter.get_output_details()
        ]

    def rounding(self, feed: Feed) -> list[float] | None:
        """By how much each output may differ by its rounding: what its own kernels differ by, or one step.

        Returns:
            None where the file computes in floats.
        """
        if not self._integer:
            return None
        outputs = []
        for interpreter in self._own:
            with contextlib.suppress(RuntimeError, ValueError):  # a delegate does not take every size either
                outputs.append([array.astype(np.float64) for _, array in self._run(interpreter, feed)])
        found = []
        for place, detail in enumerate(self._plain.get_output_details()):
            values = [each[place] for each in outputs]
            whole = np.dtype(detail["dtype"]).kind in "iu"
            step = 1.0 if whole else self._step(detail["index"])
            own = max(float(np.abs(one - values[0]).max(initial=0.0)) for one in values)
            found.append(max(own, step))  # one step, for that kernels agree on a few inputs may be chance
        return found

    def _step(self, index: int) -> float:
        """The scale of the whole numbers that an output of floats was made of."""
        details = {each["index"]: each for each in self._plain.get_tensor_details()}
        for operation in self._operations():
            if index in operation["outputs"] and operation["op_name"] == "DEQUANTIZE":
                return _scale(details[operation["inputs"][0]])
        return 0.0

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Every operation; whole numbers by the floats that they stand for."""
        self._run(self._plain, feed)
        details = {each["index"]: each for each in self._plain.get_tensor_details()}
        operations = [each for each in self._operations() if len(each["outputs"])]
        readers: dict[int, list[int]] = {}
        for place, operation in enumerate(operations):
            for index in operation["inputs"]:
                readers.setdefault(int(index), []).append(place)
        steps = []
        for operation in operations:
            index = int(operation["outputs"][0])
            detail = details[index]
            value = np.array(self._plain.get_tensor(index))
            if scale := _scale(detail):
                zeros = detail["quantization_parameters"]["zero_points"]
                value = ((value.astype(np.float64) - zeros[0]) * scale).astype(np.float32)
            name = f"{operation['op_name']} {detail['name'].partition(';')[0]}"
            steps.append(Operation(name, value, readers.get(index, []), detail["name"]))
        return steps


def load(request: LoadRequest) -> TFLiteModel:
    """A .tflite file.

    Raises:
        Refused: It is none, or needs operators that the interpreter does not have.
    """
    if request.form == "module:object":
        raise Refused("a .tflite model comes as a file", mend="name the file")
    try:
        return TFLiteModel(request.source)
    except (ValueError, RuntimeError) as error:
        raise Refused("TensorFlow Lite cannot load the file", why=" ".join(str(error).split())[:600]) from error


def _interpreters() -> tuple[Any, str]:
    """The module that has the interpreter, and what it is called."""
    try:
        from importlib.metadata import version

        from ai_edge_litert import interpreter
    except ModuleNotFoundError:
        import tensorflow as tf

        warnings.simplefilter("ignore")
        return tf.lite, f"TensorFlow Lite of TensorFlow {tf.__version__}"
    return interpreter, "LiteRT {}".format(version("ai-edge-litert"))


def _signature(detail: dict[str, Any]) -> Any:
    return detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]


def _scale(detail: dict[str, Any]) -> float:
    """The scale of a tensor that has one for all its elements; 0 where it has none."""
    scales = detail["quantization_parameters"]["scales"]
    return float(scales[0]) if len(scales) == 1 and np.dtype(detail["dtype"]).kind in "iu" else 0.0
