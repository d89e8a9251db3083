"""PyTorch: an ``nn.Module`` with example inputs, an exported program (.pt2), TorchScript; by ``torch.onnx.export``."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, last_line
from .pytorch_trace import array_of, traced_graph, traced_modules

DYNAMO, TORCHSCRIPT = "dynamo", "torchscript"


class PyTorchModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        module: What is called.
        args: Example arguments.
        kwargs: Example keyword arguments.
        notes: Of loading.
        program: The exported program, where the module comes from one.
    """

    narrows = False

    def __init__(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], notes: list[str], program: Any = None
    ) -> None:
        self.module, self.args, self.kwargs, self.notes, self.program = module, args, kwargs, notes, program
        self.framework = f"PyTorch {torch.__version__}"
        leaves, self._spec = _pytree.tree_flatten((args, kwargs))
        self._leaves = leaves
        self._places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.names = _names(module, args, kwargs)
        if len(self.names) != len(self._places):  # a nested argument, say
            self.names = [f"input_{place}" for place in range(len(self._places))]

    def example(self) -> Feed | None:
        """The example arguments."""
        return {name: array_of(self._leaves[place]) for name, place in zip(self.names, self._places, strict=True)}

    def export(self, options: ExportOptions) -> Exported:
        """By the exporter that is asked for; else by the new one, and where that fails by the old one."""
        if options.exporter not in (None, DYNAMO, TORCHSCRIPT):
            raise Refused(f"PyTorch has no exporter {options.exporter!r}", mend="use dynamo or torchscript")
        unknown = options.dynamic.keys() - set(self.names)
        if unknown:
            raise Refused(f"there is no input {sorted(unknown)[0]!r}", mend="use {}".format(", ".join(self.names)))
        script = isinstance(self.module, torch.jit.ScriptModule)
        if options.exporter == DYNAMO and script:
            raise Refused("the dynamo exporter takes no TorchScript", mend="use --exporter torchscript")
        ways = [options.exporter] if options.exporter else [TORCHSCRIPT] if script else [DYNAMO, TORCHSCRIPT]
        failed: list[str] = []
        for way in ways:
            try:
                self._export(options, dynamo=way == DYNAMO)
            except ModuleNotFoundError as error:  # onnxscript, say
                raise Refused(
                    f"torch.onnx.export needs {error.name}", mend=f"pip install {error.name}", code=3
                ) from error
            except Exception as error:
                failed.append(f"the {way} exporter failed: {last_line(error)}")
                if way == ways[-1]:
                    raise Refused("PyTorch cannot export the model", why="; ".join(failed)) from error
            else:
                return Exported(f"torch.onnx.export ({way})", failed)
        raise AssertionError("one of the ways returned or raised")

    def _export(self, options: ExportOptions, *, dynamo: bool) -> None:
        more: dict[str, Any] = {"verbose": False} | ({} if options.opset is None else {"opset_version": options.opset})
        if dynamo:
            more |= {"external_data": False, "optimize": True}
            if self.program is not None and not options.dynamic:
                torch.onnx.export(self.program, (), options.path, input_names=self.names, dynamo=True, **more)
                return
            if options.dynamic:
                more["dynamic_shapes"] = self._dynamic_shapes(options)
        elif options.dynamic:
            more["dynamic_axes"] = {name: dict(axes) for name, axes in options.dynamic.items()}
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                self.module,
                self.args,
                options.path,
                kwargs=self.kwargs or None,
                input_names=self.names,
                dynamo=dynamo,
                **more,
            )

    def _dynamic_shapes(self, options: ExportOptions) -> Any:
        sizes: dict[str, Any] = {}
        shapes: list[Any] = [None] * len(self._leaves)
        for name, place in zip(self.names, self._places, strict=True):
            axes = options.dynamic.get(name, {})
            shapes[place] = {
                axis: sizes.setdefault(size, torch.export.Dim(size) if hasattr(torch.export, "Dim") else size)
                for axis, size in axes.items()
            }
        args, kwargs = _pytree.tree_unflatten(shapes, self._spec)
        if not kwargs:
            return args
        given = dict(zip(_parameters(self.module), args, strict=False))
        return {**given, **kwargs}

    def _call(self, feed: Feed) -> tuple[tuple[Any, ...], dict[str, Any]]:
        leaves = list(self._leaves)
        for name, array in feed.items():
            place = self._places[self.names.index(name)]
            leaves[place] = torch.from_numpy(np.ascontiguousarray(array)).to(leaves[place].dtype)
        args, kwargs = _pytree.tree_unflatten(leaves, self._spec)
        return args, kwargs

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The tensors among the outputs, in the order of the tree that they are in."""
        args, kwargs = self._call({name: array for name, array in feed.items() if name in self.names})
        with torch.no_grad():
            found = self.module(*args, **kwargs)
        leaves = _pytree.tree_leaves(found)
        return [("", array_of(leaf)) for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Operation by operation where ``torch.export`` takes the model, else module by module."""
        args, kwargs = self._call({name: array for name, array in feed.items() if name in self.names})
        with torch.no_grad():
            try:
                program = self.program or torch.export.export(self.module, args, kwargs, strict=False)
                steps: list[Operation] = traced_graph(program.module(), args, kwargs)
            except Exception:
                if isinstance(self.module, torch.jit.ScriptModule):
                    return None
                steps = traced_modules(self.module, args, kwargs)
        return steps


