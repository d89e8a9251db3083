"""Models in and out of files: load, save, sparse initializers, the graphsurgeon bridge, the text form.

Names are resolved on first use (PEP 562), so that importing one part does not pay for the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxslim.graph.atomic import atomic_write
    from onnxslim.graph.graphsurgeon import from_graphsurgeon, to_graphsurgeon
    from onnxslim.graph.reader import load
    from onnxslim.graph.structure import check_structure, problems, validate
    from onnxslim.graph.text import parse, show
    from onnxslim.graph.writer import same_file, save, to_bytes, to_proto

_EXPORTS = {
    "atomic_write": "onnxslim.graph.atomic",
    "check_structure": "onnxslim.graph.structure",
    "from_graphsurgeon": "onnxslim.graph.graphsurgeon",
    "load": "onnxslim.graph.reader",
    "parse": "onnxslim.graph.text",
    "problems": "onnxslim.graph.structure",
    "same_file": "onnxslim.graph.writer",
    "save": "onnxslim.graph.writer",
    "show": "onnxslim.graph.text",
    "to_bytes": "onnxslim.graph.writer",
    "to_graphsurgeon": "onnxslim.graph.graphsurgeon",
    "to_proto": "onnxslim.graph.writer",
    "validate": "onnxslim.graph.structure",
}

__all__ = [
    "atomic_write",
    "check_structure",
    "from_graphsurgeon",
    "load",
    "parse",
    "problems",
    "same_file",
    "save",
    "show",
    "to_bytes",
    "to_graphsurgeon",
    "to_proto",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # No submodule bears the name of a function: importing it would put the module in the place of the function.
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
