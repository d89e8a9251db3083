"""One process of a latency comparison: reads a job from stdin, writes timings to stdout, both JSON.

It imports onnxruntime and numpy alone, since its start is paid for in every process of every comparison.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import random
import sys
import time
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np

from onnxslim.execution.ort import brief, failures, lend, onnxruntime, session_options
from onnxslim.isolation import die_with_parent

WARM_UP_SECONDS = 0.03
"""Each session runs at least this long, and twice, before it is timed."""
BLOCK_SECONDS = 0.002
"""Shorter runs are repeated until one timing lasts this long."""
MIN_ROUNDS = 5
MAX_WAIT = 3.0
"""How many times longer than asked for a process may take on a busy machine to collect its rounds."""


class Job(TypedDict):
    """What one process is asked to do."""

    models: list[str]
    """A path for each session; a path that comes twice is loaded twice."""
    feeds: str
    """A pickled list of feeds, written by the parent."""
    threads: int
    cpus: list[int]
    """What to pin the process to; empty for no pinning."""
    seconds: float
    seed: int
    config: dict[str, str]
    libraries: list[str]
    """Of custom operators."""


class Timings(TypedDict, total=False):
    """What comes back: either ``rounds`` and ``clean``, or ``error`` and the ``model`` it happened with."""

    rounds: list[list[float]]
    """Seconds of one run, ``[round][session]``; with one thread its time on the CPU, else wall time."""
    clean: list[bool]
    """Whether the round passed without the process being preempted."""
    error: str
    model: int


def main() -> int:
    """Runs the job on stdin."""
    die_with_parent()  # a command that is killed must not leave its timings running
    job: Job = json.load(sys.stdin)
    json.dump(measure(job), sys.stdout)
    return 0


def measure(job: Job) -> Timings:
    """Loads every session in random order, then times them in rounds, each round in random order on one feed."""
    if job["cpus"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cpus"])
    with open(job["feeds"], "rb") as file:
        feeds = pickle.load(file)
    order = random.Random(job["seed"])
    runs: list[list[Callable[[], object]]] = [[] for _ in job["models"]]
    estimate = 0.0
    for index in order.sample(range(len(runs)), len(runs)):
        try:
            runs[index] = _bind(job["models"][index], feeds, job)
            estimate = max(estimate, _warm_up(runs[index]))
        except failures() as error:
            return {"error": brief(error), "model": index}
    repeats = max(1, round(BLOCK_SECONDS / max(estimate, 1e-6)))
    rounds: list[list[float]] = []
    clean: list[bool] = []
    # One thread's time on the CPU is its wall time less what other processes took, which is not the model's.
    clock = time.thread_time if job["threads"] == 1 else time.perf_counter
    gc.disable()
    end, latest = clock() + job["seconds"], time.perf_counter() + MAX_WAIT * job["seconds"]
    while len(rounds) < MIN_ROUNDS or (clock() < end and time.perf_counter() < latest):
        feed = order.randrange(len(feeds))
        times = [0.0] * len(runs)
        before = _preemptions()
        for index in order.sample(range(len(runs)), len(runs)):
            run = runs[index][feed]
            started = clock()
            for _ in range(repeats):
                run()
            times[index] = (clock() - started) / repeats
        clean.append(_preemptions() == before)
        rounds.append(times)
    return {"rounds": rounds, "clean": clean}


def _bind(path: str, feeds: list[dict[str, Any]], job: Job) -> list[Callable[[], object]]:
    """A session's run for each feed."""
    options = session_options(job["threads"], True, job["config"], spin=True, libraries=job["libraries"])
    session = onnxruntime().InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    if any(
        "float8" in port.type or "bfloat16" in port.type for port in (*session.get_inputs(), *session.get_outputs())
    ):
        values = [{name: lend(np.asarray(array)) for name, array in feed.items()} for feed in feeds]
        return [lambda value=value: session.run_with_ort_values(outputs, value) for value in values]  # type: ignore[misc]
    return [lambda feed=feed: session.run(outputs, feed) for feed in feeds]  # type: ignore[misc]


def _warm_up(runs: list[Callable[[], object]]) -> float:
    """Seconds of the fastest run on the slowest feed."""
    slowest = 0.0
    for run in runs:
        run()  # the first run of a shape allocates its buffers
        fastest, end = float("inf"), time.perf_counter() + WARM_UP_SECONDS / len(runs)
        while True:
            started = time.perf_counter()
            run()
            now = time.perf_counter()
            fastest = min(fastest, now - started)
            if now >= end:
                break
        slowest = max(slowest, fastest)
    return slowest


def _preemptions() -> int:
    """Involuntary context switches of this process so far; 0 where the system does not count them."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


if __name__ == "__main__":
    sys.exit(main())
