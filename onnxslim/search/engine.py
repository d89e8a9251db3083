"""Where the work of a search runs: in this process, in a pool of processes, or on a Dask cluster.

All engines keep one contract. Answers come in the order of the tasks, whatever finishes first, and numpy's BLAS
computes in one thread, so that results are the same to the bit whatever the engine and the number of its workers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self

from onnxslim.errors import InputError
from onnxslim.search.answers import SECONDS, Closing, Failure, Task, Value, attempt
from onnxslim.search.blas import one_thread

__all__ = ["Engine", "Failure", "InProcess", "open_engine"]


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
