"""Which of two models is faster, said only where the measurement can bear it.

Sequential timing of one model against itself wrongly found a difference in 9 of 24 trials: a process's memory placement
biases every timing in it, so runs within a process are no independent evidence, and a longer run does not help. Here

- both models, and a second copy of each, live in each of several fresh processes, loaded in random order, so that
  placement is drawn anew for every process and every copy;
- rounds time every copy once, in random order, on one feed; with one thread it is the thread's time on the CPU that
  counts, wall time less what other processes took; rounds in which it was preempted are left out where enough remain;
- a process gives one number: the median over its rounds of log(b / a), copies averaged;
- the interval is over processes: a trimmed mean with Student's t (Tukey & McLaughlin 1963; Yuen 1974);
- the copies against each other give the floor: what this machine, now, shows where nothing differs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, cast

import numpy as np

from onnxslim.errors import CheckFailed, InputError, SetupError
from onnxslim.execution.feeds import Feed
from onnxslim.execution.intervals import trimmed_interval
from onnxslim.execution.latency_child import Job, Timings
from onnxslim.execution.opening import AnyModel
from onnxslim.execution.ort import child_environment, custom_op_libraries
from onnxslim.execution.weights import write
from onnxslim.graph.atomic import scratch_explained, scratch_folder
from onnxslim.graph.interrupts import uninterrupted

CONFIDENCE = 0.99
"""Of the interval. "Faster" is a claim, and one false claim in a hundred comparisons is what a user may be shown."""
MIN_EFFECT = 0.005
"""Differences below half a percent are never called a difference."""
NOISY = 1.25
"""High over low end of an interval without a difference from which on the measurement says nothing."""
MIN_CLEAN = 5
"""Rounds without preemption that a process needs for only these to count."""
COPIES = ("a", "a", "b", "b")
"""The sessions of one process."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""What is kept of the times of one process."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The times of one process: quantiles as in `QUANTILES`, milliseconds of one run."""

    a_ms: tuple[float, ...]
    b_ms: tuple[float, ...]
    ratio: float
    """Median over the rounds of time of b / time of a."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long ``b`` takes compared with ``a``.

    ``ratio`` is time of b / time of a: below 1 means that b is faster; x times faster is ``1 / ratio``.
    """

    ratio: float
    low: float
    """Lower end of the ratio's interval, at `CONFIDENCE`."""
    high: float
    verdict: Literal["faster", "slower", "no difference"]
    """Of b."""
    a_ms: float
    """Median time of one run, milliseconds; with one thread its time on the CPU, on an idle machine wall time."""
    b_ms: float
    floor: float
    """Relative difference (0.01 = 1 %) that identical models may show here and now; smaller ones are no difference."""
    trials: int
    """Rounds that counted, over all processes."""
    processes: int
    threads: int
    spreads: tuple[Spread, ...] = ()
    """Of each process; the interval is over their ratios."""

    @property
    def speedup(self) -> float:
        """How many times as fast ``b`` is."""
        return 1 / self.ratio

    def to_json(self) -> dict[str, object]:
        """The fields, and ``speedup`` beside the ``ratio`` that it is the inverse of."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"ratio": found.pop("ratio"), "speedup": self.speedup, **found}

    @property
    def noisy(self) -> bool:
        """Whether no difference was found and a large one may be there all the same."""
        return self.verdict == "no difference" and self.high > NOISY * self.low

    def __str__(self) -> str:
        said = (
            f"{self.a_ms:.3g} -> {self.b_ms:.3g} ms, x{1 / self.ratio:.3f} ({1 / self.high:.3f} to {1 / self.low:.3f})"
        )
        if self.noisy:
            return f"{said}: too noisy to tell"
        return f"{said}: {self.verdict}"


def compare_latency(
    a: AnyModel,
    b: AnyModel,
    feeds: Sequence[Feed],
    *,
    threads: int = 1,
    processes: int = 10,
    seconds: float = 4.0,
    seed: int = 0,
    config: Mapping[str, str] | None = None,
    timeout: float = 600.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Latency:
    """Times ``a`` and ``b`` against each other, fully optimized, on the CPU.

    Args:
        a: The model compared with, usually the original.
        b: The model judged.
        feeds: Inputs that both accept; each round takes one of them.
        threads: Threads within an operator; each process is pinned to as many CPUs, where the system allows.
        processes: Fresh processes, one after another; at least 4.
        seconds: Time spent in timing, over all processes; loading (for each process) comes on top, a busy machine takes
            up to three times as long, and a slow model as long as its five rounds.
        seed: Of the random orders.
        config: Session config entries for both.
        timeout: Seconds that one process may take.
        progress: Called before each process with a short text.

    Raises:
        InputError: No feeds, too few processes, or a model that does not load or run.
        CheckFailed: A process crashed or did not end in time.
    """
    if not feeds:
        raise InputError("no feeds to time with", mend="give samples, or random_feeds(model)")
    if processes < 4 or seconds <= 0 or threads < 1:
        raise InputError(
            f"cannot compare with processes={processes}, seconds={seconds}, threads={threads}",
            mend="use at least 4 processes, more than 0 seconds and at least 1 thread",
        )
    generator = np.random.default_rng(seed)
    with scratch_folder() as folder:
        paths = {"a": _as_path(a, folder, "a"), "b": _as_path(b, folder, "b")}
        feeds_path = os.path.join(folder, "feeds.pickle")
        with (
            scratch_explained(),
            open(feeds_path, "wb") as file,
        ):  # read by our own child only, from a folder that only we may write to
            pickle.dump(list(feeds), file)
        timings = []
        for index in range(processes):
            progress(f"measure the latency, process {index + 1} of {processes}")
            job: Job = {
                "models": [paths[copy] for copy in COPIES],
                "feeds": feeds_path,
                "threads": threads,
                "cpus": _cpus(threads, index),
                "seconds": seconds / processes,
                "seed": int(generator.integers(1 << 31)),
                "config": dict(config or {}),
                "libraries": list(custom_op_libraries()),
            }
            timings.append(_rounds(_run_child(job, timeout)))
    return judge(timings, threads=threads)


def judge(timings: Sequence[np.ndarray], *, threads: int = 1) -> Latency:
    """Interval and verdict from timings.

    Args:
        timings: For each process an array (rounds, 4) of seconds, columns as in `COPIES`.
        threads: Only handed on.
    """
    logs = [np.log(times) for times in timings]
    effects = _contrast(logs, (-1, -1, 1, 1))
    # Copy against copy, in the two ways that weigh all four as the effect does: what is seen where nothing differs.
    nothing = np.concatenate([_contrast(logs, (1, -1, 1, -1)), _contrast(logs, (1, -1, -1, 1))])
    middle, half = trimmed_interval(effects, CONFIDENCE)
    floor = max(trimmed_interval(nothing, CONFIDENCE)[1] * math.sqrt(2), MIN_EFFECT)  # of twice as many values
    verdict: Literal["faster", "slower", "no difference"] = "no difference"
    if abs(middle) > max(half, floor):
        verdict = "faster" if middle < 0 else "slower"
    return Latency(
        ratio=math.exp(middle),
        low=math.exp(middle - half),
        high=math.exp(middle + half),
        verdict=verdict,
        a_ms=1e3 * float(np.median([np.median(times[:, :2]) for times in timings])),
        b_ms=1e3 * float(np.median([np.median(times[:, 2:]) for times in timings])),
        floor=math.expm1(floor),
        trials=sum(len(times) for times in timings),
        processes=len(timings),
        threads=threads,
        spreads=tuple(_spread(times, effect) for times, effect in zip(timings, effects, strict=True)),
    )


def _spread(times: np.ndarray, effect: float) -> Spread:
    """What is kept of one process: its times, (rounds, 4), and the log of its ratio."""
    a, b = (tuple(float(f"{1e3 * each:.4g}") for each in np.quantile(some, QUANTILES)) for some in np.hsplit(times, 2))
    return Spread(a, b, float(f"{math.exp(effect):.5g}"))


def _contrast(logs: Sequence[np.ndarray], signs: tuple[int, int, int, int]) -> np.ndarray:
    """For each process the median over its rounds of the copies' log times, added with these signs and halved."""
    return np.array([np.median(times @ np.array(signs)) / 2 for times in logs])


