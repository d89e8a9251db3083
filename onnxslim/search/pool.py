"""A pool of worker processes on this machine, each a fresh interpreter that one thread of this process drives."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from onnxslim.errors import InputError
from onnxslim.search.answers import SECONDS, Closing, Failure, Task, Value, check_limits
from onnxslim.search.attempts import Attempts, Parcel, pack

AHEAD = 2
"""Tasks for each worker that are read before one of them is done: nobody waits, and few are held."""


class Pool(Closing):
    """Runs tasks in processes with limits of memory and time; see `onnxslim.search.attempts`.

    A process that dies takes nothing with it but its task, which gets another attempt in a new one. All of them end
    with this process, however it ends; Ctrl-C reaches this process alone.

    Args:
        workers: Processes; None means one for each CPU that this process may use. They start when they are needed.
        memory: Bytes that a task may take beyond what its process holds already; None means no limit.
        seconds: Time on the CPU that a task may take.

    Raises:
        InputError: A number is out of range.
    """

    def __init__(self, workers: int | None = None, memory: int | None = None, seconds: float = SECONDS) -> None:
        check_limits(memory, seconds)
        if workers is not None and workers < 1:
            raise InputError(f"workers is {workers}", mend="give 1 or more")
        count = workers if workers is not None else usable_cpus()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._quarantine: dict[tuple[str, str], Failure] = {}
        self._drivers = [_Driver(self._jobs, Attempts(memory, seconds)) for _ in range(count)]
        self._closed = False

    @property
    def workers(self) -> int:
        """Processes."""
        return len(self._drivers)

    def map(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Iterator[Value | Failure]:
        """The answers to tasks, in their order; see `onnxslim.search.engine.Engine.map`."""
        if self._closed:
            raise InputError("the engine is closed", mend="use it inside its with block")
        packed, source = pack(function, "the function"), iter(tasks)
        turn = threading.Condition()
        ahead: deque[_Job] = deque()
        more = True

        def room() -> bool:
            return more and sum(not job.finished for job in ahead) < AHEAD * self.workers

        try:
            while True:
                while room():
                    try:
                        task = next(source)
                    except StopIteration:
                        more = False
                    else:
                        ahead.append(self._submit(_Job(packed, pack(task, "a task"), turn)))
                if not ahead:
                    return
                with turn:  # a task that takes long keeps the others from being yielded, not from being done
                    turn.wait_for(lambda: ahead[0].finished or room())
                if ahead[0].finished:
                    yield self._answer(ahead.popleft())
        finally:
            for job in ahead:
                job.wanted = False
            for driver in self._drivers:
                driver.drop()

    def _submit(self, job: _Job) -> _Job:
        if (known := self._quarantine.get(job.key)) is not None:
            job.finish(known)
        else:
            self._jobs.put(job)
        return job

    def _answer(self, job: _Job) -> Any:
        if job.error is not None:
            raise job.error
        if isinstance(job.answer, Failure) and job.answer.quarantined:
            self._quarantine[job.key] = job.answer
        return job.answer

    def close(self) -> None:
        """Ends all workers."""
        self._closed = True
        for _ in self._drivers:
            self._jobs.put(None)
        for driver in self._drivers:
            driver.end()


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Job:
    """A task on its way, and its answer."""

    def __init__(self, function: Parcel, task: Parcel, turn: threading.Condition) -> None:
        self.function, self.task = function, task
        self.key = function.digest, task.digest
        self.wanted, self.finished = True, False
        self.answer: Any = None
        self.error: BaseException | None = None
        self._turn = turn

    def finish(self, answer: Any, error: BaseException | None = None) -> None:
        with self._turn:
            self.answer, self.error, self.finished = answer, error, True
            self._turn.notify()


class _Driver:
    """A thread that takes one job after another, and has its process do it.

    The thread does not keep this process from its end, and the process of its own ends with it.
    """

    def __init__(self, jobs: queue.SimpleQueue[_Job | None], attempts: Attempts) -> None:
        self._jobs, self._attempts = jobs, attempts
        self._job: _Job | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._drive, name="onnxslim worker", daemon=True)
        self._thread.start()

    def _drive(self) -> None:
        while (job := self._jobs.get()) is not None and not self._ending:
            self._job = job
            try:
                job.finish(self._attempts.answer(job.function, job.task, lambda: self._wants(job)))
            except BaseException as error:  # the thread that reads the answers raises it
                job.finish(None, error)
            self._job = None
        self._attempts.close()

    def _wants(self, job: _Job) -> bool:
        return job.wanted and not self._ending

    def drop(self) -> None:
        """Ends a job that nobody waits for."""
        if (job := self._job) is not None and not job.wanted:
            self._attempts.kill()

    def end(self) -> None:
        """Ends the thread and its process."""
        self._ending = True
        while self._thread.is_alive():  # it may be about to start its process
            self._attempts.kill()
            self._thread.join(0.1)
