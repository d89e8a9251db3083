"""One task in a process of its own: limits, two attempts, and what is said where both fail.

Memory is limited by Linux's RLIMIT_DATA. RLIMIT_AS would count address space, and onnxruntime maps weights that it
never touches. Watching the resident memory from outside would come too late: between two looks a task can take all of
the machine's. RLIMIT_DATA counts what is private and writable, and the allocation that goes over it fails at once, in
the task that asked for it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from onnxslim.errors import InputError, OutOfMemory, SetupError
from onnxslim.execution.ort import child_environment
from onnxslim.isolation import Died, Worker, out_of_memory
from onnxslim.search.answers import SECONDS, Failure, attempt
from onnxslim.search.blas import ENVIRONMENT

ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class _Lost:
    """An attempt that another one may mend.

    Attributes:
        reason: What went wrong.
        fatal: Whether it was the end of the process.
    """

    reason: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class Parcel:
    """A pickled value.

    Attributes:
        data: Its bytes.
        digest: Of them.
    """

    data: bytes
    digest: str


def pack(value: Any, what: str) -> Parcel:
    """Pickles a value.

    Args:
        value: The value.
        what: What it is, for the message.

    Raises:
        InputError: It cannot be pickled.
    """
    try:
        data = pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError) as error:  # pickle raises any of the three
        raise InputError(
            f"{what} cannot be sent to another process",
            where=repr(value)[:80],
            why=str(error),
            mend="name samples and metrics by a path or as module:function, or use the engine in-process",
        ) from error
    return Parcel(data, hashlib.blake2b(data, digest_size=16).hexdigest())


class Attempts:
    """Answers tasks one after another in a fresh interpreter, which is replaced where a task kills it.

    It belongs to one thread, which lives as long as it is used: Linux ends the process with that thread.

    Args:
        memory: Bytes that a task may take beyond what the process holds already; None means no limit.
        seconds: Time on the CPU that a task may take; four times as long where it does not compute.
    """

    def __init__(self, memory: int | None, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
        self._worker: Worker | None = None
        self._holds = ""

    def answer(self, function: Parcel, task: Parcel, wanted: Callable[[], bool] = lambda: True) -> Any:
        """The value of the function for the task, or a `Failure`.

        Args:
            function: Sent where the process does not hold it yet.
            task: Its argument.
            wanted: Whether another attempt is of use to anyone.

        Raises:
            SetupError: No process can be started.
        """
        said: list[str] = []
        fatal = True
        while len(said) < ATTEMPTS and wanted():
            found = self._attempt(function, task)
            if not isinstance(found, _Lost):
                return found
            said.append(found.reason)
            fatal = fatal and found.fatal
        if not said:
            return Failure("no longer wanted")
        times = f" (in {len(said)} attempts)" if len(said) > 1 else ""
        return Failure(", then ".join(dict.fromkeys(said)) + times, quarantined=fatal and len(said) == ATTEMPTS)

    def _attempt(self, function: Parcel, task: Parcel) -> Any:
        try:
            found = pickle.loads(self._call(function, task))
        except Died as death:
            self.close()
            return _Lost(f"the task {death}", fatal=True)
        if not isinstance(found, Failure):
            return found
        if isinstance(found.error, OutOfMemory):
            self.close()  # what the process holds by now may be why there was no room
            return _Lost(f"the task {out_of_memory(self._memory)}", fatal=True)
        return _Lost(found.reason, fatal=False) if found.error is None else found

    def _call(self, function: Parcel, task: Parcel) -> bytes:
        worker = self._worker
        if worker is None or not worker.alive:
            worker = self._worker = _start()
            self._holds = ""
        if self._holds != function.digest:
            self._holds = ""
            # Its imports and what it brings along are no part of the first task, and are not limited as that is.
            refusal: bytes | None = worker.call(True, function.data, seconds=SECONDS)
            if refusal is not None:
                return refusal
            self._holds = function.digest
        answer: bytes = worker.call(False, task.data, seconds=self._seconds, memory=self._memory)
        return answer

    def kill(self) -> None:
        """Ends the task that another thread waits for."""
        if (worker := self._worker) is not None:
            worker.kill()

    def close(self) -> None:
        """Ends the process."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None


def _start() -> Worker:
    environment = child_environment() | ENVIRONMENT
    folders = tuple(os.path.abspath(each) for each in (*sys.path, os.getcwd()))
    try:
        return Worker(Serving(folders), environment, fresh=True)
    except OSError as error:
        raise SetupError("cannot start a worker process", why=error.strerror or str(error)) from error


class Serving:
    """What a worker process does: it keeps the function that it was sent last, and calls it.

    Args:
        folders: Where its parent finds modules. They come behind its own, so that they hide none of these.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders
        self._function: Callable[[Any], Any] | None = None

    def __call__(self, is_function: bool, data: bytes) -> bytes | None:
        """Takes a function, or calls it for a task.

        Returns:
            The pickled answer to the task. Of a function None, or the pickled failure to read it.
        """
        sys.path.extend(each for each in self._folders if each not in sys.path)
        answer = attempt(self._take if is_function else self._perform, data)
        return pickle.dumps(answer, protocol=5) if isinstance(answer, Failure) else answer

    def _take(self, data: bytes) -> None:
        self._function = None  # two at a time may be too much
        self._function = pickle.loads(data)

    def _perform(self, data: bytes) -> bytes:
        assert self._function is not None, "it is sent first"
        return pickle.dumps(self._function(pickle.loads(data)), protocol=5)