def _as_path(model: AnyModel, folder: str, name: str) -> str:
    if isinstance(model, str | os.PathLike):
        path = os.path.abspath(model)
        if not os.path.isfile(path):
            raise InputError("there is no such model file", where=path)
        return path
    return write(model, folder, name)


def _cpus(threads: int, index: int) -> list[int]:
    """CPUs for the process: another set each time, so that one busy CPU does not decide."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    allowed = sorted(os.sched_getaffinity(0))
    return [allowed[(index * threads + k) % len(allowed)] for k in range(min(threads, len(allowed)))]


def _rounds(timings: Timings) -> np.ndarray:
    """Seconds, (rounds, copies), of the rounds that count."""
    times, clean = np.array(timings["rounds"]), np.array(timings["clean"])
    return times[clean] if clean.sum() >= MIN_CLEAN else times


def run_child(
    command: Sequence[str], given: str, *, timeout: float, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` with ``given`` on stdin, but a signal never leaves the child behind, not even while it starts.

    Raises:
        subprocess.TimeoutExpired: It did not end in time.
        OSError: It cannot be started.
    """
    child: subprocess.Popen[str] | None = None
    pipe = subprocess.PIPE
    try:
        with uninterrupted():
            child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env)
        said, complained = child.communicate(given, timeout)
        return subprocess.CompletedProcess(command, child.returncode, said, complained)
    finally:
        if child is not None:
            with uninterrupted():
                if child.poll() is None:
                    child.kill()
                child.wait()
                for each in (child.stdin, child.stdout, child.stderr):
                    with contextlib.suppress(OSError):  # what was not sent goes nowhere
                        if each is not None:
                            each.close()


def _run_child(job: Job, timeout: float) -> Timings:
    """Starts a process, waits for it, and turns whatever goes wrong into an error; it never outlives the call."""
    environment = child_environment()
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    # -P: a numpy.py in the user's folder must not be imported in place of numpy.
    command = [sys.executable, "-P", "-m", "onnxslim.execution.latency_child"]
    try:
        done = run_child(command, json.dumps(job), timeout=timeout, env=environment)
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(
            f"a timing process did not end within {timeout:g} s",
            where=job["models"][0],
            mend="use smaller inputs, or a longer timeout",
        ) from error
    except OSError as error:
        raise SetupError("cannot start a timing process", where=sys.executable, why=str(error)) from error
    if done.returncode != 0:
        tail = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise CheckFailed(f"a timing process ended with code {done.returncode}", where=job["models"][0], why=tail)
    try:
        timings = cast(Timings, json.loads(done.stdout))
    except json.JSONDecodeError as error:
        raise CheckFailed("a timing process answered nonsense", why=done.stdout[:200]) from error
    if "error" in timings:
        which = COPIES[timings["model"]]
        raise InputError(f"model {which} cannot be timed", where=job["models"][timings["model"]], why=timings["error"])
    return timings
