"""Keras: a model by tf2onnx, and layer by layer where it is looked into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from . import tf_functions
from .base import Feed, LoadRequest, Operation, Refused, last_line
from .tf_functions import TensorFlowModel, valid

import keras  # isort: skip - behind the settings of TensorFlow
import tensorflow as tf  # isort: skip

CALLS = ("predict", "predict_on_batch", "evaluate", "test_on_batch")


class KerasModel(TensorFlowModel):
    """A Keras model, called for inference."""

    def __init__(self, model: Any, known: Feed, notes: list[str]) -> None:
        if not getattr(model, "built", True) or not getattr(model, "inputs", None):
            if not known:
                raise Refused("the model has no inputs yet", mend="call it once, or give --samples")
            model(next(iter(known.values())), training=False)
        self.model = model
        inputs = list(getattr(model, "inputs", None) or [])
        if not inputs:
            raise Refused("a subclassed model has no inputs to go by", mend="build it with keras.Input")
        names = [valid(each.name) for each in inputs]
        signature = [tf.TensorSpec(each.shape, each.dtype, name) for each, name in zip(inputs, names, strict=True)]
        words = [int(each.input_dim) for each in _layers(model) if type(each).__name__ == "Embedding"]
        super().__init__(self._infer, signature, f"Keras {keras.__version__}", known, notes, min(words, default=2))

    def _infer(self, *given: Any) -> Any:
        nest = getattr(self.model, "_inputs_struct", None)
        if isinstance(nest, dict):
            return self.model(dict(zip(nest, given, strict=True)), training=False)
        several = len(given) > 1 or isinstance(nest, list | tuple)
        return self.model(list(given) if several else given[0], training=False)

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Layer by layer of a functional or sequential model."""
        layers = [each for each in self.model.layers if type(each).__name__ != "InputLayer"]
        try:
            outputs = [each.output for each in layers]
        except AttributeError:
            return None
        if any(isinstance(each, list | tuple | dict) for each in outputs):
            return None
        given = [tf.constant(feed[each.name], dtype=each.dtype) for each in self.signature]
        inner = keras.Model(self.model.inputs, outputs)
        found = tf.nest.flatten(inner(given if len(given) > 1 else given[0], training=False))
        places = {id(output): place for place, output in enumerate(outputs)}
        steps = [
            Operation(f"{type(each).__name__} {each.name!r}", np.asarray(value))
            for each, value in zip(layers, found, strict=True)
        ]
        for place, layer in enumerate(layers):
            for value in tf.nest.flatten(layer.input):
                if id(value) in places:
                    steps[places[id(value)]].users.append(place)
        return steps


def load(request: LoadRequest) -> KerasModel:
    """A model from a .keras or .h5 file, or an object.

    Raises:
        Refused: It is none, or brings code that nobody trusts.
    """
    if request.form == "module:object":
        found, given = request.loaded, request.arguments
        if not isinstance(found, keras.Model):
            raise Refused(f"it is a {type(found).__name__}, not a keras.Model")
        example = dict(request.example)
        if given is not None:
            several = given if isinstance(given, list | tuple) else [given]
            example = given if isinstance(given, dict) else {str(i): np.asarray(each) for i, each in enumerate(several)}
        return KerasModel(found, example, [])
    try:
        found = keras.saving.load_model(request.source, compile=False, safe_mode=not request.trust_code)
    except ValueError as error:
        if "safe_mode" in str(error) or "unsafe" in str(error).lower():
            raise Refused(
                "the file brings Python code, in a Lambda layer say",
                why=last_line(error),
                mend="give --trust-code if you trust who made it",
            ) from error
        raise
    return KerasModel(found, request.example, [])


@contextmanager
def recording(model: Any, take: Callable[[dict[str, np.ndarray]], None]) -> Iterator[None]:
    """Hands over the arrays that ``predict`` and ``evaluate`` are given."""
    names = [valid(each.name) for each in model.inputs]

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            several = list(x.values()) if isinstance(x, dict) else x if isinstance(x, list | tuple) else [x]
            take({name: np.asarray(each) for name, each in zip(names, several, strict=True)})
            return method(x, *args, **kwargs)

        return call

    with ExitStack() as stack:
        for name in CALLS:
            setattr(model, name, wrapped(getattr(model, name)))
            stack.callback(delattr, model, name)
        yield


def _layers(model: Any) -> Iterator[Any]:
    for each in getattr(model, "layers", ()):
        yield each
        yield from _layers(each)


__all__ = ["KerasModel", "load", "recording", "tf_functions"]
