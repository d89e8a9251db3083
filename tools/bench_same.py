"""Does a change of the code keep results? Every verb on every model of the zoo, file by file, before and after.

    python -m tools.bench_same run --out before.json --checkout OLD [--exports DIR] [--only TEXT ...] [--verbs slim ...]
    python -m tools.bench_same run --out after.json --checkout . --exports DIR
    python -m tools.bench_same compare before.json after.json

Each run is a process of its own: it costs CPU time and peak memory, and the SHA-256 of its file is kept. ``--checkout``
is the folder whose code runs; models and samples are those of the checkout that this file lies in. No choice depends on
the clock, so files can be the same to the byte. ``--exports`` adds a folder of models, which are slimmed. Results are
added to those that the file holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import models_zoo
from tools import slim_runs
from tools.quantize_judge import models, write_samples
from tools.slim_runs import OURS, run

SAMPLES = 16
"""Of each of two splits that a verb is given."""
LOSSY = ["--no-bench", "--min-sqnr", "0"]
"""Nothing is timed, and no result is refused."""
VERBS = {
    "slim": ["slim"],
    "quantize": ["quantize", "--no-search", *LOSSY],
    "prune": ["prune", "--ratio", "0.3", *LOSSY],
    "sparsify": ["sparsify", "--sparsity", "0.5", *LOSSY],
    "decode": ["decode"],
}
"""Verb -> its command line. decode reads what sparsify wrote."""


def measure(source: Path, samples: Path | None, verbs: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Verb -> what its run cost, and the digest of its file."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for verb in verbs:
            target = folder / f"{verb}.onnx"
            model = folder / "sparsify.onnx" if verb == "decode" else source.resolve()
            command = [options.python, "-m", "onnxslim", *VERBS[verb], str(model), "-o", str(target), "--quiet"]
            if verb not in ("slim", "decode"):
                command += ["--samples", str(samples)]
            costs = [run(OURS, command, target, folder, options.timeout) for _ in range(options.repeat)]
            rows[verb] = costs[0].to_json() | {
                "cpu_seconds": statistics.median(cost.cpu_seconds for cost in costs),
                "sha256": hashlib.sha256(target.read_bytes()).hexdigest() if target.exists() else "",
                "bytes": target.stat().st_size if target.exists() else 0,
            }
    return rows


def compare(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Both as one table: how many files are the same, what changed, and what the runs cost."""
    lines = ["| verb | models | same to the byte | CPU time, median of ratios | sum of CPU s | peak memory, median |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    changed: list[str] = []
    for verb in VERBS:
        both = [(name, before[name][verb], row[verb]) for name, row in after.items() if verb in row]
        both = [each for each in both if not (each[1]["error"] and each[2]["error"])]
        if not both:
            continue
        same = sum(old["sha256"] == new["sha256"] for _, old, new in both)
        times = [new["cpu_seconds"] / max(old["cpu_seconds"], 1e-9) for _, old, new in both]
        peaks = [new["peak_rss_bytes"] / max(old["peak_rss_bytes"], 1) for _, old, new in both]
        sums = [sum(each["cpu_seconds"] for each in side) for side in ([x[1] for x in both], [x[2] for x in both])]
        cells = f"{statistics.median(times):.2f} | {sums[0]:.0f} -> {sums[1]:.0f} | {statistics.median(peaks):.2f}"
        lines.append(f"| {verb} | {len(both)} | {same} | {cells} |")
        changed += [
            f"- {name} {verb}: {said(old)} -> {said(new)}" for name, old, new in both if old["sha256"] != new["sha256"]
        ]
    return "\n".join([*lines, "", *(changed or ["All files are the same."])])


def said(row: dict[str, Any]) -> str:
    """The size of a file, or why there is none."""
    return row["error"] or f"{row['bytes']:,} bytes"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="mode", required=True)
    running = commands.add_parser("run", help="run the verbs")
    running.add_argument("--out", type=Path, required=True, help="JSON of results, added to")
    running.add_argument("--checkout", type=Path, default=slim_runs.CHECKOUT, help="whose code runs [this one]")
    running.add_argument("--exports", type=Path, help="folder of further models, to slim")
    running.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="models whose name contains a text")
    running.add_argument("--verbs", nargs="+", default=list(VERBS), choices=list(VERBS))
    running.add_argument("--repeat", type=int, default=1, help="runs of each; the median of CPU times counts")
    running.add_argument("--timeout", type=float, default=600, help="seconds that one process may take")
    running.add_argument("--python", default=sys.executable)
    comparing = commands.add_parser("compare", help="print both as a table")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    options = parser.parse_args(argv)
    if options.mode == "compare":
        print(compare(json.loads(options.before.read_text()), json.loads(options.after.read_text())))
        return 0
    slim_runs.CHECKOUT = options.checkout.resolve()
    held: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    scored = set(models())
    sources = [(name, models_zoo.get(name).path()) for name in models_zoo.catalogue()]
    sources += [(path.stem, path) for path in sorted(options.exports.glob("*.onnx"))] if options.exports else []
    for name, source in sources:
        verbs = [each for each in options.verbs if each == "slim" or name in scored]
        verbs = [each for each in verbs if each not in held.get(name, {})]
        if not verbs or not any(text in name for text in options.only):
            continue
        with tempfile.TemporaryDirectory() as place:
            if name in scored and verbs != ["slim"]:
                write_samples(models_zoo.get(name), SAMPLES, Path(place))
            held.setdefault(name, {}).update(measure(source, Path(place) / "ours", verbs, options))
        options.out.write_text(json.dumps(held, indent=1))
        took = {verb: row["error"] or f"{row['cpu_seconds']:.1f} s" for verb, row in held[name].items()}
        print(name, took, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
