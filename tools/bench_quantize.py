"""Static int8 against its peers, on the zoo's models that have a task.

    python -m tools.bench_quantize --out results.json --peer ort=ENV/bin/python --peer nncf=OTHER/bin/python
    python -m tools.bench_quantize --out results.json --only magika --tools ours ort-default --items 100
    python -m tools.bench_quantize --out results.json --before OTHER --tools ours ours-ort ours-before
    python -m tools.bench_quantize table --out results.json

Each tool is a process of its own and costs its wall time and peak memory. ``--peer`` names the Python of an environment
that holds onnxruntime and one of onnxruntime itself (as ``ort``), ``onnxsim``, ``nncf``, ``amd-quark`` (as ``quark``)
and ``aimet-onnx`` (as ``aimet``); ``ort`` and ``nncf`` want ``sympy`` besides, ``quark`` and ``aimet`` torch. Tools
whose environment is not named are left out. What was written is scored, timed and looked into by
`tools.quantize_judge`. Ours is the checkout that this file lies in, ours-ort the same with ``--ops onnxruntime``, and
ours-before the checkout that ``--before`` names: all are timed against the original, interleaved with it.
Results are added to those that the file holds already; what it holds is not run again without ``--again``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.quantize_runs import BEFORE, ENVIRONMENTS, STATES, TOOLS, peer_version, pythons, quantize
from tools.quantize_table import markdown
from tools.slim_runs import CHECKOUT


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


def measure_model(name: str, wanted: dict[str, str], results: dict[str, Any], options: argparse.Namespace) -> None:
    """Runs and judges the wanted tools on one model, and saves after each: an interrupted run has its results."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        try:
            original = ask(options.python, do="prepare", model=name, calibration=options.calibration, folder=root)
        except RuntimeError as error:
            print(f"{name}: left out, it cannot be had: {error}", flush=True)
            return
        source = Path(original.pop("source"))
        row = results["models"].setdefault(name, {"runs": {}})
        row["original"] = original
        limits = {"items": options.items, "seconds": options.seconds, "processes": options.processes}
        for tool, python in wanted.items():
            place = folder / "out" / tool
            place.mkdir(parents=True)
            samples = folder / ("ours" if tool in STATES else "peers")
            made = quantize(tool, python, source, samples, place, options.timeout, options.before)
            if not made["error"]:
                request = {"model": name, "candidate": str(place / "model.onnx")}
                cache = str(folder / "original.npz")
                try:
                    made |= ask(options.python, do="judge", **request, options=limits | {"cache": cache})
                except RuntimeError as error:
                    made["error"] = f"judging it failed: {error}"
            row["runs"][tool] = made
            options.out.write_text(json.dumps(results, indent=1))
            print(f"{name}, {tool}: {made['error'] or said(made)}", flush=True)


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


def _checkout(text: str) -> Path:
    folder = Path(text)
    if not (folder / "onnxslim" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no checkout of this project")
    return folder


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=["run", "table"], default="run", help="table: only print it")
    parser.add_argument("--out", type=Path, required=True, help="JSON of results, added to")
    parser.add_argument("--peer", type=_peer, action="append", default=[], metavar="NAME=PYTHON", help="environment")
    parser.add_argument("--before", type=_checkout, metavar="DIR", help=f"checkout that {BEFORE} runs")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="models whose name contains a text")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS, metavar="TOOL", help=", ".join(TOOLS))
    parser.add_argument("--again", action="store_true", help="run also what the results hold")
    parser.add_argument("--calibration", type=int, default=64, help="samples that the peers calibrate on [64]")
    parser.add_argument("--items", type=int, help="at most so many items are scored")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each latency; 0: none is measured [4]")
    parser.add_argument("--processes", type=int, default=10, help="for each latency [10]")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that a tool may take [600]")
    parser.add_argument("--python", default=sys.executable, help="Python of our environment [this one]")
    options = parser.parse_args(argv)

    results: dict[str, Any] = {"peers": {}, "models": {}}
    if options.out.exists():
        results = json.loads(options.out.read_text())
    if options.mode == "table":
        print(markdown(results))
        return 0
    peers = dict(options.peer)
    results["peers"] |= {name: peer_version(name, python) for name, python in peers.items()}
    tools = {
        tool: python for tool, python in pythons(options.python, peers, options.before).items() if tool in options.tools
    }
    left_out = [tool for tool in options.tools if tool not in tools]
    if left_out:
        print(f"left out, no --peer or --before names their environment: {', '.join(left_out)}")
    for name in ask(options.python, do="list"):
        held = {} if options.again else results["models"].get(name, {}).get("runs", {})
        wanted = {tool: python for tool, python in tools.items() if tool not in held}
        if wanted and any(text in name for text in options.only):
            measure_model(name, wanted, results, options)
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
