"""Keras: .keras and .h5 files, and models that Python imports; by ``model.export(format="onnx")``, or by tf2onnx.

Keras 3 exports on its TensorFlow backend by way of tf2onnx, on JAX by jax2onnx and on PyTorch by ``torch.onnx``; so its
own exporter is taken first. tf2onnx itself is the way for Keras 2, and the second one on TensorFlow.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, last_line, random_example

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its kernels sum in another order than the plain ones

KERAS, TF2ONNX = "keras", "tf2onnx"
CALLS = ("predict", "predict_on_batch", "evaluate", "test_on_batch")
TRUST = "give --trust-code if you trust who made it"


class KerasModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        model: A ``keras.Model`` of Keras 2 or 3.
        keras: The package that it is of.
        arguments: Example arrays in the structure that the model is called with; None where it knows its inputs.
    """

    narrows = False

    def __init__(self, model: Any, keras: Any, arguments: Any) -> None:
        self.model, self.keras = model, keras
        self.notes: list[str] = []
        self.new = int(keras.__version__.partition(".")[0]) >= 3
        self.backend = keras.backend.backend()
        self.framework = f"Keras {keras.__version__} ({self.backend})"
        self._given = arguments
        if known := getattr(model, "inputs", None):
            self.names = [_plain(each.name) for each in known]
            self._shapes = [tuple(each.shape) for each in known]
            self._dtypes = [np.dtype(getattr(each.dtype, "name", each.dtype)) for each in known]
            struct = model.input if hasattr(type(model), "input") and len(known) > 1 else known[0]
            self._structure: Any = [struct]
        else:
            if arguments is None:
                raise Refused(
                    "the model does not know its inputs",
                    why="it is a subclass of Model that was never called",
                    mend="give --samples, or a function that returns (model, example inputs)",
                )
            self._structure = list(arguments) if isinstance(arguments, (tuple, list)) else [arguments]
            leaves = [np.asarray(each) for each in self._flatten(self._structure)]
            self.names = [f"input_{place}" for place, _ in enumerate(leaves)]
            if isinstance(arguments, dict):
                self.names = [_plain(name) for name in sorted(arguments)]
            self._shapes = [(None, *each.shape[1:]) for each in leaves]  # axis 0 is the batch: the rule of Keras
            self._dtypes = [each.dtype for each in leaves]
            self._call(dict(zip(self.names, leaves, strict=True)))
        self.stateful()

    def stateful(self) -> None:
        """Looks for layers that keep a state.

        Raises:
            Refused: There is one, which an ONNX file cannot keep.
        """
        for layer in _layers(self.model):
            if getattr(layer, "stateful", False):
                raise Refused(
                    f"layer {layer.name!r} keeps its state from one call to the next, which an ONNX file does not",
                    mend="build it with stateful=False, or make the state an input and an output",
                )

    # -- structures ------------------------------------------------------------------------------------------------

    def _flatten(self, structure: Any) -> list[Any]:
        tree = self.keras.tree if self.new else importlib.import_module("tensorflow").nest
        found: list[Any] = tree.flatten(structure)
        return found

    def _packed(self, leaves: Sequence[Any]) -> Any:
        tree = self.keras.tree if self.new else importlib.import_module("tensorflow").nest
        return tree.pack_sequence_as(self._structure, list(leaves))

    def _call(self, feed: Feed) -> Any:
        tensor = self.keras.ops.convert_to_tensor if self.new else importlib.import_module("tensorflow").constant
        leaves = [
            tensor(feed[name].astype(dtype, copy=False)) for name, dtype in zip(self.names, self._dtypes, strict=True)
        ]
        return self.model(*self._packed(leaves), training=False)

    # -- the model -------------------------------------------------------------------------------------------------

    def example(self) -> Feed | None:
        """The example arguments, else random inputs of the sizes that the model declares."""
        if self._given is not None:
            given = self._given
            if isinstance(given, dict) and set(given) == set(self.names):
                return {name: np.asarray(given[name]) for name in self.names}
            leaves = self._flatten(list(given) if isinstance(given, (tuple, list)) else [given])
            return {
                name: np.asarray(leaf, dtype)
                for name, leaf, dtype in zip(self.names, leaves, self._dtypes, strict=True)
            }
        return random_example(list(zip(self.names, self._shapes, self._dtypes, strict=True)))

    def export(self, options: ExportOptions) -> Exported:
        """By Keras itself; where that fails on TensorFlow, by tf2onnx."""
        ways = [KERAS, TF2ONNX] if self.new and self.backend == "tensorflow" else [KERAS] if self.new else [TF2ONNX]
        if options.exporter not in (None, *ways):
            raise Refused(
                f"{self.framework} has no exporter {options.exporter!r}", mend="use {}".format(" or ".join(ways))
            )
        ways = [options.exporter] if options.exporter else ways
        unknown = options.dynamic.keys() - set(self.names)
        if unknown:
            raise Refused(f"there is no input {sorted(unknown)[0]!r}", mend="use {}".format(", ".join(self.names)))
        failed: list[str] = []
        for way in ways:
            try:
                made = self._by_keras(options) if way == KERAS else self._by_tf2onnx(options)
            except (Refused, ModuleNotFoundError):
                raise
            except Exception as error:
                failed.append(f"the exporter {way} failed: {last_line(error)}")
                if way == ways[-1]:
                    raise Refused("Keras cannot export the model", why="; ".join(failed)) from error
            else:
                made.notes += failed
                return made
        raise AssertionError("one of the ways returned or raised")

    def _by_keras(self, options: ExportOptions) -> Exported:
        shapes = self._export_shapes(options)
        if getattr(self.model, "inputs", None):
            # Keras exports only what was called once; a symbolic call needs no sizes.
            self.model(
                *self._packed(
                    [
                        self.keras.Input(batch_shape=shape, dtype=dtype.name)
                        for shape, dtype in zip(self._shapes, self._dtypes, strict=True)
                    ]
                ),
                training=False,
            )
        specs = [
            self.keras.InputSpec(shape=shape, dtype=dtype.name, name=name)
            for name, shape, dtype in zip(self.names, shapes, self._dtypes, strict=True)
        ]
        with _refusing(self.backend):
            self.model.export(
                options.path,
                format="onnx",
                verbose=False,
                input_signature=self._packed(specs),
                opset_version=options.opset,
            )
        return Exported(f"keras.Model.export {self.keras.__version__}")

    def _by_tf2onnx(self, options: ExportOptions) -> Exported:
        made: Exported = self._function(self._export_shapes(options)).export(options)
        return made

    def _function(self, shapes: Sequence[Sequence[int | None]]) -> Any:
        import tensorflow as tf

        from .tf_functions import TensorFunction

        return TensorFunction(
            lambda *leaves: self.model(*self._packed(leaves), training=False),
            [
                tf.TensorSpec(shape, dtype, name=name)
                for name, shape, dtype in zip(self.names, shapes, self._dtypes, strict=True)
            ],
        )

    def _export_shapes(self, options: ExportOptions) -> list[tuple[int | None, ...]]:
        return [
            tuple(None if axis in options.dynamic.get(name, {}) else size for axis, size in enumerate(shape))
            for name, shape in zip(self.names, self._shapes, strict=True)
        ]

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs of a call that is no training, in the order of Keras' trees."""
        found = self._call(feed)
        if isinstance(found, dict) and not any(isinstance(each, (dict, list, tuple)) for each in found.values()):
            return [(str(name), self._array(found[name])) for name in sorted(found)]
        return [("", self._array(each)) for each in self._flatten(found)]

    def _array(self, tensor: Any) -> np.ndarray:
        return np.asarray(self.keras.ops.convert_to_numpy(tensor) if self.new else tensor)

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Every operation of TensorFlow's graph; other backends do not let us look."""
        if self.backend != "tensorflow":
            return None
        steps: list[Operation] = self._function(self._shapes).trace(feed)
        return steps


