"""The entry point of the command line, ``onnxslim.cli:main``; ``slim`` is here for callers of OnnxSlim."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxslim.compat.slim import slim

__all__ = ["main", "slim"]

__getattr__ = lazy_exports(__name__, {"slim": "onnxslim.compat.slim"})

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count: 128 and the number of the signal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; an interrupt is answered from the first import on.

    Args:
        argv: Arguments without the program's name; None means the process's own.

    Returns:
        The exit code, as `onnxslim.cli.dispatch.main` describes it.
    """
    try:
        from onnxslim.cli.dispatch import main as run

        return run(argv)
    except KeyboardInterrupt:
        print("onnxslim: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        if argv is None:  # the process ends now
            gc.freeze()  # the interpreter need not look for garbage in a large model, which takes it seconds
