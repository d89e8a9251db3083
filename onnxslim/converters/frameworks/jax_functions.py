"""JAX: a function, or a module of Flax or Equinox, with example arguments; by jax2onnx."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax2onnx
import numpy as np

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, last_line

TRACED = 1 << 30
"""Bytes of inner values that a trace keeps, about."""
INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters under which a call keeps what it calls."""
CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint"}
)
"""Primitives that compute nothing but what they call."""


class JaxModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        function: Takes the arguments.
        arguments: Examples; arrays in any structure.
        called: Whose parameters name the inputs, where it is not the function.
    """

    narrows = False

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any], called: Any = None) -> None:
        self.function = function
        self.notes: list[str] = []
        self.framework = f"JAX {jax.__version__}"
        leaves, self._tree = jax.tree_util.tree_flatten(tuple(arguments))
        wide = jax.config.jax_enable_x64
        self._leaves = [np.asarray(leaf if wide else jnp.asarray(leaf)) for leaf in leaves]
        self.names = _names(called or function, tuple(arguments))

    def _flat(self, *leaves: Any) -> Any:
        return self.function(*jax.tree_util.tree_unflatten(self._tree, leaves))

    def _given(self, feed: Feed) -> list[np.ndarray]:
        return [feed[name].astype(leaf.dtype, copy=False) for name, leaf in zip(self.names, self._leaves, strict=True)]

    def example(self) -> Feed | None:
        """The example arguments."""
        return dict(zip(self.names, self._leaves, strict=True))

    def export(self, options: ExportOptions) -> Exported:
        """By ``jax2onnx.to_onnx``."""
        if options.exporter not in (None, "jax2onnx"):
            raise Refused(f"JAX has no exporter {options.exporter!r}", mend="use jax2onnx")
        unknown = options.dynamic.keys() - set(self.names)
        if unknown:
            raise Refused(f"there is no input {sorted(unknown)[0]!r}", mend="use {}".format(", ".join(self.names)))
        shapes = [
            jax.ShapeDtypeStruct(
                tuple(options.dynamic.get(name, {}).get(axis, size) for axis, size in enumerate(leaf.shape)), leaf.dtype
            )
            for name, leaf in zip(self.names, self._leaves, strict=True)
        ]
        more: dict[str, Any] = {} if options.opset is None else {"opset": options.opset}
        wide = bool(jax.config.jax_enable_x64)
        jax.clear_caches()  # jax2onnx traces with operations of its own: none may be mixed with those of a run
        try:
            jax2onnx.to_onnx(
                self._flat,
                shapes,
                input_names=self.names,
                return_mode="file",
                output_path=options.path,
                enable_double_precision=wide,
                **more,
            )
        except Exception as error:
            raise Refused("jax2onnx cannot export the function", why=last_line(error)) from error
        finally:
            jax.clear_caches()
        return Exported(f"jax2onnx.to_onnx {_version()}")

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs, in the order in which JAX flattens their structure."""
        found = self._flat(*map(jnp.asarray, self._given(feed)))
        return [("", np.asarray(leaf)) for leaf in jax.tree_util.tree_leaves(found)]

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Every operation of the jaxpr, calls taken apart."""
        closed = jax.make_jaxpr(self._flat)(*self._given(feed))
        return _Tracer().steps(closed, self._given(feed))


class _Tracer:
    """Computes a jaxpr operation by operation."""

    def __init__(self) -> None:
        self._steps: list[Operation] = []
        self._held = 0

    def steps(self, closed: Any, arguments: Sequence[Any]) -> list[Operation]:
        self._run(closed.jaxpr, closed.consts, [(each, None) for each in arguments])
        return self._steps

    def _run(
        self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[tuple[Any, int | None]]
    ) -> list[tuple[Any, int | None]]:
        """Each output with the place of the step that made it, if one did."""
        known: dict[Any, tuple[Any, int | None]] = dict(zip(jaxpr.invars, arguments, strict=True))
        known.update((variable, (value, None)) for variable, value in zip(jaxpr.constvars, constants, strict=True))

        def read(atom: Any) -> tuple[Any, int | None]:
            return (atom.val, None) if hasattr(atom, "val") else known[atom]

        for equation in jaxpr.eqns:
            given = [read(atom) for atom in equation.invars]
            inner = next((equation.params[name] for name in INLINED if name in equation.params), None)
            if equation.primitive.name in CALLS and inner is not None and len(_open(inner).invars) == len(given):
                made = self._run(_open(inner), getattr(inner, "consts", ()), given)
            else:
                bound = equation.primitive.get_bind_params(equation.params)
                functions, parameters = bound if isinstance(bound, tuple) else ((), bound)  # since JAX 0.10
                values = equation.primitive.bind(*functions, *(value for value, _ in given), **parameters)
                place = self._note(equation, values if equation.primitive.multiple_results else [values], given)
                made = [(each, place) for each in (values if equation.primitive.multiple_results else [values])]
            known.update(zip(equation.outvars, made, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _note(self, equation: Any, values: Sequence[Any], given: Sequence[tuple[Any, int | None]]) -> int | None:
        array = np.asarray(values[0])
        self._held += array.nbytes
        if self._held > TRACED or array.dtype.kind not in "fiub":
            return None
        for _, place in given:
            if place is not None:
                self._steps[place].users.append(len(self._steps))
        self._steps.append(Operation(f"{equation.primitive.name}{_place(equation)}", array))
        return len(self._steps) - 1


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def _place(equation: Any) -> str:
    """File and line of the user's code, where JAX knows it."""
    traceback = getattr(equation.source_info, "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        if "site-packages" not in frame.file_name and "<" not in frame.file_name:
            return f" ({frame.file_name.rpartition('/')[2]}:{frame.line_num})"
    return ""


def load(request: LoadRequest) -> JaxModel:
    """A function or module with its example arguments, or with those that a sample gives.

    Raises:
        Refused: There are none, or it cannot be called.
    """
    found, arguments = request.loaded, request.arguments
    if found is None or not (callable(found) or hasattr(found, "apply")):
        raise Refused(f"it is a {type(found).__name__}, not a function of JAX", mend="name it as module:function")
    given: tuple[Any, ...] = tuple(arguments) if isinstance(arguments, (tuple, list)) else (arguments,)
    if arguments is None:
        if not request.example:
            raise Refused(
                "JAX needs example inputs to export a function",
                mend="give --samples, or a function that returns (function, example inputs)",
            )
        names = _parameters(found)
        named = by_name(request.example, names) if names else request.example
        given = tuple(named[name] for name in names if name in named) if names else tuple(named.values())
    if _is_linen(found):
        if len(given) < 2:
            raise Refused(
                "a module of flax.linen keeps no parameters itself",
                mend="return (module, (variables, example inputs)), or a function that calls module.apply",
            )
        module, variables, given = found, given[0], given[1:]

        def applied(*inputs: Any) -> Any:
            return module.apply(variables, *inputs)

        return JaxModel(applied, given, module.__call__)
    return JaxModel(found, given)


def _is_linen(found: Any) -> bool:
    return any(each.__module__.startswith("flax.linen") for each in type(found).__mro__)


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, each in signature.parameters.items() if each.kind in wanted]


def _names(function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[str]:
    """A name for each array: the parameter's, with the way to it in an argument of several."""
    known = _parameters(function)
    tops = known[: len(arguments)] if len(known) >= len(arguments) else []
    tops = tops or [f"input_{place}" for place in range(len(arguments))]
    found = []
    for name, argument in zip(tops, arguments, strict=True):
        for path, _ in jax.tree_util.tree_flatten_with_path(argument)[0]:
            found.append("_".join([name, *_words(path)]))
    return found


def _words(path: Sequence[Any]) -> Iterator[str]:
    for each in path:
        yield str(getattr(each, "key", getattr(each, "idx", getattr(each, "name", each))))


def _version() -> str:
    from importlib.metadata import version

    return version("jax2onnx")
