"""Tasks on a local Dask cluster: the same answers as in this process, though a worker is lost."""

from __future__ import annotations

import functools
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import SetupError
from onnxslim.search.engine import Engine, Failure, InProcess, open_engine
from tests.search.engine_tasks import do, product

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # Dask's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
            yield found


@pytest.fixture
def engine(cluster: Any) -> Iterator[Engine]:
    with open_engine(cluster.scheduler_address.replace("tcp://", "dask://"), memory=200 << 20, seconds=1) as found:
        yield found


def test_answers_are_those_of_a_pool(engine: Engine, tmp_path: Path) -> None:
    assert engine.workers == 2
    fails = str(tmp_path / "fails")
    tasks = [("sleep", 0.2), ("square", 2), ("refuse", 1), ("raise", fails), ("crash", str(tmp_path / "crashes"))]
    slow, four, refused, raised, crashed, *nine = engine.map(do, [*tasks, ("square", 3)])
    assert (slow, four, nine) == (0.2, 4, [9])
    assert refused == Failure("the task is refused (1)")
    assert raised == Failure("ValueError: no (in 2 attempts)")
    assert crashed == Failure("the task crashed (signal 11, SIGSEGV) (in 2 attempts)", quarantined=True)
    shared = np.random.default_rng(0).standard_normal((400, 700)).astype(np.float32)
    function = functools.partial(product, shared)
    assert list(engine.map(function, range(4))) == list(InProcess().map(function, range(4)))


def test_the_tasks_of_a_lost_worker_go_to_another(cluster: Any, engine: Engine) -> None:
    answers = engine.map(do, [("square", 2), *[("sleep", 0.1 + each / 1000) for each in range(10)]])
    assert next(answers) == 4
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    assert list(answers) == [0.1 + each / 1000 for each in range(10)]


def test_a_cluster_that_does_not_answer_is_an_error_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.search.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(SetupError, match="the Dask cluster does not answer"):
        open_engine("dask://127.0.0.1:1")
