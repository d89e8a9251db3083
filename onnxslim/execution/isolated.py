"""Sessions that live in a child process: whatever onnxruntime does there, this process goes on."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Mapping, Sequence

from onnxslim.errors import OutOfMemory
from onnxslim.execution.feeds import Feed, Outputs
from onnxslim.execution.guard import SHIPPED, Child, open_in_child
from onnxslim.execution.opening import AnyModel, Opening, opening_of
from onnxslim.execution.session import Port, Session, session_of

RUN_SECONDS = 15.0
"""Time that one run of a small model may take."""
BYTES_A_SECOND = 10e6
"""A large model may take one second more for so many bytes."""

_sessions: dict[int, Session] = {}
"""In the child: the sessions by their numbers."""
_numbers = itertools.count()
_dropped: list[int] = []
"""Numbers of sessions in the shared child that nobody holds any more; it hears of them with the next call."""


class IsolatedSession:
    """A model loaded in a child process, with the face of `onnxslim.execution.session.Session`. See `open_isolated`."""

    def __init__(self, opening: Opening, seconds: float = RUN_SECONDS, most: float = math.inf) -> None:
        self.name = opening.name
        self._opening = opening
        self._child: Child | None = None
        self._seconds = seconds + opening.nbytes / BYTES_A_SECOND
        self.inputs: tuple[Port, ...]
        self.outputs: tuple[Port, ...]
        self._connect(most)

    def run(self, feed: Feed, outputs: Sequence[str] | None = None) -> Outputs:
        """Runs the model once.

        Args:
            feed: An array for each input. Sequences are lists, absent optionals None.
            outputs: Names of the outputs wanted; None means all.

        Returns:
            As `onnxslim.execution.session.Session.run`.

        Raises:
            InputError: The feed does not fit the inputs, or an output's name is unknown.
            CheckFailed: A node failed while running.
            Crashed: The child did not survive it, or it took too much time or memory.
        """
        if self._child is None or not self._child.alive:  # another session was the death of the shared child
            self._connect()
        assert self._child is not None, "it was made anew"
        dropped = () if self._child.private else _taken()
        return dict(self._child.call("running", self._seconds, _run, dropped, self._number, feed, outputs))

    def _connect(self, most: float = math.inf) -> None:
        self._number = next(_numbers)
        dropped = () if self._opening.nbytes > SHIPPED else _taken()
        self._child, ports = open_in_child(self._opening, _open, dropped, self._number, most=most)
        self.inputs, self.outputs = ports
        weakref.finalize(self, _drop, self._child, self._number).atexit = False  # the child ends with this process


def open_isolated(
    model: AnyModel,
    *,
    threads: int = 1,
    optimize: bool | str = True,
    config: Mapping[str, str] | None = None,
    seconds: float = RUN_SECONDS,
) -> IsolatedSession:
    """Loads ``model`` into onnxruntime in a child process, for the CPU.

    Feeds and outputs go through pipes, at about a gigabyte a second. An own child is made for a large model, else one
    is shared.

    Args:
        model: An IR model, a proto, bytes, or a path.
        threads: Threads within an operator.
        optimize: As `onnxslim.execution.session.open_session`.
        config: Session config entries.
        seconds: Time that one run may take; a large model may take one more for each `BYTES_A_SECOND`.

    Raises:
        CannotRun: onnxruntime does not accept the model.
        Crashed: It does not survive opening the model.
        SetupError: onnxruntime is not there, or no process can be started.
    """
    return IsolatedSession(opening_of(model, threads=threads, optimize=optimize, config=config), seconds)


def _drop(child: Child, number: int) -> None:
    if child.private:
        child.close()
    else:  # it may be in the middle of a call, since this runs whenever garbage is collected
        _dropped.append(number)


def _taken() -> tuple[int, ...]:
    taken = tuple(_dropped)
    del _dropped[: len(taken)]
    return taken


def _open(opening: Opening, dropped: Sequence[int], number: int) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """In the child."""
    for each in dropped:
        _sessions.pop(each, None)
    try:
        session = _sessions[number] = session_of(opening)
    except OutOfMemory as error:
        raise MemoryError(str(error)) from None
    return session.inputs, session.outputs


def _run(dropped: Sequence[int], number: int, feed: Feed, outputs: Sequence[str] | None) -> Outputs:
    """In the child."""
    for each in dropped:
        _sessions.pop(each, None)
    try:
        return _sessions[number].run(feed, outputs)
    except OutOfMemory as error:  # beyond the child's limit, not the machine's
        raise MemoryError(str(error)) from None
