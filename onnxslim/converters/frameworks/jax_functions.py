"""JAX: a function of arrays, or a Flax module, with example inputs; by jax2onnx."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax2onnx
import numpy as np

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, last_line

NEWEST = 20
"""The opset that is asked for where nobody names one: runtimes on devices are older than jax2onnx's own."""


class JaxFunction:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        function: Called with an array for each input.
        given: Example arguments.
    """

    narrows = False
    notes: list[str]

    def __init__(self, function: Any, given: dict[str, np.ndarray]) -> None:
        self.function, self.given, self.notes = function, given, []
        self.framework = f"JAX {jax.__version__}"

    def example(self) -> Feed | None:
        """The example arguments."""
        return dict(self.given)

    def export(self, options: ExportOptions) -> Exported:
        """By jax2onnx; axes that may change are symbols."""
        unknown = options.dynamic.keys() - self.given.keys()
        if unknown:
            raise Refused(f"there is no input {sorted(unknown)[0]!r}", mend="use " + ", ".join(self.given))
        if any(array.dtype != np.float32 for name, array in self.given.items() if name in options.dynamic):
            raise Refused("jax2onnx makes only float32 inputs of changing size", mend="leave --dynamic out")
        inputs: list[Any] = [
            tuple(options.dynamic[name].get(axis, size) for axis, size in enumerate(array.shape))
            if name in options.dynamic
            else jax.ShapeDtypeStruct(array.shape, array.dtype)
            for name, array in self.given.items()
        ]
        try:
            jax2onnx.to_onnx(
                self.function,
                inputs,
                opset=options.opset or NEWEST,
                return_mode="file",
                output_path=options.path,
                input_names=list(self.given),
                enable_double_precision=any(array.dtype == np.float64 for array in self.given.values()),
            )
        except Exception as error:
            raise Refused("jax2onnx cannot convert the function", why=last_line(error)) from error
        version = getattr(jax2onnx, "__version__", "")
        return Exported(f"jax2onnx {version}".strip())

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The arrays among the outputs, in the order of their tree."""
        with jax.default_matmul_precision("highest"):
            found = self.function(*(feed[name] for name in self.given))
        return [("", np.asarray(each)) for each in jax.tree_util.tree_leaves(found)]

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Every primitive of the function."""
        closed = jax.make_jaxpr(self.function)(*(feed[name] for name in self.given))
        values: dict[Any, Any] = dict(zip(closed.jaxpr.invars, (feed[name] for name in self.given), strict=True))
        values |= dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        steps: list[Operation] = []
        makers: dict[Any, int] = {}
        for equation in closed.jaxpr.eqns:
            given = [each.val if hasattr(each, "val") else values[each] for each in equation.invars]
            subfuns, params = equation.primitive.get_bind_params(equation.params)
            found = equation.primitive.bind(*subfuns, *given, **params)
            several = list(found) if equation.primitive.multiple_results else [found]
            for variable, value in zip(equation.outvars, several, strict=True):
                values[variable] = value
            place = len(steps)
            for each in equation.invars:
                if not hasattr(each, "val") and each in makers:
                    steps[makers[each]].users.append(place)
            makers |= dict.fromkeys(equation.outvars, place)
            steps.append(Operation(str(equation.primitive), np.asarray(several[0])))
        return steps


def load(request: LoadRequest) -> JaxFunction:
    """A function or module with example inputs.

    Raises:
        Refused: There are no example inputs, or it cannot be called.
    """
    found, given = request.loaded, request.arguments
    if not callable(found):
        raise Refused(f"it is a {type(found).__name__}, which cannot be called")
    names = _parameters(found)
    if given is None:
        if not request.example:
            raise Refused(
                "JAX needs example inputs to export a function",
                mend="give --samples, or a function that returns (function, example inputs)",
            )
        return JaxFunction(found, by_name(request.example, names))
    if isinstance(given, Mapping):
        return JaxFunction(found, {str(name): np.asarray(each) for name, each in given.items()})
    several = list(given) if isinstance(given, list | tuple) else [given]
    names = names[: len(several)] if len(names) >= len(several) else [f"input_{i}" for i in range(len(several))]
    return JaxFunction(found, {name: np.asarray(each) for name, each in zip(names, several, strict=True)})


def _parameters(function: Any) -> list[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in signature.parameters.values() if each.kind in wanted]
