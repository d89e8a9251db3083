"""The main job on a real model: fetch PP-OCRv4 rec, render text lines, compress it by the command line, score both.

Calibration lines and scored lines differ in fonts and texts. Writes the models, the samples and ``report.json`` into
the output folder. Run as ``python -m tools.demo --out out``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import models_zoo
from onnxslim.errors import OnnxSlimError
from onnxslim.execution import host_target, open_session

MODEL = "ppocrv4_rec"
CALIBRATION_LINES = 64
SCORED_LINES = 150
MIN_SMALLER = 3.0
MIN_FASTER = 1.2
MAX_LOSS = 0.03
"""What the demo must show; the speed only where the CPU has VNNI."""


def main() -> int:
    """Exit code 0 when everything that must be shown was shown."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for models, samples and the report")
    out: Path = parser.parse_args().out
    started = time.perf_counter()
    try:
        facts = demonstrate(out)
    except (OnnxSlimError, subprocess.CalledProcessError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    facts["seconds"] = time.perf_counter() - started
    (out / "report.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print_facts(facts)
    print(f"{facts['seconds']:.0f} s; {out / 'report.json'}")
    for failure in facts["failures"]:
        print(f"demo failed: {failure}", file=sys.stderr)
    return 1 if facts["failures"] else 0


def demonstrate(out: Path) -> dict[str, Any]:
    """Compresses the model into ``out`` and returns what came of it.

    Raises:
        OnnxSlimError: The model cannot be fetched or run.
        CalledProcessError: The command line failed; it has said why.
    """
    entry = models_zoo.get(MODEL)
    original, compressed, samples = entry.path(), out / f"{MODEL}.int8.onnx", out / "samples"
    if samples.exists():
        shutil.rmtree(samples)
    samples.mkdir(parents=True)
    compressed.unlink(missing_ok=True)
    print(f"render {CALIBRATION_LINES} text lines into {samples}")
    for sample in entry.samples("calibration").first(CALIBRATION_LINES):
        arrays: dict[str, Any] = sample.feed
        np.savez(samples / f"{sample.id}.npz", **arrays)
    # The installed command, as a user calls it; once, with its result as JSON, of which the tables are made here.
    command = [sys.executable, "-m", "onnxslim", "compress", str(original), "-o", str(compressed)]
    command += ["--samples", str(samples), "--json"]
    print("onnxslim compress " + " ".join(command[4:]), flush=True)
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    print(f"score both on {SCORED_LINES} held-back lines", flush=True)
    tallies = [entry.measure(open_session(path).run, "report", SCORED_LINES) for path in (original, compressed)]
    metric = entry.scored().metric
    before, after = (tally[metric] for tally in tallies)
    facts: dict[str, Any] = {
        "model": MODEL,
        "source": str(entry.source),
        "target": host_target().name,
        "decision": report["decision"],
        "bytes": [original.stat().st_size, compressed.stat().st_size],
        "smaller": original.stat().st_size / compressed.stat().st_size,
        "latency": report["latency"],
        "metric": metric,
        "lines": SCORED_LINES,
        "score": [models_zoo.ratio(before), models_zoo.ratio(after)],
        "score_change_interval": list(models_zoo.paired_interval(after, before)),
        "report": report,
    }
    facts["failures"] = failures(facts)
    return facts


def failures(facts: dict[str, Any]) -> list[str]:
    """What the demo must show and did not."""
    found = []
    if facts["decision"] != "compressed":
        found.append(f"decision {facts['decision']!r}: {facts['report']['reason']}")
    if facts["smaller"] < MIN_SMALLER:
        found.append(f"only {facts['smaller']:.2f}x smaller, not {MIN_SMALLER}x")
    before, after = facts["score"]
    if before - after > MAX_LOSS:
        found.append(f"{facts['metric']} fell from {before:.3f} to {after:.3f}, more than {MAX_LOSS}")
    latency = facts["latency"]
    if facts["target"] == "x86-vnni" and (latency is None or 1 / latency["ratio"] < MIN_FASTER):
        said = "was not measured" if latency is None else f"{1 / latency['ratio']:.2f}x as fast"
        found.append(f"speed: {said}, not {MIN_FASTER}x")
    return found


def print_facts(facts: dict[str, Any]) -> None:
    """Prints fp32 and int8 side by side."""
    table = Table(title=f"{facts['model']} ({facts['source']}), {facts['target']}", title_justify="left")
    for column in ("", "fp32", "int8", ""):
        table.add_column(column, justify="right" if column else "left")
    sizes = [f"{size / 1e6:.2f} MB" for size in facts["bytes"]]
    table.add_row("file", *sizes, f"{facts['smaller']:.2f}x smaller")
    latency = facts["latency"]
    if latency is not None:
        low, high = 1 / latency["high"], 1 / latency["low"]
        ratio = f"{1 / latency['ratio']:.2f}x the speed ({low:.2f} to {high:.2f}): {latency['verdict']}"
        table.add_row("latency", f"{latency['a_ms']:.2f} ms", f"{latency['b_ms']:.2f} ms", ratio)
    if facts["target"] != "x86-vnni":
        table.add_row("", "", "", "this CPU has no VNNI: int8 gains little or nothing here")
    low, high = facts["score_change_interval"]
    before, after = facts["score"]
    change = f"{after - before:+.4f} ({low:+.4f} to {high:+.4f}, {facts['lines']} lines)"
    table.add_row(facts["metric"], f"{before:.4f}", f"{after:.4f}", change)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    sys.exit(main())
