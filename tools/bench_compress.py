"""``compress`` against single verbs, recipes and peers, on the zoo's models that have a task.

    python -m tools.bench_compress run --out R.json --time 10m --peer ort=ENV/bin/python --peer nncf=OTHER/bin/python
    python -m tools.bench_compress run --out R.json --only magika --tools ours-balanced ours-quantize --time 2m
    python -m tools.bench_compress table --out R.json
    python -m tools.bench_compress predicted --out R.json --svg docs/predicted.svg
    python -m tools.bench_compress kills --out R.json --only digits_cnn --kills 50
    python -m tools.bench_compress engines --out R.json --only digits_cnn --dask ENV/bin/python

``run``: each tool is a process of its own on the same samples, those of the calibration and of the selection split,
with labels. What it wrote is scored on the report split, which no tool sees, timed interleaved with the original on one
and on all threads, and looked into by `tools.quantize_judge`. Results are added to those that the file holds; what it
holds is not run again without ``--again``. Options after ``--`` go to ``compress``. ``predicted`` compares what the
searches in the results predicted with what they measured. ``kills`` and ``engines`` take the first model whose name is
wanted: `tools.compress_kills`.

Environments of the peers, each a venv that ``--peer NAME=PYTHON`` names (Python 3.11):

- ``ort``: onnxruntime==1.32.0 onnx==1.23.2 sympy==1.14.0 onnxscript==0.7.2
- ``onnxsim``: onnxsim==0.8.1 onnxruntime==1.32.0 onnx==1.23.2
- ``nncf``: nncf==3.4.0 openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 sympy==1.14.0 onnxscript==0.7.2
- ``quark``: amd-quark==0.13 onnxruntime==1.32.0 onnx==1.22.0 torch==2.13.0 (CPU)
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tools.compress_kills import engines, kills
from tools.compress_predicted import draw, points, summary
from tools.compress_runs import PEERS, TOOLS, Row, compress
from tools.compress_table import markdown
from tools.judged_runs import Runner, add_options, load_results, measure_models

MODES = ("run", "table", "predicted", "kills", "engines")


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    add_options(parser, calibration=128, timeout=1500)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS, metavar="TOOL", help=", ".join(TOOLS))
    parser.add_argument("--time", default="10m", help="that a search may take [10m]")
    parser.add_argument("--max-drop", type=float, default=0.01, help="of the score [0.01]")
    parser.add_argument("--time-later", default="", help="with --share: of the goals after the first [as --time]")
    parser.add_argument("--share", action="store_true", help="all goals of a model go on with one journal")
    parser.add_argument("--svg", type=Path, help="predicted: where the plot goes")
    parser.add_argument("--kills", type=int, default=50, help="kills: how many [50]")
    parser.add_argument("--burst", type=int, default=5, help="kills of one search, one after another [5]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills [0]")
    parser.add_argument("--dask", default="", metavar="PYTHON", help="engines: a Python that has our package and dask")
    options = parser.parse_args(words[:at])
    options.more = words[at + 1 :]

    results = load_results(options)
    if options.mode == "run":
        results["max_drop"] = options.max_drop
        peers = dict(options.peer)
        pythons = {tool: peers.get(PEERS[tool], "") if tool in PEERS else options.python for tool in options.tools}
        missing = [tool for tool, python in pythons.items() if not python]
        if missing:
            print(f"left out, no --peer names their environment: {', '.join(missing)}")
        tools = {tool: python for tool, python in pythons.items() if python}
        measure_models(tools, results, options, runner(options))
    if options.mode in ("run", "table"):
        print(markdown(results))
        return 0
    if options.mode == "predicted":
        found = points(results)
        print(summary(found))
        if options.svg:
            options.svg.write_text(draw(found))
        return 0
    name, made = kills(options) if options.mode == "kills" else engines(options)
    results.setdefault(options.mode, {})[name] = made
    options.out.write_text(json.dumps(results, indent=1))
    print(json.dumps(made))
    return int(not made["ok"])


def runner(options: argparse.Namespace) -> Runner:
    """Runs one tool, as `tools.judged_runs` wants it."""
    asked = {key: getattr(options, key) for key in ("max_drop", "time", "more", "timeout", "share", "time_later")}

    def run(tool: str, python: str, source: Path, root: Path, folder: Path) -> Row:
        return compress(tool, python, source, root, folder, asked)

    return run


if __name__ == "__main__":
    sys.exit(main())