def load(request: LoadRequest) -> PyTorchModel:
    """A model of any of PyTorch's forms.

    Raises:
        Refused: It is none, or has no example inputs.
    """
    notes: list[str] = []
    if request.form == "module:object":
        found, given = request.loaded, request.arguments
        if not isinstance(found, torch.nn.Module):
            raise Refused(f"it is a {type(found).__name__}, not a torch.nn.Module")
        return of_module(found, given, request.example, notes)
    if request.form == ".pt2":
        program = torch.export.load(request.source)
        if program.example_inputs is None:
            raise Refused(
                "the exported program holds no example inputs", mend="export it again with torch.export.export"
            )
        args, kwargs = program.example_inputs
        return PyTorchModel(program.module(), tuple(args), dict(kwargs), notes, program)
    try:
        found = torch.jit.load(request.source, map_location="cpu")
    except RuntimeError:
        found = torch.load(request.source, map_location="cpu", weights_only=False)
    if not isinstance(found, torch.nn.Module):
        raise Refused(
            f"the file holds a {type(found).__name__}, not a model",
            why="weights have no graph" if isinstance(found, Mapping) else "",
            mend="name a module:function that builds the model, loads them and returns (model, example inputs)",
        )
    return of_module(found, None, request.example, notes)


@contextlib.contextmanager
def kept(module: torch.nn.Module) -> Iterator[None]:
    """Leaves the modes of a caller's module and of all in it as they are."""
    modes = {each: each.training for each in module.modules()}
    try:
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode


@contextlib.contextmanager
def recording(module: torch.nn.Module, take: Callable[[dict[str, np.ndarray]], None]) -> Iterator[None]:
    """Hands over the tensors that a module is called with, by the names of its arguments."""

    def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = _names(module, args, kwargs)
        leaves = [leaf for leaf in _pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        take({name: array_of(leaf) for name, leaf in zip(names, leaves, strict=True)})

    hook = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def of_module(module: torch.nn.Module, given: Any, example: Feed, notes: list[str]) -> PyTorchModel:
    """A module with its example arguments, or with those that a sample gives.

    Raises:
        Refused: There are none of either.
    """
    if module.training:
        notes.append("the model was in training mode: it is exported and compared in evaluation mode")
        module.eval()
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(given, Mapping):
        kwargs = dict(given)
    elif isinstance(given, Sequence) and not isinstance(given, torch.Tensor):
        args = tuple(given)
        if len(args) == 2 and isinstance(args[0], tuple) and isinstance(args[1], dict):
            args, kwargs = args
    elif given is not None:
        args = (given,)
    elif example:
        names = _parameters(module) if not isinstance(module, torch.jit.ScriptModule) else []
        named = by_name(example, names) if names else example
        named = {name: _fitting(array, module) for name, array in named.items()}
        if names:
            kwargs = {name: torch.from_numpy(array) for name, array in named.items()}
            if all(name in kwargs for name in names[: len(kwargs)]):  # exporters like places better
                args, kwargs = tuple(kwargs[name] for name in names[: len(kwargs)]), {}
        else:
            args = tuple(torch.from_numpy(array) for array in named.values())
    else:
        raise Refused(
            "PyTorch needs example inputs to export a model",
            mend="give --samples, or a function that returns (model, example inputs)",
        )
    return PyTorchModel(module, args, kwargs, notes)


def _fitting(array: np.ndarray, module: torch.nn.Module) -> np.ndarray:
    """Floats in the type of the module's own: numpy makes float64, and modules take float32."""
    if array.dtype.kind != "f":
        return array
    own = next((each.dtype for each in module.parameters() if each.dtype.is_floating_point), torch.float32)
    return array.astype(np.float64 if own == torch.float64 else np.float32)


def _parameters(module: Any) -> list[str]:
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return []
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in signature.parameters.values() if each.kind in wanted]


def _names(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """A name for each tensor that is an argument by itself; tensors in an argument's list count up."""
    known = [] if isinstance(module, torch.jit.ScriptModule) else _parameters(module)
    known = known[: len(args)] if len(known) >= len(args) else [f"input_{place}" for place in range(len(args))]
    found = []
    for name, value in [*zip(known, args, strict=True), *kwargs.items()]:
        tensors = [leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
        alone = isinstance(value, torch.Tensor)
        found += [name if alone else f"{name}_{place}" for place, _ in enumerate(tensors)]
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
