"""Kills searches at random moments and resumes them, and runs them with other engines: the bytes must be the same.

``kills``: a search of ``compress --no-bench`` is killed with SIGKILL at a random moment, the head or one of its worker
processes in turn, and the same command runs again, until it ended by itself. Its result must be, byte for byte, that
of a search which nothing disturbed, and its journal must hold no more trials than that one's and one for each worker.
``engines``: 1, 2 and 4 workers and a Dask cluster of 2 processes, if there is a Python with dask.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.compress_runs import DEFINED, GIVEN, Row, Watch, journal
from tools.judged_runs import ask
from tools.slim_runs import CHECKOUT

WORKERS = (1, 2, 4)
"""Of ``engines``."""
AT_ONCE = 2
"""Workers of ``kills``."""
SETTLE = 10.0
"""Seconds within which the workers of a killed head are to be gone."""
CLUSTER = """
import sys
from distributed import LocalCluster
with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Search:
    """One search that can be run again and again.

    Attributes:
        python: Of our environment.
        source: The model.
        given: The file of its samples.
        options: More of ``compress``.
        timeout: Seconds for one run.
    """

    python: str
    source: Path
    given: Path
    options: tuple[str, ...]
    timeout: float

    def start(self, place: Path, *more: str, python: str | None = None) -> subprocess.Popen[bytes]:
        """Starts it in a session of its own; result, journal and what it says lie in ``place``."""
        place.mkdir(exist_ok=True)
        words = [python or self.python, "-m", "onnxslim", "compress", str(self.source), "-o", str(place / "model.onnx")]
        words += ["--samples", f"{DEFINED}:samples", "--metric", f"{DEFINED}:metric", "--work", str(place / "work")]
        variables = os.environ | {GIVEN: str(self.given), "PYTHONPATH": str(CHECKOUT)}
        with (place / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [*words, "--no-bench", *self.options, *more],
                cwd=place,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def finish(self, process: subprocess.Popen[bytes], place: Path) -> str:
        """Waits for its end.

        Returns:
            The digest of the result.

        Raises:
            RuntimeError: It failed, or took too long.
        """
        try:
            code = process.wait(self.timeout)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise RuntimeError(f"killed after {self.timeout:.0f} s") from error
        if code:
            lines = (place / "log.txt").read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"exit code {code}: {lines[-1][:300] if lines else ''}")
        return hashlib.sha256((place / "model.onnx").read_bytes()).hexdigest()


@contextlib.contextmanager
def prepared(options: argparse.Namespace, *more: str) -> Iterator[tuple[str, Search, Path]]:
    """The first model whose name is wanted, a search of it, and an empty folder."""
    name = next(each for each in ask(options.python, do="list") if any(text in each for text in options.only))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = ask(options.python, do="prepare", model=name, calibration=options.calibration, folder=folder)
        words = ("--max-drop", str(options.max_drop), "--time", options.time, *more, *options.more)
        yield name, Search(options.python, Path(made["source"]), root / "given.pickle", words, options.timeout), root


