"""Where the work of a search runs: in this process, in a pool of processes, or on a Dask cluster.

All engines keep one contract. Answers come in the order of the tasks, whatever finishes first, and numpy's BLAS
computes in one thread, so that results are the same to the bit whatever the engine and the number of its workers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

from onnxslim.errors import InputError, OnnxSlimError, out_of_memory
from onnxslim.search.blas import one_thread

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


class Engine(Protocol):
    """Runs one function on many tasks. It is a context manager, and is closed once.

    Attributes:
        workers: Tasks that run at the same time.
    """

    @property
    def workers(self) -> int:
        """Tasks that run at the same time."""

    def map(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Iterator[Value | Failure]:
        """The answers to tasks, in their order.

        An `OnnxSlimError` that the function raises is the answer; so is any other exception that it raises twice.
        Whoever stops reading early ends the tasks that are left.

        Args:
            function: A function of a module. What all tasks share goes into it by ``functools.partial``: it is sent to
                each worker once.
            tasks: Values that can be pickled. They are read as workers become free.

        Raises:
            InputError: The function or a task cannot be sent to another process.
            SetupError: No worker can be started or reached.
        """

    def close(self) -> None:
        """Ends all workers."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


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


class InProcess(Closing):
    """Runs tasks one after another in this process: for samples and metrics that cannot be sent to another one.

    Nothing limits a task here, and a crash is the end of this process.
    """

    workers = 1

    def map(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Iterator[Value | Failure]:
        """The answers to tasks, in their order; see `Engine.map`."""
        for task in tasks:
            with one_thread():
                answer = attempt(function, task)
                if isinstance(answer, Failure) and answer.error is None:
                    answer = attempt(function, task)
            yield answer


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


_IN_PROCESS = "in-process"
_DASK = re.compile(r"dask://(?P<address>(?:\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5})")


def open_engine(
    text: str | None = None, *, workers: int | None = None, memory: int | None = None, seconds: float = SECONDS
) -> Engine:
    """The engine that a user names.

    Args:
        text: None for a pool of processes on this machine, ``in-process``, or ``dask://HOST:PORT``.
        workers: Processes of the pool; None means one for each CPU that this process may use.
        memory: Bytes that a task may take beyond what its worker holds already; None means no limit.
        seconds: Time on the CPU that a task may take.

    Raises:
        InputError: The text names no engine, or a number is out of range.
        SetupError: ``distributed`` is not installed, or the cluster cannot be reached.
    """
    if text is None:
        from onnxslim.search.pool import Pool

        return Pool(workers, memory, seconds)
    if text == _IN_PROCESS:
        return InProcess()
    found = _DASK.fullmatch(text)
    if found is None:
        raise InputError(
            f"there is no engine {text!r}",
            where="engine",
            mend=f"write dask://HOST:PORT, such as dask://10.0.0.5:8786, or {_IN_PROCESS}, or leave it out",
        )
    if workers is not None:
        raise InputError(
            "workers are those of the cluster", where="engine", mend="leave the number of workers out, or the engine"
        )
    from onnxslim.search.cluster import DaskEngine

    return DaskEngine(found["address"], memory=memory, seconds=seconds)


def check_limits(memory: int | None, seconds: float) -> None:
    """Refuses limits that no task could keep.

    Raises:
        InputError: Which, and what to give instead.
    """
    if memory is not None and not memory > 0:
        raise InputError(f"the memory of a task is {memory}", mend="give a number of bytes, or None for no limit")
    if not 0 < seconds < 1e6:  # false for NaN, too
        raise InputError(f"the time of a task is {seconds}", mend=f"give seconds, {SECONDS:g} by default")
