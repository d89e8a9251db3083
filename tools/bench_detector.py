"""A detector pruned and quantized in many settings: the boxes that are left beside the worst part of its output.

    python -m tools.bench_detector --out detector.json [--only int8] [--seconds 4]

Each of `SETTINGS` is a process of its own on the zoo's calibration and selection samples of ``nudenet``, without
labels. The F1 of its boxes against the original's is taken on the report split. A result below the default ``min_sqnr``
would be refused: the table says so, and judges the model all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import models_zoo
from onnxslim.execution import compare_latency, open_session
from onnxslim.pipeline.config import MIN_SQNR
from onnxslim.samples import Sample
from tools.quantize_runs import brief
from tools.slim_runs import OURS, run
from tools.slim_table import table

MODEL = "nudenet"
SETTINGS: dict[str, tuple[str, ...]] = {
    **{f"prune --macs {share}": ("prune", "--macs", share) for share in ("0.9", "0.8", "0.7", "0.6", "0.5")},
    **{f"prune --ratio {share}": ("prune", "--ratio", share) for share in ("0.1", "0.25")},
    "quantize": ("quantize",),
    "quantize --keep-slow": ("quantize", "--keep-slow"),
    "quantize --no-search": ("quantize", "--no-search"),
    "quantize --per-tensor": ("quantize", "--per-tensor", "--no-search"),
    "quantize --weights-only": ("quantize", "--weights-only"),
    "sparsify --values int4": ("sparsify", "--values", "int4"),
    **{f"prune --macs {share}, quantize": ("compress", "macs", share) for share in ("0.7", "0.5")},
    "sparsify --sparsity 0.5": ("sparsify", "--sparsity", "0.5"),
}
"""Name -> verb and options; of ``compress`` the budget of the pruning before int8."""
RECIPE = '[[pass]]\nname = "slim"\n\n[[pass]]\nname = "prune"\n{0} = {1}\n\n[[pass]]\nname = "quantize"\n'


def write(samples: Path) -> None:
    """The samples that every setting is given, as ``.npz``."""
    samples.mkdir()
    for split in ("calibration", "selection"):
        for sample in models_zoo.get(MODEL).samples(split):
            arrays: dict[str, Any] = {name: np.asarray(array) for name, array in sample.feed.items()}
            np.savez(samples / f"{sample.id}.npz", **arrays)


def measure(arguments: tuple[str, ...], samples: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Runs one setting and judges what it wrote."""
    entry = models_zoo.get(MODEL)
    target = folder / "model.onnx"
    verb, *rest = arguments
    if verb == "compress":
        (folder / "recipe.toml").write_text(RECIPE.format(*rest))
        rest = ["--recipe", str(folder / "recipe.toml")]
    common = [
        "--samples",
        str(samples),
        "--min-sqnr",
        "-100",
        "--json",
        *([] if verb == "sparsify" else ["--no-bench"]),
    ]
    command = [sys.executable, "-m", "onnxslim", verb, str(entry.path()), "-o", str(target), *common, *rest]
    cost = run(OURS, command, target, folder, options.timeout)
    made: dict[str, Any] = cost.to_json()
    if cost.error:
        return made
    report = json.loads((folder / "log.txt").read_text())
    made["report"] = brief((folder / "log.txt").read_text())
    made["parity"] = report["parity"] and {key: report["parity"][key] for key in ("sqnr", "fidelity", "notes")}
    run_of = {name: open_session(path, threads=2).run for name, path in (("a", entry.path()), ("b", target))}
    scored: list[Sample] = list(entry.samples("report").first(options.items))
    tally = entry.scored().agreement(run_of["b"], run_of["a"], scored)["box F1"]  # type: ignore[misc]
    made["smaller"] = entry.path().stat().st_size / target.stat().st_size
    made["f1"] = float(tally[:, 0].sum() / max(tally[:, 1].sum(), 1))
    if options.seconds:
        feeds = [sample.feed for sample in scored[:8]]
        latency = compare_latency(entry.path(), target, feeds, seconds=options.seconds, processes=5)
        made["speed"], made["interval"] = 1 / latency.ratio, [1 / latency.high, 1 / latency.low]
    return made


def rows(results: dict[str, Any]) -> str:
    """The results as a table."""
    found = []
    for name, each in results.items():
        if each.get("error"):
            found.append([name, each["error"][:60], *["-"] * 5])
            continue
        parity = each["parity"] or {"sqnr": None, "fidelity": []}
        worst = min(parity["fidelity"], key=lambda part: _number(part["sqnr_db"]), default=None)
        level = "-" if worst is None else f"{_number(worst['sqnr_db']):.1f}"
        part = "-" if worst is None else f"{worst['view']} {worst['entries']}".strip()
        refused = (
            "refused" if worst is not None and _number(worst["sqnr_db"]) < MIN_SQNR else each["report"]["decision"]
        )
        speed = f"{each['speed']:.2f}x" if "speed" in each else "-"
        found.append([name, refused, f"{each['smaller']:.2f}x", speed, f"{each['f1']:.3f}", level, part])
    return table(["setting", "by itself", "smaller", "faster", "box F1", "worst part, dB", "which part"], found)


def _number(value: Any) -> float:
    return float(value)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON of results, added to")
    parser.add_argument("--only", default="", metavar="TEXT", help="settings whose name contains a text")
    parser.add_argument("--again", action="store_true", help="run also what the results hold")
    parser.add_argument("--items", type=int, default=160, help="scenes that are scored [160]")
    parser.add_argument("--seconds", type=float, default=0.0, help="for each latency; 0: none is measured [0]")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a setting may take [1800]")
    options = parser.parse_args(argv)
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    with tempfile.TemporaryDirectory() as root:
        samples = Path(root) / "samples"
        write(samples)
        for number, (name, arguments) in enumerate(SETTINGS.items()):
            if (name == options.only if options.only in SETTINGS else options.only in name) and (
                options.again or name not in results
            ):
                folder = Path(root) / str(number)
                folder.mkdir()
                results[name] = measure(arguments, samples, folder, options)
                options.out.write_text(json.dumps(results, indent=1))
                print(f"{name}: {results[name].get('error') or results[name]['f1']}", flush=True)
    print(rows(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
