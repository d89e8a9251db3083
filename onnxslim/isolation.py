"""Work done in a child process, so that a crash, a hang or a lack of memory there is a fact and not our end.

On Linux the child is a fork: it starts in milliseconds and shares the parent's memory, so nothing is imported or
copied. Elsewhere, or where ``fresh`` asks for it, a fresh interpreter is started, and the function is pickled to it.
One child does one call after another, until it dies or is closed.

Long because both ways to start a child (fork, spawn) speak one protocol, whose two ends stand side by side.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

PIPE_BYTES = 1 << 20
"""What a pipe holds, where the system lets it."""
CAN_FORK = sys.platform == "linux"
"""Elsewhere system libraries do not survive a fork, or there is none."""
PATIENCE = 4
"""How many times longer than on the CPU a call may take, since the machine may be busy."""
GRACE = 10
"""Seconds after its time is up in which an orphan ends by itself: its parent was killed and cannot do it."""


_PR_SET_PDEATHSIG = 1


class Died(Exception):
    """The child ended in the middle of a call; the text says how, such as ``crashed (signal 11, SIGSEGV)``."""


class Late(Died):
    """The call took too long, and the child was killed."""


class Worker:
    """A child process that calls ``function`` whenever it is asked to.

    The child prints nothing and has no terminal. It must be closed, or it ends with its parent.

    Args:
        function: On Linux any callable; in a fresh interpreter one that can be pickled.
        environment: What a fresh interpreter finds; a fork has the parent's.
        fresh: Whether a fresh interpreter is started on Linux, too: it inherits no threads, locks or memory. It ends
            with the thread that started it.

    Raises:
        OSError: No process can be started.
    """

    def __init__(
        self, function: Callable[..., Any], environment: dict[str, str] | None = None, *, fresh: bool = False
    ) -> None:
        self._owner, self._lock, self._expired = os.getpid(), threading.Lock(), False
        self._said = _scratch()
        start = _fork if CAN_FORK and not fresh else _spawn
        self._process, self._reader, self._writer = start(function, self._said, environment or dict(os.environ))
        self._finalizer = weakref.finalize(
            self, _end, self._owner, self._process, self._reader, self._writer, self._said
        )

    @property
    def alive(self) -> bool:
        """Whether it can be called: neither died nor closed, and no other process's."""
        return self._finalizer.alive and self._owner == os.getpid()

    def call(self, *args: Any, seconds: float, threads: int = 1, memory: int | None = None) -> Any:
        """Calls the function in the child.

        Args:
            args: Of the function; they are pickled.
            seconds: Time on the CPU after which the child is killed, for each thread; `PATIENCE` times as long where it
                does not compute or the machine is busy. Only Linux counts time on the CPU.
            threads: Threads that the function computes in.
            memory: Bytes that the call may take beyond what the child holds already; None means no limit. Only Linux
                counts them.

        Raises:
            Died: The child crashed or was killed; `Late` where its time was up. The worker is of no more use.
            Exception: Whatever the function raised.
        """
        with self._lock:
            if not self.alive:
                raise Died("had ended before")
            timer = threading.Timer(seconds * PATIENCE if CAN_FORK else seconds, self._expire)
            timer.daemon = True
            timer.start()
            try:
                pickle.dump((seconds, threads, memory, args), self._writer, protocol=5)
                self._writer.flush()
                pickle.load(self._reader)  # it is done: what remains is to hand over the answer
                timer.cancel()
                done, answer = pickle.load(self._reader)
            except (EOFError, OSError, pickle.UnpicklingError):
                raise self._cause(seconds, memory) from None
            except BaseException:  # Ctrl-C, say: the answer would be taken for that of the next call
                self.close()
                raise
            finally:
                timer.cancel()
        if done:
            return answer
        raise answer

    def close(self) -> None:
        """Ends the child."""
        self._finalizer()

    def kill(self) -> None:
        """Ends a call that another thread waits for: it raises `Died` there, which puts the child away."""
        self._process.kill()

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _cause(self, seconds: float, memory: int | None) -> Died:
        """How the child ended; it is gone after this."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        code = self._process.returncode
        self._said.seek(0)
        said = " ".join(self._said.read().decode(errors="replace").split())[-200:]
        self.close()
        if self._expired or (CAN_FORK and code == -signal.SIGXCPU):
            return Late(f"did not finish within {seconds:.3g} s")
        if "bad_alloc" in said or "MemoryError" in said:
            return Died(out_of_memory(memory))
        if code == -getattr(signal, "SIGKILL", 9):
            return Died("was killed (signal 9), most likely because the memory ran out")
        tail = f": {said}" if said else ""
        if code is not None and code < 0:
            return Died(f"crashed (signal {-code}, {_signal_name(-code)}){tail}")
        return Died(f"ended with code {code}{tail}")


def out_of_memory(memory: int | None) -> str:
    """What is said of a call that took more than ``memory``.

    >>> out_of_memory(2 << 30), out_of_memory(None)
    ('needs more than 2.1 GB of memory', 'ran out of memory')
    """
    return "ran out of memory" if memory is None else f"needs more than {memory / 1e9:.2g} GB of memory"


_workers: dict[int, Worker] = {}
"""By process: a fork of this one must not talk to its child."""


def shared_worker(environment: dict[str, str] | None = None) -> Worker:
    """The child that whoever has no need of one of his own shares: `Worker.call` takes a function and its arguments."""
    worker = _workers.get(os.getpid())
    if worker is None or not worker.alive:
        _workers.clear()
        worker = _workers[os.getpid()] = Worker(_apply, environment)
    return worker


def _apply(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _scratch() -> IO[bytes]:
    """A file without a name for the child's stderr; on Linux in memory, for the disk may be full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()


