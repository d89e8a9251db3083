"""Models in and out of files: load, save, sparse initializers, the graphsurgeon bridge, the text form.

Names are resolved on first use (PEP 562), so that importing one part does not pay for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.graph.atomic import atomic_write
    from onnxslim.graph.encoding import Encoded, encode
    from onnxslim.graph.graphsurgeon import from_graphsurgeon, to_graphsurgeon
    from onnxslim.graph.reader import load
    from onnxslim.graph.structure import check_structure, problems, validate
    from onnxslim.graph.text import parse, show
    from onnxslim.graph.writer import same_file, save, to_bytes, to_proto

__all__ = [
    "Encoded",
    "atomic_write",
    "check_structure",
    "encode",
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

# No submodule bears the name of a function: importing it would put the module in the place of the function.
__getattr__ = lazy_exports(
    __name__,
    {
        "Encoded": ".encoding",
        "atomic_write": ".atomic",
        "check_structure": ".structure",
        "encode": ".encoding",
        "from_graphsurgeon": ".graphsurgeon",
        "load": ".reader",
        "parse": ".text",
        "problems": ".structure",
        "same_file": ".writer",
        "save": ".writer",
        "show": ".text",
        "to_bytes": ".writer",
        "to_graphsurgeon": ".graphsurgeon",
        "to_proto": ".writer",
        "validate": ".structure",
    },
)
