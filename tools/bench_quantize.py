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
import sys
from pathlib import Path

from tools.judged_runs import Row, add_options, load_results, measure_models
from tools.quantize_runs import BEFORE, STATES, TOOLS, pythons, quantize
from tools.quantize_table import markdown


def _checkout(text: str) -> Path:
    folder = Path(text)
    if not (folder / "onnxslim" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no checkout of this project")
    return folder


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=["run", "table"], default="run", help="table: only print it")
    add_options(parser, calibration=64, timeout=600)
    parser.add_argument("--before", type=_checkout, metavar="DIR", help=f"checkout that {BEFORE} runs")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS, metavar="TOOL", help=", ".join(TOOLS))
    options = parser.parse_args(argv)

    results = load_results(options)
    if options.mode == "table":
        print(markdown(results))
        return 0
    pythons_of = pythons(options.python, dict(options.peer), options.before)
    tools = {tool: python for tool, python in pythons_of.items() if tool in options.tools}
    left_out = [tool for tool in options.tools if tool not in tools]
    if left_out:
        print(f"left out, no --peer or --before names their environment: {', '.join(left_out)}")

    def runner(tool: str, python: str, source: Path, root: Path, folder: Path) -> Row:
        samples = root / ("ours" if tool in STATES else "peers")
        return quantize(tool, python, source, samples, folder, options.timeout, options.before)

    measure_models(tools, results, options, runner)
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
