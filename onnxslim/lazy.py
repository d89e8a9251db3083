"""Names imported when first used (PEP 562), so that `onnxslim --help` need not wait for onnx and onnxruntime."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


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
