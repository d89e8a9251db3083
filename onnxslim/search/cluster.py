"""An existing Dask cluster as the engine: ``--engine dask://HOST:PORT``.

A task runs on a cluster as it does in a pool: in a fresh interpreter that a thread of the Dask worker drives, with the
same limits, attempts and quarantine (`onnxslim.search.attempts`). What Dask adds is the way there, and that the tasks
of a machine that is lost go to another one.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from onnxslim.errors import OnnxSlimError, SetupError
from onnxslim.search.answers import SECONDS, Closing, Failure, Task, Value, check_limits
from onnxslim.search.attempts import Attempts, Parcel, pack
from onnxslim.version import versions

AHEAD = 4
"""Tasks for each worker that are on their way before one of them is done."""
CONNECT_SECONDS = 10
"""Time in which the scheduler must answer."""
MEND = (
    "start it with `dask scheduler` and `dask worker HOST:PORT`, in an environment that has onnxslim and its extra dask"
)


class DaskEngine(Closing):
    """Runs tasks on the workers of a Dask cluster.

    Args:
        address: ``HOST:PORT`` of the scheduler.
        memory: Bytes that a task may take beyond what its process holds already; None means no limit.
        seconds: Time on the CPU that a task may take.

    Raises:
        InputError: A limit is out of range.
        SetupError: ``distributed`` is not installed, the cluster cannot be reached or has no workers, or a worker has
            other versions of what results depend on.
    """

    def __init__(self, address: str, *, memory: int | None = None, seconds: float = SECONDS) -> None:
        check_limits(memory, seconds)
        self._address, self._limits = address, (memory, seconds)
        self._dask = _import_dask()
        try:
            self._client = self._dask.Client(
                f"tcp://{address}", timeout=CONNECT_SECONDS, set_as_default=False, heartbeat_interval="2s"
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise SetupError("the Dask cluster does not answer", where=address, why=str(error), mend=MEND) from error
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """Tasks that run at the same time: the threads of all Dask workers."""
        return sum(self._client.nthreads().values())

    def _check(self) -> None:
        if not self.workers:
            raise SetupError("the Dask cluster has no workers", where=self._address, mend=MEND)
        try:
            found = self._client.run(versions, on_error="return")
        except (OSError, TimeoutError) as error:
            raise self._lost(error) from error
        mine = versions()
        for worker, its in found.items():
            if isinstance(its, BaseException):
                why = f"{type(its).__name__}: {its}"
                raise SetupError("a worker of the cluster cannot import onnxslim", where=worker, why=why, mend=MEND)
            _same(mine, its, worker)

    def map(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Iterator[Value | Failure]:
        """The answers to tasks, in their order; see `onnxslim.search.engine.Engine.map`."""
        packed, source, mine = pack(function, "the function"), iter(tasks), versions()
        ahead: deque[Any] = deque()
        more = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it is large
            # Scattered data would be lost with the worker that holds it. What a task returns is made again.
            common = self._client.submit(_held, packed, pure=False)
        try:
            while True:
                most = AHEAD * max(1, self.workers)
                while more and sum(not each.done() for each in ahead) < most:
                    try:
                        task = pack(next(source), "a task")
                    except StopIteration:
                        more = False
                    else:
                        ahead.append(self._client.submit(_on_worker, common, task, self._limits, mine, pure=False))
                if not ahead:
                    return
                if not ahead[0].done():
                    open_ones = [each for each in ahead if not each.done()]
                    with self._client.as_current():
                        self._dask.wait(open_ones, return_when="FIRST_COMPLETED")
                else:
                    yield self._answer(ahead.popleft())
        except (OSError, self._dask.CancelledError) as error:
            raise self._lost(error) from error
        finally:
            self._drop([*ahead, common])

    def _answer(self, future: Any) -> Any:
        try:
            return future.result()
        except self._dask.KilledWorker as error:
            return Failure(f"its Dask workers died: {error}", quarantined=True)
        except OnnxSlimError:  # of the environment: what a task raises is a value
            raise
        except (ImportError, AttributeError) as error:  # the worker came later, without onnxslim
            why = f"{type(error).__name__}: {error}"
            raise SetupError("a worker of the cluster cannot import onnxslim", why=why, mend=MEND) from error

    def _drop(self, futures: list[Any]) -> None:
        """Takes back what has not begun; what runs ends by itself or by its limits."""
        if self._client.status == "running":
            self._client.cancel(futures, force=True)

    def _lost(self, error: BaseException) -> SetupError:
        return SetupError(
            "the connection to the Dask cluster is lost",
            where=self._address,
            why=str(error),
            mend="start the cluster again, and run the same command: what is in the journal is not done again",
        )

    def close(self) -> None:
        """Leaves the cluster, which goes on."""
        self._client.close(timeout=CONNECT_SECONDS)


def _import_dask() -> Any:
    """The module ``distributed``.

    Raises:
        SetupError: It is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise SetupError(
            "--engine dask://... needs the package distributed",
            why=str(error),
            mend="pip install 'onnxslim-compiler[dask]'",
        ) from error
    return distributed


def _same(mine: Mapping[str, str], its: Mapping[str, str], worker: str) -> None:
    """Refuses a worker whose results may have other bits.

    Raises:
        SetupError: A version differs.
    """
    for name, version in mine.items():
        if its.get(name) != version:
            raise SetupError(
                f"a worker of the cluster has {name} {its.get(name)}, and {version} is here",
                where=worker,
                why="results would depend on who computed them",
                mend="install the same versions everywhere",
            )


def _held(function: Parcel) -> Parcel:
    """What all tasks share: Dask moves it to a worker when its first task goes there, and keeps it."""
    return function


_threads = threading.local()
"""In a Dask worker: of each of its threads, the process that it drives."""


def _on_worker(function: Parcel, task: Parcel, limits: tuple[int | None, float], mine: Mapping[str, str]) -> Any:
    """Answers a task in a Dask worker."""
    if not hasattr(_threads, "of"):
        _same(mine, versions(), "a worker that joined later")
        _threads.of = {}
    attempts = _threads.of.get(limits)
    if attempts is None:
        for each in _threads.of.values():  # another run's
            each.close()
        _threads.of = {limits: Attempts(*limits)}
        attempts = _threads.of[limits]
    return attempts.answer(function, task)