class _Forked:
    """The part of ``subprocess.Popen`` that is needed here, for a fork."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """``timeout`` is not needed: whoever closes a pipe in the middle of a call is dying."""
        if self.returncode is None:
            try:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            except ChildProcessError:  # someone else waits for all children of this process
                self.returncode = 255
        return self.returncode


_Process = subprocess.Popen[bytes] | _Forked
_Ends = tuple[_Process, IO[bytes], IO[bytes]]


def _fork(function: Callable[..., Any], said: IO[bytes], _: dict[str, str]) -> _Ends:
    import fcntl

    # Linux counts the death of the thread that forked: another than the main one may end long before the process.
    orphaned = threading.current_thread() is threading.main_thread()
    job, answer = os.pipe(), os.pipe()
    with contextlib.suppress(OSError):  # fewer turns for large arrays; a user may have too many pipes for it
        for ends in (job, answer):
            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with warnings.catch_warnings():
        # Python warns of forks beside threads. This child touches none of the locks that they may hold: it computes in
        # numpy and onnxruntime, which start threads of their own, and leaves by _exit.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _child(function, job[0], answer[1], said.fileno(), orphaned)
    os.close(job[0])
    os.close(answer[1])
    return _Forked(pid), os.fdopen(answer[0], "rb"), os.fdopen(job[1], "wb")


def die_with_parent() -> None:
    """Asks Linux to end this process when its parent dies, whatever it is in the middle of; does nothing elsewhere."""
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _child(function: Callable[..., Any], job: int, answer: int, said: int, orphaned: bool) -> NoReturn:
    code = 70
    try:
        faulthandler.disable()  # the parent tells of a crash
        gc.freeze()  # what was inherited is not collected, so that none of its finalizers runs twice
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this child
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if orphaned:
            die_with_parent()
        nothing = os.open(os.devnull, os.O_RDWR)
        ends = [_above(job), _above(answer)]
        for source, target in ((nothing, 0), (nothing, 1), (said, 2), (ends[0], 3), (ends[1], 4)):
            os.dup2(source, target)
        os.closerange(5, 1 << 20)  # another child's pipe held open here would keep that child from its end
        with os.fdopen(3, "rb") as reader, os.fdopen(4, "wb") as writer:
            _serve(function, reader, writer)
        code = 0
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


def _above(fd: int) -> int:
    """A copy of the descriptor that lies above those which are about to be replaced."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD, 16)


def _spawn(function: Callable[..., Any], said: IO[bytes], environment: dict[str, str]) -> _Ends:
    root = str(Path(__file__).resolve().parents[1])
    environment = environment | {"PYTHONPATH": os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))}
    # -P: a numpy.py in the user's folder must not be imported in place of numpy.
    command = [sys.executable, "-P", "-c", "from onnxslim.isolation import _main; _main()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment)
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    pickle.dump(function, process.stdin, protocol=5)
    process.stdin.flush()
    return process, process.stdout, process.stdin


def _main() -> None:
    """A fresh interpreter's part: the function, then the calls."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whoever prints does not write into the answers
    _serve(pickle.load(sys.stdin.buffer), sys.stdin.buffer, answers)


def _serve(function: Callable[..., Any], reader: IO[bytes], writer: IO[bytes]) -> None:
    while True:
        try:
            seconds, threads, memory, args = pickle.load(reader)
        except EOFError:  # the parent closed its end, or is gone
            return
        _bound(seconds, threads, memory)
        try:
            answer: tuple[bool, Any] = True, function(*args)
        except Exception as error:
            answer = False, error
        _unbound()
        del args
        pickle.dump(None, writer, protocol=5)
        writer.flush()
        pickle.dump(answer, writer, protocol=5)
        writer.flush()


def _bound(seconds: float, threads: int, memory: int | None) -> None:
    """Bounds of the system's own, which hold when the parent is gone, too."""
    if not CAN_FORK:
        return
    import resource

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds * PATIENCE + GRACE)
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds * threads))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_DATA, None if memory is None else _data_bytes() + memory)


def _limit(what: int, most: int | None) -> None:
    """Sets a soft limit of the system's, as far as the hard one admits; None takes it away."""
    import resource

    hard = resource.getrlimit(what)[1]
    soft = hard if most is None or (hard != resource.RLIM_INFINITY and most > hard) else most
    resource.setrlimit(what, (soft, hard))


def _unbound() -> None:
    """An idle child waits for as long as its parent lives."""
    if not CAN_FORK:
        return
    import resource

    signal.setitimer(signal.ITIMER_REAL, 0)
    _limit(resource.RLIMIT_CPU, None)
    _limit(resource.RLIMIT_DATA, None)


def _data_bytes() -> int:
    """Bytes that RLIMIT_DATA counts now: writable memory of this process alone."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    return 0


def _end(owner: int, process: _Process, reader: IO[bytes], writer: IO[bytes], said: IO[bytes]) -> None:
    if os.getpid() != owner:
        return  # a fork of the owner's: the child is none of its own
    process.kill()
    process.wait()
    for end in (reader, writer, said):
        with contextlib.suppress(OSError):  # what was not sent has no reader any more
            end.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
