"""What is imported when it is first used, so that nobody waits for what is not needed.

`lazy_exports`: names of a package (PEP 562); `onnxslim --help` waits for neither onnx nor onnxruntime. `defer_sympy`:
onnx_ir imports sympy, a third of the start-up time of a small job, for arithmetic with symbolic dimensions only.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

DEFERRED = ("sympy", "onnx_ir._symbolic_shapes")
"""sympy, and the one module of onnx_ir that asks it for functions while it is imported."""


def lazy_exports(package: str, exports: Mapping[str, str]) -> Callable[[str], Any]:
    """A module-level ``__getattr__`` for ``package``; ``dir(package)`` lists its exports from then on.

    Args:
        package: ``__name__`` of the package.
        exports: Exported name -> module that holds it, relative to the package (``.session``).
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes the module's own
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(exports[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807 - likewise
        module = vars(sys.modules[package])
        return sorted({*module, *exports})

    vars(sys.modules[package])["__dir__"] = __dir__
    return __getattr__


def defer_sympy() -> None:
    """Has the coming import of onnx_ir go without sympy, which is imported when onnx_ir first uses it.

    Nothing else changes: stand-ins are in ``sys.modules`` only while onnx_ir is imported, so everyone who imports sympy
    gets sympy. Without effect where onnx_ir has been imported before.
    """
    if "onnx_ir" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _StandIn(ModuleType):
    """Stands for a module that is imported when an attribute is asked for."""

    def __getattr__(self, name: str) -> Any:
        _withdraw(self)
        return getattr(importlib.import_module(self.__name__), name)


def _withdraw(stand_in: _StandIn) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]


class _Finder:
    """Finds onnx_ir, once."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "onnx_ir":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Loader", _WithStandIns(spec.loader))
        return spec


class _WithStandIns:
    """A loader that executes a module while `DEFERRED` have stand-ins, and leaves no trace in it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None, "set by the import system"
        module.__spec__.loader = module.__loader__ = self._loader
        stand_ins = [_StandIn(name) for name in DEFERRED if name not in sys.modules]
        sys.modules.update({stand_in.__name__: stand_in for stand_in in stand_ins})
        try:
            self._loader.exec_module(module)
        finally:
            for stand_in in stand_ins:
                _withdraw(stand_in)
