"""A framework in this process: what an export step has in its hands already."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from onnxslim.converters.child import TracedStep
from onnxslim.converters.frameworks import base, kinds
from onnxslim.errors import CheckFailed, InputError, OnnxSlimError, SetupError
from onnxslim.execution import Feed

PACKAGE = "onnxslim.converters.frameworks"


class LocalFramework:
    """A model in its framework, in this process; the face of `onnxslim.converters.child.ChildFramework`.

    Args:
        model: A ``torch.nn.Module``, a fitted estimator, a Keras model.
        arguments: Example arguments, as the framework takes them; None where it needs none, or samples give them.
        example: Arrays of one sample.

    Raises:
        InputError: No converter knows the model, or it cannot be used.
        SetupError: A package is missing.
    """

    def __init__(self, model: Any, arguments: Any = None, example: Mapping[str, np.ndarray] | None = None) -> None:
        request = base.LoadRequest(
            type(model).__name__, "module:object", dict(example or {}), loaded=model, arguments=arguments
        )
        with explained("the model cannot be used", request.source):
            self._model = module_of(model).load(request)
        self.framework: str = self._model.framework
        self.narrows: bool = self._model.narrows
        self.notes: list[str] = list(self._model.notes)
        self.source = request.source

    def example(self) -> Feed | None:
        """Inputs that the model takes; None where the framework knows none."""
        found: Feed | None = self._model.example()
        return found

    def export(
        self,
        path: str,
        *,
        opset: int | None = None,
        dynamic: Mapping[str, Mapping[int, str]] | None = None,
        exporter: str | None = None,
    ) -> tuple[str, list[str]]:
        """Writes the ONNX file; see `onnxslim.converters.child.ChildFramework.export`."""
        options = base.ExportOptions(path, opset, dict(dynamic or {}), exporter)
        with explained("the model cannot be exported", self.source, CheckFailed):
            made = self._model.export(options)
        return made.exporter, list(made.notes)

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The framework's outputs, by name where they have one."""
        with explained(f"{self.framework} fails on an input", self.source):
            return [(name, np.asarray(value)) for name, value in self._model.run(dict(feed))]

    def rounding(self, feed: Feed) -> list[float] | None:
        """See `onnxslim.converters.child.ChildFramework.rounding`."""
        if not hasattr(self._model, "rounding"):
            return None
        with explained(f"{self.framework} fails on an input", self.source):
            found: list[float] | None = self._model.rounding(dict(feed))
        return found

    def trace(self, feed: Feed) -> list[TracedStep] | None:
        """Every operation of the framework; None where it does not let us look."""
        with explained("the model cannot be looked into", self.source):
            steps = self._model.trace(dict(feed))
        if steps is None:
            return None
        return [TracedStep(each.name, each.output, tuple(each.users), each.value) for each in steps]


def module_of(model: Any) -> Any:
    """The module of `onnxslim.converters.frameworks` for an object.

    Raises:
        InputError: No converter knows it.
        SetupError: A package is missing.
    """
    request = base.LoadRequest(type(model).__name__, loaded=model)
    with explained("it is no model", request.source):
        return importlib.import_module(f"{PACKAGE}.{kinds.module_of(request)}")


@contextlib.contextmanager
def explained(what: str, where: str, failure: type[OnnxSlimError] = InputError) -> Iterator[None]:
    """Turns what a framework raises into one of our errors."""
    try:
        yield
    except OnnxSlimError:
        raise
    except base.Refused as error:
        kind = SetupError if error.code == SetupError.exit_code else failure
        raise kind(f"{what}: {error.what}", where=where, why=error.why, mend=error.mend) from error
    except ModuleNotFoundError as error:
        raise SetupError(f"this needs {error.name}", where=where, mend=f"pip install {error.name}") from error
    except Exception as error:  # frameworks and their models fail in any way
        raise failure(what, where=where, why=base.last_line(error)) from error
