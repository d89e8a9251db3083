"""PaddlePaddle: what ``paddle.jit.save`` wrote (.json or .pdmodel beside .pdiparams), and layers; by paddle2onnx.

A saved model runs in ``paddle.inference``, which reads no pickles, unlike ``paddle.jit.load``.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import paddle
import paddle.inference

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, last_line, random_example

TRACED = 1 << 30
"""Bytes of inner values that a trace keeps, about."""
PROGRAMS = (".json", ".pdmodel")
WEIGHTS = ".pdiparams"
DTYPES = {
    "FLOAT32": "float32",
    "FLOAT64": "float64",
    "FLOAT16": "float16",
    "INT32": "int32",
    "INT64": "int64",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}


class Program:
    """A saved program in ``paddle.inference``.

    Args:
        path: Of the .json or .pdmodel file.
        weights: Of the .pdiparams file.
    """

    def __init__(self, path: str, weights: str) -> None:
        self.path, self.weights = path, weights
        self._predictor = self._opened()
        self.names: list[str] = self._predictor.get_input_names()

    def _opened(self) -> Any:
        config = paddle.inference.Config(self.path, self.weights)
        config.disable_gpu()
        config.disable_mkldnn()
        config.switch_ir_optim(False)  # no fusions: as near to the definition as can be
        config.disable_glog_info()
        return paddle.inference.create_predictor(config)

    def run(self, feed: Feed, predictor: Any = None) -> list[tuple[str, np.ndarray]]:
        """The outputs by name."""
        predictor = predictor or self._predictor
        for name in self.names:
            handle = predictor.get_input_handle(name)
            handle.reshape(feed[name].shape)
            handle.copy_from_cpu(np.ascontiguousarray(feed[name]))
        predictor.run()
        return [(name, predictor.get_output_handle(name).copy_to_cpu()) for name in predictor.get_output_names()]

    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Of the inputs.

        Raises:
            Refused: numpy has no such type.
        """
        found = {}
        for name in self.names:
            kind = str(self._predictor.get_input_handle(name).type()).rpartition(".")[2]
            if kind not in DTYPES:
                raise Refused(f"input {name!r} is of {kind}, which numpy has not")
            found[name] = np.dtype(DTYPES[kind])
        return found

    def trace(self, feed: Feed) -> list[Operation]:
        """Every operation, with what it wrote last."""
        predictor = self._opened()
        steps: list[Operation] = []
        held = 0

        def note(operation: str, variable: str, tensor: Any) -> None:
            nonlocal held
            array = tensor.copy_to_cpu()
            held += array.nbytes
            if held <= TRACED and array.dtype.kind in "fiub":
                steps.append(Operation(operation.partition(".")[2] or operation, array, value=variable))

        predictor.register_output_hook(note)
        self.run(feed, predictor)
        for place, step in enumerate(steps[:-1]):
            step.users.append(place + 1)  # Paddle tells not who reads what; the order is that of computation
        return steps

    def export(self, options: ExportOptions) -> Exported:
        """By ``paddle2onnx.export``.

        Raises:
            Refused: It failed, as it writes to standard output.
        """
        import paddle2onnx

        if options.exporter not in (None, "paddle2onnx"):
            raise Refused(f"Paddle has no exporter {options.exporter!r}", mend="use paddle2onnx")
        # Its own optimizing tool would install packages into the user's environment.
        more: dict[str, Any] = {"optimize_tool": None, "verbose": False, "auto_upgrade_opset": options.opset is None}
        takes = inspect.signature(paddle2onnx.export).parameters
        more = {name: value for name, value in more.items() if name in takes}
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                paddle2onnx.export(
                    self.path, self.weights, options.path, opset_version=options.opset or OPSET, **more
                )
        except Exception as error:
            lines = [line for line in said.getvalue().splitlines() if "Fail" in line or "rror" in line]
            raise Refused(
                "paddle2onnx failed", why=" ".join((lines[0] if lines else last_line(error)).split())[:600]
            ) from error
        if not os.path.exists(options.path):
            raise Refused("paddle2onnx wrote nothing", why=" ".join(said.getvalue().split())[-300:])
        return Exported(f"paddle2onnx.export {_version()}")


OPSET = 17
"""What is asked for where the user asks for none; paddle2onnx' own default is 7, from which it goes up as needed."""


class SavedPaddleModel:
    """A saved program; see `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        program: In ``paddle.inference``.
        shapes: Sizes of its inputs, where they are known.
    """

    narrows = False

    def __init__(self, program: Program, shapes: Mapping[str, Sequence[int | None]]) -> None:
        self._program, self._shapes = program, shapes
        self.framework = f"PaddlePaddle {paddle.__version__}"
        self.notes: list[str] = []

    def example(self) -> Feed | None:
        """Random inputs of the sizes that are declared; None where the program declares none."""
        dtypes = self._program.dtypes()
        if any(name not in self._shapes for name in self._program.names):
            return None
        return random_example([(name, self._shapes[name], dtypes[name]) for name in self._program.names])

    def export(self, options: ExportOptions) -> Exported:
        """By paddle2onnx; the sizes are the program's own."""
        for name, axes in options.dynamic.items():
            shape = self._shapes.get(name)
            if shape is None:
                known = ", ".join(self._program.names)
                raise Refused(f"there is no input {name!r}", mend=f"use {known}")
            fixed = [axis for axis in axes if axis >= len(shape) or shape[axis] is not None]
            if fixed:
                raise Refused(
                    f"axis {fixed[0]} of input {name!r} is fixed in the saved program",
                    mend="save it with an InputSpec that has None there",
                )
        return self._program.export(options)

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs by name."""
        return self._program.run(feed)

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Every operation."""
        return self._program.trace(feed)


