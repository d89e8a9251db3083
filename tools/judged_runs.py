"""What the benchmarks of tools that change a model share: each tool runs on each model, and the result is judged.

Only the standard library is imported, for the reason that `tools.slim_runs` gives.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tools.quantize_runs import ENVIRONMENTS, peer_version
from tools.slim_runs import CHECKOUT

Row = dict[str, Any]
Runner = Callable[[str, str, Path, Path, Path], Row]
"""``runner(tool, python, source, root, folder)`` runs a tool: the samples lie in ``root``, ``folder`` is empty and gets
the result as ``model.onnx``. The answer holds the cost, and as ``error`` why there is no result."""


def ask(python: str, **request: Any) -> Any:
    """The answer of the judge's process.

    Raises:
        RuntimeError: It crashed; the text is its last line.
    """
    done = subprocess.run(
        [python, "-m", "tools.quantize_judge"], input=json.dumps(request), capture_output=True, text=True, cwd=CHECKOUT
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"exit code {done.returncode}: {lines[-1][:300] if lines else ''}")
    return json.loads(done.stdout)


def measure_model(name: str, wanted: dict[str, str], results: Row, options: argparse.Namespace, runner: Runner) -> None:
    """Runs and judges the wanted tools on one model, and saves after each: an interrupted run has its results.

    Args:
        name: Of the model in the zoo.
        wanted: Tool -> the Python that it runs in.
        results: Gets the rows, in ``models``.
        options: Of `parser`.
        runner: Runs one tool.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            original = ask(options.python, do="prepare", model=name, calibration=options.calibration, folder=folder)
        except RuntimeError as error:
            print(f"{name}: left out, it cannot be had: {error}", flush=True)
            return
        source = Path(original.pop("source"))
        row = results["models"].setdefault(name, {"runs": {}})
        row["original"] = original
        limits = {"items": options.items, "seconds": options.seconds, "processes": options.processes}
        for tool, python in wanted.items():
            place = root / "out" / tool
            place.mkdir(parents=True)
            made = runner(tool, python, source, root, place)
            if not made["error"]:
                request = {"model": name, "candidate": str(place / "model.onnx")}
                cache = str(root / "original.npz")
                try:
                    made |= ask(options.python, do="judge", **request, options=limits | {"cache": cache})
                except RuntimeError as error:
                    made["error"] = f"judging it failed: {error}"
            row["runs"][tool] = made
            options.out.write_text(json.dumps(results, indent=1))
            print(f"{name}, {tool}: {made['error'] or said(made)}", flush=True)


def measure_models(tools: dict[str, str], results: Row, options: argparse.Namespace, runner: Runner) -> None:
    """The same of all models whose name is wanted; what the results hold is not run again without ``--again``."""
    for name in ask(options.python, do="list"):
        held: Iterable[str] = () if options.again else results["models"].get(name, {}).get("runs", {})
        wanted = {tool: python for tool, python in tools.items() if tool not in held}
        if wanted and any(text in name for text in options.only):
            measure_model(name, wanted, results, options, runner)


def load_results(options: argparse.Namespace) -> Row:
    """What the file of results holds, with the versions of the peers added."""
    results: Row = json.loads(options.out.read_text()) if options.out.exists() else {"peers": {}, "models": {}}
    results["peers"] |= {name: peer_version(name, python) for name, python in options.peer}
    return results


def said(made: dict[str, Any]) -> str:
    """One line on a result."""
    score = made["scores"][made["metric"]]
    speed = [f"{count} threads {1 / each['ratio']:.2f}x" for count, each in made.get("latency", {}).items()]
    parts = [f"{made['size_ratio']:.2f}x smaller", f"{made['metric']} {score['fp32']:.4f} -> {score['int8']:.4f}"]
    parts += [*speed, f"{made['unfused']} unfused", f"{made['wall_seconds']:.1f} s"]
    return ", ".join(parts)


def _peer(text: str) -> tuple[str, str]:
    name, _, python = text.partition("=")
    if name not in ENVIRONMENTS:
        raise argparse.ArgumentTypeError(f"no such environment: {name}; known are {', '.join(ENVIRONMENTS)}")
    if not Path(python).is_file():
        raise argparse.ArgumentTypeError(f"{name} is to be a Python, and there is no file {python!r}")
    return name, python


def add_options(parser: argparse.ArgumentParser, *, calibration: int, timeout: float) -> None:
    """The options that these benchmarks share.

    Args:
        parser: Gets them.
        calibration: Default of samples for the peers.
        timeout: Default of seconds.
    """
    add = parser.add_argument
    add("--out", type=Path, required=True, help="JSON of results, added to")
    add("--peer", type=_peer, action="append", default=[], metavar="NAME=PYTHON", help="environment")
    add("--only", nargs="+", default=[""], metavar="TEXT", help="models whose name contains a text")
    add("--again", action="store_true", help="run also what the results hold")
    add("--calibration", type=int, default=calibration, help=f"samples that the peers calibrate on [{calibration}]")
    add("--items", type=int, help="at most so many items are scored")
    add("--seconds", type=float, default=4.0, help="for each latency; 0: none is measured [4]")
    add("--processes", type=int, default=10, help="for each latency [10]")
    add("--timeout", type=float, default=timeout, help=f"seconds that a tool may take [{timeout:.0f}]")
    add("--python", default=sys.executable, help="Python of our environment [this one]")
