"""Models are opened in a child process first: onnxruntime may crash, hang or take all memory on one.

Whether it does depends on the graph and on the optimizer, not on the values of large weights, so that each graph is
tried once for each kind of session. One child, started with the first model, tries them all.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from typing import Any

from onnxslim.errors import CannotRun, CheckFailed, Crashed, Hung, OutOfMemory, SetupError, TooSlow
from onnxslim.execution.opening import CPU, Opening
from onnxslim.execution.ort import child_environment, onnxruntime
from onnxslim.isolation import Died, Late, Worker, out_of_memory, shared_worker

OPEN_SECONDS = 15.0
"""Time that onnxruntime may take to open a small model."""
BYTES_A_SECOND = 10e6
"""A large model may take one second more for so many bytes."""
MEMORY = 2 << 30
"""Bytes that onnxruntime may take to open or to run a small model."""
MEMORY_FACTOR = 10
"""A large model may take so many times its own bytes more."""
SHIPPED = 16 << 20
"""Bytes of a model that are sent to the shared child. A larger one gets a child of its own: a fork copies nothing."""
MEND_SLOW = "give samples, or --must-verify (must_verify=True): it is compared then however long it takes"
MEND = "try another version of onnxruntime"

_verdicts: dict[bytes, Crashed | float] = {}
"""For each graph that a child has opened: how onnxruntime died of it, or the seconds that it took."""


class Held(enum.Enum):
    """Stands in a call for what the child was started with."""

    OPENING = enum.auto()


class _Holder:
    """What a child of its own does: the calls asked for, on the model that it was started with."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*(self.opening if arg is Held.OPENING else arg for arg in args))


class Child:
    """A process in which sessions of one model are opened and run."""

    def __init__(self, opening: Opening, *, private: bool) -> None:
        self.opening, self.private = opening, private
        self._worker: Worker
        self.model: Opening | Held = Held.OPENING if private else opening
        """What stands for the opening among the arguments of a call."""
        try:
            if private:
                self._worker = Worker(_Holder(opening), child_environment())
            else:
                self._worker = shared_worker(child_environment())
        except OSError as error:
            raise SetupError("cannot start a child process", why=str(error)) from error

    @property
    def alive(self) -> bool:
        """Whether sessions that were opened in it are still there."""
        return self._worker.alive

    def call(self, doing: str, seconds: float, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a module's function in the child.

        Args:
            doing: What it does, for the message: ``optimizing``.
            seconds: Time that it may take.
            function: What to call.
            args: Its arguments.

        Raises:
            Crashed: The child did not survive it, or its memory did not suffice.
            OnnxSlimError: Whatever the function raised.
        """
        memory = MEMORY + MEMORY_FACTOR * self.opening.nbytes
        try:
            return self._worker.call(function, *args, seconds=seconds, threads=self.opening.threads, memory=memory)
        except Died as death:
            kind = Hung if isinstance(death, Late) else Crashed
            raise _crashed(self.opening, f"{death} while {doing} the model", kind) from None
        except MemoryError:
            raise _crashed(self.opening, f"{out_of_memory(memory)} for {doing} the model") from None
        except (CannotRun, CheckFailed, OutOfMemory) as error:  # the limit is the call's own, not the machine's
            if any(words in error.why for words in ("bad allocation", "bad_alloc", "Failed to allocate memory")):
                raise _crashed(self.opening, f"{out_of_memory(memory)} for {doing} the model") from error
            raise

    def close(self) -> None:
        """Ends the process, unless others share it."""
        if self.private:
            self._worker.close()


def open_in_child(
    opening: Opening, function: Callable[..., Any], *args: Any, most: float = math.inf
) -> tuple[Child, Any]:
    """Calls ``function(opening, *args)``, which opens a session, in a child.

    A crash of the shared child may be due to what others did there before; the model is blamed for what happens in a
    child of its own.

    Args:
        opening: What to open.
        function: What to call.
        args: Its further arguments.
        most: Seconds on the CPU that the caller can spare for a small model; a large one may take longer, as always.

    Returns:
        The child, and what the function returned.

    Raises:
        Crashed: The child did not survive it. The same graph is not tried again.
        TooSlow: It would take more than ``most``.
        CannotRun: onnxruntime refuses the model.
    """
    key = opening.key()
    known = _verdicts.get(key)
    if isinstance(known, Crashed):
        raise type(known)(known.what, where=opening.name, mend=known.mend)
    doing = "optimizing" if opening.optimize not in (False, "disabled") else "opening"
    seconds = min(most, OPEN_SECONDS) + opening.nbytes / BYTES_A_SECOND
    private = opening.nbytes > SHIPPED
    while True:
        child = Child(opening, private=private)
        started = time.perf_counter()
        try:
            answer = child.call(doing, seconds, function, child.model, *args)
        except Crashed as error:
            if not private and not child.alive and not isinstance(error, Hung):
                private = True
                continue
            child.close()
            if isinstance(error, Hung) and most < OPEN_SECONDS:
                raise TooSlow(
                    f"onnxruntime {onnxruntime().__version__} takes too long to open the model",
                    where=opening.name,
                    why=f"on random inputs so large a graph is compared where it takes at most {seconds:.3g} s",
                    mend=MEND_SLOW,
                ) from None
            _verdicts[key] = error
            raise
        except BaseException:
            child.close()
            raise
        _verdicts[key] = time.perf_counter() - started
        return child, answer


def ensure_opens(opening: Opening, most: float = math.inf) -> float:
    """Opens the model in a child, unless one like it has been opened there.

    Args:
        opening: The model.
        most: As for ``open_in_child``.

    Returns:
        Seconds that it took, the way to the child included; 0 where no child can open it.

    Raises:
        Crashed: The child did not survive it.
        CannotRun: onnxruntime refuses the model.
    """
    if opening.provider != CPU:
        return 0.0  # the driver of a device does not outlive a fork
    key = opening.key()
    known = _verdicts.get(key)
    if not isinstance(known, float):
        open_in_child(opening, _open_once, most=most)[0].close()
        known = _verdicts[key]
    assert isinstance(known, float), "else it raised"
    return known


def _crashed(opening: Opening, how: str, kind: type[Crashed] = Crashed) -> Crashed:
    """The error that says ``how`` onnxruntime died."""
    return kind(f"onnxruntime {onnxruntime().__version__} {how}", where=opening.name, mend=MEND)


def _open_once(opening: Opening) -> None:
    """In the child."""
    opening.inference()
