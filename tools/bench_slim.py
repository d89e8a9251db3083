"""Graph slimming against its peers, on real models and on torch exports.

    python -m tools.bench_slim --peers DIR --exports DIR --out results.json      # also writes results.md
    python -m tools.bench_slim --ours-only --only ppocr --out quick.json
    python -m tools.bench_slim --ours-only --peers-from results.json --exports DIR --out again.json

Each tool is a process of its own that reads a file and writes one, run in turns, and costs its CPU time (user and
system) and peak memory. ``--peers`` is a folder of environments, one for each of ``onnxslim==0.1.98``,
``onnxsim==0.8.1``, ``onnxoptimizer==0.4.2`` and ``onnxscript==0.7.2``, named after the package, each with onnxruntime;
``python tools/export_torch.py`` makes the exports. What was written is compared with the original at random inputs
(`tools.slim_judge`). Ours is the checkout that this file lies in.
``--peers-from`` takes the peers' results from an earlier run, all but comparable times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.slim_runs import OURS, VERIFIED, Cost, command_line, commands, run
from tools.slim_table import gaps, markdown

CHAIN_NODES = (1_000, 10_000, 50_000)


def ask(python: str, **request: Any) -> Any:
    """The answer of the judge's process."""
    done = subprocess.run(
        [python, "-m", "tools.slim_judge"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    return json.loads(done.stdout)


def measure_model(
    source: Path, zoo: str | None, tools: dict[str, list[str]], turn: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One row of the results: what each tool made of one model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        targets = {tool: folder / tool.replace(" ", "_") / "model.onnx" for tool in tools}
        costs: dict[str, list[Cost]] = {tool: [] for tool in tools}
        order = list(tools)
        for repeat in range(options.repeat):
            start = (turn + repeat) % len(order)
            for tool in order[start:] + order[:start]:
                target = targets[tool]
                target.parent.mkdir(exist_ok=True)
                for old in target.parent.iterdir():
                    old.unlink()
                command = command_line(tool, tools[tool], source.resolve(), target)
                costs[tool].append(run(tool, command, target, target.parent, options.timeout))
        runs: dict[str, dict[str, Any]] = {}
        for tool, taken in costs.items():
            error = next((cost.error for cost in taken if cost.error), "")
            seconds = statistics.median(cost.cpu_seconds for cost in taken)
            wall = statistics.median(cost.wall_seconds for cost in taken)
            runs[tool] = Cost(seconds, wall, max(cost.peak_rss_bytes for cost in taken), error).to_json()
        candidates = {tool: str(targets[tool]) for tool in tools if not runs[tool]["error"]}
        answer = ask(
            options.python,
            do="judge",
            source=str(source),
            candidates=candidates,
            sizes=options.sizes,
            zoo=zoo,
            timed=[OURS, VERIFIED],
        )
    for tool, verdict in answer["verdicts"].items():
        runs[tool].update(verdict)
    return {"original": answer["original"], "note": answer["note"], "runs": runs}


def measure_chains(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Ours on chains of nodes: CPU seconds beyond those of a chain of ten, and how they grow."""
    found: dict[str, dict[str, Any]] = {}
    command = commands(options.python, None)[OURS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = ask(options.python, do="chains", counts=[10, *CHAIN_NODES], folder=name)
        for kind, by_count in paths.items():
            seconds: dict[int, float] = {}
            for count, path in by_count.items():
                target = folder / f"{kind}_{count}_out.onnx"
                line = command_line(OURS, command, Path(path), target)
                taken = [
                    run(OURS, line, target, folder, options.timeout) for _ in range(1 if int(count) > 10_000 else 3)
                ]
                if taken[0].error:
                    found.setdefault(kind, {})["error"] = f"{count} nodes: {taken[0].error}"
                    break
                seconds[int(count)] = min(cost.cpu_seconds for cost in taken)
            else:
                net = {count: seconds[count] - seconds[10] for count in CHAIN_NODES}
                small, large = CHAIN_NODES[1], CHAIN_NODES[-1]
                factor = (net[large] / large) / (net[small] / small)
                found[kind] = {"cpu_seconds": seconds, "times_linear": factor}
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON to write; the tables go to .md beside it")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    parser.add_argument("--exports", type=Path, help="folder of further models")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="models whose name contains a text")
    parser.add_argument("--ours-only", action="store_true", help="run no peers")
    parser.add_argument("--unverified-only", action="store_true", help="ours without verification alone")
    parser.add_argument("--peers-from", type=Path, help="results whose peers are taken instead of being run")
    parser.add_argument("--python", default=sys.executable, help="Python of our environment [default: this one]")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each tool; the median of the times counts")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 7], help="sizes of symbolic dimensions")
    parser.add_argument("--timeout", type=float, default=180, help="seconds that one process may take")
    parser.add_argument("--chains", action="store_true", help="also measure chains of up to 50,000 nodes")
    parser.add_argument("--gaps", type=Path, help="where to write which operators we leave and a peer does not")
    options = parser.parse_args(argv)

    tools = commands(options.python, None if options.ours_only else options.peers)
    if options.unverified_only:
        del tools[VERIFIED]
    models: list[tuple[str, Path, str | None]] = [
        (name, Path(path), name) for name, path in ask(options.python, do="list").items()
    ]
    if options.exports:
        models += [(path.stem, path, None) for path in sorted(options.exports.glob("*.onnx"))]
    models = [each for each in models if any(text in each[0] for text in options.only)]
    earlier = json.loads(options.peers_from.read_text())["models"] if options.peers_from else {}

    results: dict[str, Any] = {"models": {}, "chains": {}}
    for turn, (name, path, zoo) in enumerate(models):
        row = measure_model(path, zoo, tools, turn, options)
        row["runs"] = {**earlier.get(name, {"runs": {}})["runs"], **row["runs"]}
        results["models"][name] = row
        options.out.write_text(json.dumps(results, indent=1))  # a run that is interrupted has its results
        ours = row["runs"][OURS]
        said = ours["error"] or f"{ours.get('nodes')} ops, {ours['verdict']}, {ours['cpu_seconds']:.2f} CPU s"
        print(f"{name}: {row['original']['nodes']} -> {said}", flush=True)
    if options.chains:
        results["chains"] = measure_chains(options)
        options.out.write_text(json.dumps(results, indent=1))
    options.out.with_suffix(".md").write_text(markdown(results))
    if options.gaps:
        options.gaps.write_text(gaps(results))
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
