"""Errors a person can act on: what happened, where, why, and the fix. No traceback is printed for them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

FIX = "; fix: "
"""What stands before the fix in a message."""
MAX_NAMES = 30
"""Known names that a message lists where none is near."""


class OnnxSlimError(Exception):
    """Base of every error that onnxslim raises on purpose.

    Args:
        what: What went wrong, as a sentence without a full stop.
        where: The file, node, operator, value or option it happened at.
        why: The reason, where it is not plain from ``what``.
        mend: What the reader can do about it.

    >>> print(InputError("the file is empty", where="model.onnx", mend="export the model again"))
    the file is empty (model.onnx); fix: export the model again
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.mend = what, where, why, mend

    def __reduce__(self) -> tuple[Callable[..., OnnxSlimError], tuple[Any, ...]]:
        """Errors come out of child processes, too."""
        return _restored, (type(self), self.what, self.where, self.why, self.mend)

    def __str__(self) -> str:
        text = self.what
        if self.where:
            text += f" ({self.where})"
        if self.why:
            text += f": {self.why}"
        if self.mend:
            text += f"{FIX}{self.mend}"
        return text

    def to_json(self) -> dict[str, str | int]:
        """The same facts for ``--json``."""
        return {
            "error": self.what,
            "where": self.where,
            "why": self.why,
            "mend": self.mend,
            "exit_code": self.exit_code,
        }


def _restored(kind: type[OnnxSlimError], what: str, where: str, why: str, mend: str) -> OnnxSlimError:
    return kind(what, where=where, why=why, mend=mend)


class CheckFailed(OnnxSlimError):
    """A check that the result must pass did not: parity, a budget, a regression. Exit code 1."""

    exit_code: ClassVar[int] = 1


class InputError(OnnxSlimError, ValueError):
    """Bad usage or bad input: a model, samples, a path, an option. Exit code 2."""

    exit_code: ClassVar[int] = 2


class CannotRun(InputError):
    """onnxruntime cannot run the model, so nothing can be compared: custom operators, say, or sizes that do not fit."""


class Crashed(CannotRun):
    """onnxruntime crashed, hung or ran out of memory on the model, in a child process. Exit code 3."""

    exit_code: ClassVar[int] = 3


class Hung(Crashed):
    """onnxruntime did not finish in time."""


class TooSlow(Hung):
    """onnxruntime takes longer to open a large model than is spared for it, which says nothing against the model."""


class SetupError(OnnxSlimError):
    """The environment cannot do what was asked: a package or a provider is missing, or two clash. Exit code 3."""

    exit_code: ClassVar[int] = 3


class OutOfMemory(SetupError):
    """The machine's memory is used up, or the limit of this process is. Exit code 3."""


def out_of_memory(error: BaseException, *, where: str = "") -> OutOfMemory | None:
    """The error to raise where ``error`` says that memory ran out, whoever says it; None where it says something else.

    numpy and Python raise MemoryError; onnxruntime quotes C++ or its own allocator.

    >>> print(out_of_memory(RuntimeError("std::bad_alloc"), where="slim"))
    out of memory (slim): bad_alloc; fix: give --memory a smaller size, or use a machine with more memory
    """
    said = " ".join(str(error).split())
    starts = [said.index(words) for words in _NO_MEMORY if words in said]
    if not starts and not isinstance(error, MemoryError):
        return None
    start = min(starts, default=0)  # what comes before it is where in its sources the speaker stands
    return OutOfMemory(
        "out of memory",
        where=where,
        why=said[start : start + 200],
        mend="give --memory a smaller size, or use a machine with more memory",
    )


def failed(what: str, error: BaseException, *, where: str = "", mend: str = "") -> OnnxSlimError:
    """The error to raise where code that is not ours, such as a user's metric, raised ``error``.

    >>> print(failed("the metric failed", KeyError("label"), where="mine:score"))
    the metric failed (mine:score): KeyError: 'label'
    >>> type(failed("the metric failed", MemoryError(), where="mine:score")).__name__
    'OutOfMemory'
    """
    why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return out_of_memory(error, where=where) or InputError(what, where=where, why=why, mend=mend)


_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "Cannot allocate memory", "out of memory")
"""How onnxruntime and the C++ below it say so."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A fix that lists the known names nearest to ``name``, or all of them where none is near.

    >>> did_you_mean("qantize", ["quantize", "slim"])
    "did you mean 'quantize'?"
    >>> did_you_mean("x", ["quantize", "slim"])
    'use one of quantize, slim'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"did you mean {' or '.join(repr(n) for n in near)}?"
    if len(names) > MAX_NAMES:
        names = [*names[:MAX_NAMES], f"... ({len(names) - MAX_NAMES} more)"]
    return f"use one of {', '.join(names)}" if names else ""