def load(request: LoadRequest) -> KerasModel:
    """A Keras model of any of its forms.

    Raises:
        Refused: It is none, needs code that was not trusted, or has no inputs.
    """
    if request.form == "module:object" or request.loaded is not None:
        model = request.loaded
        library = next((each for each in ("tf_keras", "keras") if each in _libraries(model)), None)
        if library is None:
            raise Refused(f"it is a {type(model).__name__}, not a keras.Model")
        keras = importlib.import_module(library)
    else:
        keras = _installed()
        try:
            model = keras.models.load_model(request.source, compile=False, safe_mode=not request.trust_code)
        except Exception as error:
            text = last_line(error)
            unsafe = "safe_mode" in text or "lambda" in text.lower()
            raise Refused(
                "the file brings code of its own"
                if unsafe and not request.trust_code
                else "Keras cannot load the file",
                why=text,
                mend=TRUST
                if unsafe and not request.trust_code
                else "if it has classes of your own, name a module:function that returns the model",
            ) from error
    arguments = request.arguments
    if arguments is None and request.example:
        names = [_plain(each.name) for each in getattr(model, "inputs", None) or ()]
        arguments = by_name(request.example, names) if names else list(request.example.values())
    return KerasModel(model, keras, arguments)


def _installed() -> Any:
    keras = importlib.import_module("keras")
    if int(keras.__version__.partition(".")[0]) < 3:
        keras = importlib.import_module("tensorflow").keras
    return keras


def _libraries(model: object) -> set[str]:
    return {each.__module__.partition(".")[0] for each in type(model).__mro__}


def _plain(name: str) -> str:
    """The name of a tensor without its place among its operation's outputs, as TensorFlow allows it."""
    return "".join(each if each.isalnum() or each in "._-" else "_" for each in name.partition(":")[0]) or "input"


@contextlib.contextmanager
def recording(model: Any, take: Callable[[dict[str, np.ndarray]], None]) -> Iterator[None]:
    """Hands over the arrays that ``predict`` and ``evaluate`` are given."""
    names = [_plain(each.name) for each in model.inputs]

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            several = list(x.values()) if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else [x]
            take({name: np.asarray(each) for name, each in zip(names, several, strict=True)})
            return method(x, *args, **kwargs)

        return call

    with contextlib.ExitStack() as stack:
        for name in CALLS:
            setattr(model, name, wrapped(getattr(model, name)))
            stack.callback(delattr, model, name)
        yield


def _layers(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def _refusing(backend: str) -> Any:
    if backend == "tensorflow":
        from .tf_functions import unsupported_refused

        return unsupported_refused()
    return contextlib.nullcontext()