def session(leader: int) -> list[int]:
    """The living processes of a session but for its leader."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its = (place / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:  # it ended meanwhile
            continue
        if int(its) == leader and state not in "ZX" and int(place.name) != leader:
            found.append(int(place.name))
    return sorted(found)


def trials(place: Path) -> Counter[str]:
    """Key -> how many times a whole model was journalled."""
    found: Counter[str] = Counter()
    for entry in journal(place / "work"):
        if entry.get("kind") == "trial":
            found[str(entry.get("key", json.dumps(entry, sort_keys=True)))] += 1
    return found


def disturb(search: Search, place: Path, moments: list[float], targets: list[str], rng: random.Random) -> Row:
    """One search with several kills: what it came to.

    Args:
        search: What is killed.
        place: Its folder.
        moments: Seconds after each start at which it is killed.
        targets: Of each kill: ``head`` or ``worker``.
        rng: Chooses the worker.
    """
    struck: Counter[str] = Counter()
    left = 0
    process = search.start(place)
    for moment, target in zip(moments, targets, strict=True):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
            struck["ended before"] += 1
        if process.poll() is None:
            workers = session(process.pid)
            if target == "worker" and workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
                struck["worker"] += 1
                continue
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            struck["head"] += 1
            left += _gone(process.pid)
        if process.poll() is not None:
            process = search.start(place)
    try:
        code = process.wait(search.timeout)
        if code:  # a worker that was killed may end a run; the same command continues it
            process = search.start(place)
        digest = search.finish(process, place)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return {"error": str(error), "kills": dict(struck), "left": left}
    return {"digest": digest, "kills": dict(struck), "left": left, "trials": trials(place)}


def _gone(leader: int) -> int:
    """How many workers outlive their head by `SETTLE` seconds; they are ended."""
    until = time.monotonic() + SETTLE
    while (living := session(leader)) and time.monotonic() < until:
        time.sleep(0.05)
    for each in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    return len(living)


def kills(options: argparse.Namespace) -> tuple[str, Row]:
    """The mode of that name: the model, and as ``ok`` whether all results are the same and little was done again."""
    rng = random.Random(options.seed)
    with prepared(options, "--workers", str(AT_ONCE)) as (name, search, root):
        began = time.monotonic()
        wanted = search.finish(search.start(root / "whole"), root / "whole")
        length = time.monotonic() - began
        once = sum(trials(root / "whole").values())
        print(f"{name}: undisturbed {length:.1f} s, {once} whole models", flush=True)
        total: Counter[str] = Counter()
        turn = 0
        while total["head"] + total["worker"] < options.kills:
            turn += 1
            targets = [("head", "worker")[(turn + number) % 2] for number in range(options.burst)]
            moments = [rng.uniform(0, 1.5 * length / options.burst) for _ in targets]
            made = disturb(search, root / f"turn{turn}", moments, targets, rng)
            total.update(made["kills"])
            total["left"] += made["left"]
            total["runs"] += 1
            again = sum(made.get("trials", Counter()).values()) - once
            twice = sum(count - 1 for count in made.get("trials", Counter()).values())
            total["failed"] += "error" in made
            total["differ"] += made.get("digest", wanted) != wanted
            total["done again"] += twice
            total["more than one a worker"] += twice > AT_ONCE * (
                made["kills"].get("head", 0) + made["kills"].get("worker", 0)
            )
            print(f"turn {turn}: {made.get('error') or made['kills']}, {again:+d} trials, {twice} twice", flush=True)
            if total["ended before"] > 10 * options.kills:
                raise SystemExit("the search is too short to be killed: give it a larger model")
    told = {key: total[key] for key in ("runs", "head", "worker", "ended before", "failed", "differ", "left")}
    told |= {key: total[key] for key in ("done again", "more than one a worker")}
    bad = total["failed"] + total["differ"] + total["left"] + total["more than one a worker"]
    return name, {"ok": not bad, "seconds": length, "trials": once} | told


@contextlib.contextmanager
def cluster(python: str, given: Path) -> Iterator[str]:
    """The address of a Dask cluster of two processes on this machine, which ends with the block."""
    variables = os.environ | {GIVEN: str(given), "PYTHONPATH": str(CHECKOUT)}
    pipe = subprocess.PIPE
    with subprocess.Popen([python, "-c", CLUSTER], env=variables, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"no cluster: {python} exited with {process.wait()}")
        yield address.replace("tcp://", "dask://")
        process.stdin.close()


def engines(options: argparse.Namespace) -> tuple[str, Row]:
    """The mode of that name: the model, and as ``ok`` whether all results are the same."""
    digests: dict[str, str] = {}
    rates: dict[str, dict[str, float]] = {}
    with prepared(options) as (name, search, root):

        def measure(label: str, *more: str, python: str | None = None) -> None:
            place = root / label
            place.mkdir()
            began = time.monotonic()
            with Watch(place / "work", place / "log.txt") as watch:
                try:
                    digests[label] = search.finish(search.start(place, *more, python=python), place)
                except RuntimeError as error:
                    digests[label] = f"failed: {error}"
            rates[label] = {kind: rate for kind in watch.counts if (rate := watch.rate(kind)) is not None}
            told = ", ".join(f"{kind} {watch.counts[kind]} ({rate:.0f}/min)" for kind, rate in rates[label].items())
            print(f"{name}, {label}: {time.monotonic() - began:.1f} s, {digests[label][:80]}; {told}", flush=True)

        for count in WORKERS:
            measure(f"workers {count}", "--workers", str(count))
        if options.dask:
            with cluster(options.dask, search.given) as address:
                measure("dask 2", "--engine", address, python=options.dask)
    one, two = rates["workers 1"], rates["workers 2"]
    gain = {kind: two[kind] / one[kind] for kind in one.keys() & two.keys()}
    same = len(set(digests.values())) == 1 and not any(each.startswith("failed") for each in digests.values())
    return name, {"ok": same, "digests": digests, "a_minute": rates, "two_workers_over_one": gain}
