"""How verbs convert what is no ONNX file, for as long as a block runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnxslim.api.convert import ConvertedFile, ConvertOptions, converted_file

if TYPE_CHECKING:
    from onnxslim.samples.sources import SampleSource


@dataclass(eq=False)
class _Frameworks:
    """How sources are converted while a block runs.

    The last one is kept: it is read twice where images are to be made for its inputs.
    """

    options: ConvertOptions
    key: object = None
    made: ConvertedFile | None = None
    progress: Callable[[str], None] = field(default=lambda _: None)

    def convert(self, source: str | os.PathLike[str], samples: SampleSource | None) -> ConvertedFile:
        text = os.fspath(source)
        key = os.path.realpath(text), os.path.getmtime(text) if os.path.exists(text) else None
        if self.made is None or key != self.key:
            self.key, self.made = key, converted_file(source, samples, self.options, self.progress)
        return self.made


_frameworks: ContextVar[_Frameworks | None] = ContextVar("frameworks", default=None)


@contextlib.contextmanager
def frameworks(**options: Any) -> Iterator[None]:
    """How verbs convert sources that are no ONNX files while the block runs; without it, with this interpreter.

    ``with onnxslim.frameworks(python="torch-venv"): onnxslim.compress("mine:build", ...)``

    Args:
        options: Fields of `ConvertOptions`, and ``progress``.

    Raises:
        InputError: A name is none of these.
    """
    progress = options.pop("progress", lambda _: None)
    token = _frameworks.set(_Frameworks(ConvertOptions.of(options), progress=progress))
    try:
        yield
    finally:
        _frameworks.reset(token)


def converted_source(source: str | os.PathLike[str], samples: SampleSource | None) -> ConvertedFile:
    """A source as the block of `frameworks` wants it converted; see `convert` for what it raises."""
    return (_frameworks.get() or _Frameworks(ConvertOptions())).convert(source, samples)
