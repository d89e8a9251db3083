"""PaddlePaddle: what ``paddle.jit.save`` wrote (.json or .pdmodel beside .pdiparams), and layers; by paddle2onnx.

A saved model runs in ``paddle.inference``, which reads no pickles, unlike ``paddle.jit.load``.
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, random_example
from .paddle_programs import WEIGHTS, Program, declared_shapes, opened_program


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
        return opened_program(prefix)

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
    program = opened_program(prefix)
    return SavedPaddleModel(program, declared_shapes(prefix))


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