class PaddleLayerModel:
    """A layer with example arguments; see `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        layer: Called in evaluation mode.
        arguments: An array for each of its parameters.
        notes: Of loading.
    """

    narrows = False

    def __init__(self, layer: Any, arguments: dict[str, np.ndarray], notes: list[str]) -> None:
        self._layer, self._arguments, self.notes = layer, arguments, notes
        self.framework = f"PaddlePaddle {paddle.__version__}"
        self._folder = tempfile.mkdtemp(prefix="onnxslim-paddle-")
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def example(self) -> Feed | None:
        """The example arguments."""
        return dict(self._arguments)

    def _saved(self, dynamic: Mapping[str, Mapping[int, str]]) -> Program:
        prefix = os.path.join(self._folder, "layer")
        specs = [
            paddle.static.InputSpec(
                [None if axis in dynamic.get(name, {}) else size for axis, size in enumerate(array.shape)],
                str(array.dtype),
                name,
            )
            for name, array in self._arguments.items()
        ]
        paddle.jit.save(self._layer, prefix, input_spec=specs)
        return _program(prefix)

    def export(self, options: ExportOptions) -> Exported:
        """By ``paddle.jit.save`` and paddle2onnx."""
        unknown = options.dynamic.keys() - self._arguments.keys()
        if unknown:
            raise Refused(f"there is no input {sorted(unknown)[0]!r}", mend="use {}".format(", ".join(self._arguments)))
        return self._saved(options.dynamic).export(options)

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs of the layer itself, in the order of the structure that they are in."""
        with paddle.no_grad():
            found = self._layer(*(paddle.to_tensor(feed[name]) for name in self._arguments))
        return [("", each.numpy()) for each in paddle.utils.flatten(found)]

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Every operation of the program that is made of the layer."""
        return self._saved({}).trace(feed)


def load(request: LoadRequest) -> SavedPaddleModel | PaddleLayerModel:
    """A model of any of Paddle's forms.

    Raises:
        Refused: It is none, or has no example inputs.
    """
    if request.form == "module:object" or request.loaded is not None:
        return _of_layer(request)
    prefix = _prefix(request.source)
    program = _program(prefix)
    return SavedPaddleModel(program, _shapes(prefix))


def _of_layer(request: LoadRequest) -> PaddleLayerModel:
    layer, given = request.loaded, request.arguments
    if not isinstance(layer, paddle.nn.Layer):
        raise Refused(f"it is a {type(layer).__name__}, not a paddle.nn.Layer")
    notes = []
    if layer.training:
        notes.append("the layer was in training mode: it is exported and compared in evaluation mode")
        layer.eval()
    names = list(inspect.signature(layer.forward).parameters)
    if isinstance(given, Mapping):
        arguments = {str(name): np.asarray(each) for name, each in given.items()}
    elif given is not None:
        values = list(given) if isinstance(given, (tuple, list)) else [given]
        if len(names) < len(values) or any(name in ("args", "kwargs", "inputs") for name in names[: len(values)]):
            names = [f"input_{place}" for place in range(len(values))]
        arguments = {name: np.asarray(each) for name, each in zip(names, values, strict=False)}
    elif request.example:
        arguments = by_name(request.example, names)
    else:
        raise Refused(
            "Paddle needs example inputs to export a layer",
            mend="give --samples, or a function that returns (layer, example inputs)",
        )
    return PaddleLayerModel(layer, arguments, notes)


def _prefix(source: str) -> str:
    """The path of a saved program without its suffixes.

    Raises:
        Refused: A folder holds several programs.
    """
    if os.path.isdir(source):
        found = sorted(each for each in os.listdir(source) if each.endswith(WEIGHTS))
        if len(found) != 1:
            raise Refused(
                f"the folder holds {len(found)} files {WEIGHTS}", why=", ".join(found), mend="name one of them"
            )
        source = os.path.join(source, found[0])
    return os.path.splitext(source)[0]


def _program(prefix: str) -> Program:
    path = next((prefix + suffix for suffix in PROGRAMS if os.path.exists(prefix + suffix)), None)
    if path is None:
        raise Refused("the program is missing", why="neither {} is there".format(" nor ".join(PROGRAMS)))
    weights = prefix + WEIGHTS
    if not os.path.exists(weights):
        raise Refused("the weights are missing", why=f"there is no {os.path.basename(weights)}")
    return Program(path, weights)


def _shapes(prefix: str) -> dict[str, list[int | None]]:
    """The sizes that a program declares of its inputs."""
    with _static():
        executor = paddle.static.Executor(paddle.CPUPlace())
        old = os.path.exists(prefix + ".pdmodel") and not os.path.exists(prefix + ".json")
        with paddle.pir_utils.OldIrGuard() if old else contextlib.nullcontext():
            program, names, _ = paddle.static.load_inference_model(prefix, executor)
        if old:
            found = {name: program.global_block().var(name).shape for name in names}
        else:
            feeds = [each for each in program.global_block().ops if each.name() in ("pd_op.data", "pd_op.feed")]
            found = {each.attrs()["name"]: each.results()[0].shape for each in feeds}
    return {name: [None if size < 0 else int(size) for size in shape] for name, shape in found.items()}


@contextlib.contextmanager
def _static() -> Iterator[None]:
    dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        yield
    finally:
        if dynamic:
            paddle.disable_static()


def _version() -> str:
    from importlib.metadata import version

    return version("paddle2onnx")
