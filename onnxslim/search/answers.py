"""What engines share: the answer to a task, and how a function's failure becomes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from onnxslim.errors import InputError, OnnxSlimError, out_of_memory

Task = TypeVar("Task")
Value = TypeVar("Value")

SECONDS = 600.0
"""Time on the CPU that a task may take."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a task that has no value.

    Attributes:
        reason: What went wrong, in words.
        quarantined: Whether the task killed its worker in each attempt (a crash, no memory, no time). The engine does
            not run it again.
        error: What the function raised, where it is one of ours; None where it is not, or where the worker died.
    """

    reason: str
    quarantined: bool = False
    error: OnnxSlimError | None = field(default=None, compare=False)


class Closing:
    """Makes an engine a context manager, which closes it."""

    def close(self) -> None:
        """Ends all workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attempt(function: Callable[[Task], Value], task: Task) -> Value | Failure:
    """The value of ``function(task)``, or why there is none."""
    try:
        return function(task)
    except Exception as error:  # a task's failure is an answer: the search goes on without it
        return failure_of(error)


def failure_of(error: Exception) -> Failure:
    """The answer where a function raised ``error``.

    >>> failure_of(ValueError("no")).reason, failure_of(InputError("the model is empty", where="a.onnx")).reason
    ('ValueError: no', 'the model is empty (a.onnx)')
    """
    if isinstance(error, OnnxSlimError):
        return Failure(str(error), error=error)
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure(reason, error=out_of_memory(error))


def check_limits(memory: int | None, seconds: float) -> None:
    """Refuses limits that no task could keep.

    Raises:
        InputError: Which, and what to give instead.
    """
    if memory is not None and not memory > 0:
        raise InputError(f"the memory of a task is {memory}", mend="give a number of bytes, or None for no limit")
    if not 0 < seconds < 1e6:  # false for NaN, too
        raise InputError(f"the time of a task is {seconds}", mend=f"give seconds, {SECONDS:g} by default")
