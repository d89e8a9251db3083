"""Channel pruning: what can be reached, and what is left of speed and score, on the zoo's models.

    python -m tools.bench_prune reach --out reach.json
    python -m tools.bench_prune run --out results.json --only digits
    python -m tools.bench_prune table --out results.json

``reach``: every float model, slimmed: the share of weight rows that can be removed, and how far the model is from the
oracle (readers that do not see the channels) once half of all channels are gone at random. ``run``: each of `RUNS` is a
process of its own on the zoo's calibration and selection samples, without labels; what was written is scored on the
report split and timed by `tools.quantize_judge`. Results are added to those that the file holds; what it holds is not
run again without ``--again``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import models_zoo
import onnxslim
from onnxslim.analysis.channels import Channels, find_channels
from onnxslim.errors import OnnxSlimError
from onnxslim.graph import problems
from onnxslim.passes.prune.apply import remove_channels, silence_channels
from onnxslim.runtime import open_session
from tools.bench_quantize import ask
from tools.quantize_runs import brief
from tools.slim_runs import run
from tools.slim_table import table


@dataclass(frozen=True)
class Run:
    """One way to prune one model.

    Attributes:
        model: Name in the zoo.
        options: Of the verb ``prune``; in a recipe, of the pass.
        quantized: Whether int8 comes after it.
        samples: Of each of the two splits that are given.
    """

    model: str
    options: tuple[str, ...]
    quantized: bool = False
    samples: int = 256

    @property
    def name(self) -> str:
        """The model and what was asked for."""
        return " ".join((self.model, *self.options, *(["then int8"] if self.quantized else [])))


RUNS = (
    Run("digits_cnn", ("--macs", "0.10")),
    Run("digits_cnn", ("--macs", "0.10", "--no-refit")),
    Run("mtcnn_onet", ("--speedup", "1.75")),
    Run("mtcnn_onet", ("--speedup", "1.75", "--no-refit")),
    Run("silero_vad_16k_op15", ("--macs", "0.5"), samples=64),
    Run("dnsmos_sig", ("--macs", "0.5"), samples=64),
    Run("ppocr_cls", ("--macs", "0.7")),
    Run("ppocr_cls", ("--macs", "0.6")),
    Run("ppocr_cls", ("--speedup", "1.7")),
    Run("ppocr_cls", ("--speedup", "1.7", "--no-refit")),
    Run("ppocrv4_rec", ("--macs", "0.85")),
    Run("ppocrv4_rec", ("--speedup", "1.35")),
    Run("digits_cnn", ("--macs", "0.25"), quantized=True),
    Run("mtcnn_onet", ("--macs", "0.35"), quantized=True),
    Run("mtcnn_onet", ("--ratio", "0.5"), quantized=True),
    Run("mtcnn_onet", ("--ratio", "0.6"), quantized=True),
    Run("dnsmos_sig", ("--macs", "0.5"), quantized=True, samples=64),
    Run("ppocr_cls", ("--macs", "0.7"), quantized=True),
    Run("minilm_l3", ("--macs", "0.7"), quantized=True, samples=64),
    Run("ppocrv4_rec", ("--macs", "0.85"), quantized=True),
    *(Run(model, ("--ratio", ratio)) for ratio in ("0.1", "0.25", "0.5") for model in ("mtcnn_pnet", "mtcnn_rnet")),
)


SHOWS = frozenset({"Add", "Identity", "LogSoftmax", "Sigmoid", "Softmax", "Transpose"})
"""Operators through which an output tells its entries: what goes into them are outputs too."""


def reach(name: str) -> dict[str, Any]:
    """What of a model can be removed, and whether removing half of it at random is what it should be."""
    proto = onnxslim.slim(models_zoo.get(name).path(), verify=False)
    assert proto is not None
    model = ir.serde.deserialize_model(proto)
    started = time.perf_counter()
    channels = find_channels(model)
    seconds = time.perf_counter() - started
    rows, free = rows_of(model, channels)
    pinned = channels.histogram().most_common(3)
    made: dict[str, Any] = {
        "seconds": seconds,
        "nodes": len(list(model.graph)),
        "groups": len(channels.groups),
        "rows": rows,
        "free": free,
        "pinned": [[operator, reason, count] for (operator, reason), count in pinned],
    }
    generator = np.random.default_rng(0)
    removal = {
        group.key: generator.choice(len(group), len(group) // 2, replace=False).tolist() for group in channels.groups
    }
    pruned, silent = model.clone(), model.clone()
    remove_channels(pruned, find_channels(pruned), removal)
    silence_channels(silent, find_channels(silent), removal)
    made["problems"] = problems(pruned)[:1]
    try:
        feeds = [sample.feed for sample in models_zoo.get(name).samples("report").first(2)]
        made["error"] = max(_apart(pruned, silent, feed) for feed in feeds)
    except OnnxSlimError as error:
        made["not run"] = str(error)[:120]
    return made


def rows_of(model: ir.Model, channels: Channels) -> tuple[int, int]:
    """Rows of weights that do not end in an output of the model, and those of them that can be removed."""
    shown = np.zeros(channels.links.count, bool)
    for value in model.graph.outputs:
        # A Softmax or the like before the output pins what goes into it, and that is what the output tells.
        for seen in _same_axes(value):
            for ids in channels.links.ids(seen) or ():
                if ids is not None:
                    shown[channels.labels[ids]] = True
    total = free = 0
    for _, _, ids in channels.rows():
        inner = ids[~shown[channels.labels[ids]]]
        total += len(inner)
        free += int((~channels.pinned[inner]).sum())
    return total, free


def _same_axes(value: ir.Value) -> list[ir.Value]:
    found: list[ir.Value] = []
    current: ir.Value | None = value
    while current is not None and len(found) < 16:
        found.append(current)
        node = current.producer()
        keeps = node is not None and node.op_type in (
            "Softmax",
            "LogSoftmax",
            "Sigmoid",
            "Add",
            "Transpose",
            "Identity",
        )
        current = node.inputs[0] if node is not None and keeps else None
    return found


def _apart(one: ir.Model, other: ir.Model, feed: Any) -> float:
    """The largest difference of an output, as a multiple of its root mean square."""
    found = [open_session(model).run(feed) for model in (one, other)]
    worst = 0.0
    for name, array in found[1].items():
        wanted, got = np.asarray(array, np.float64), np.asarray(found[0][name], np.float64)
        if wanted.shape != got.shape:
            return float("inf")
        scale = float(np.sqrt(np.square(wanted).mean())) or 1.0
        worst = max(worst, float(np.abs(wanted - got).max(initial=0.0)) / scale)
    return worst


def measure(each: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Prunes in a process, and judges what it wrote."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        source = ask(sys.executable, do="prepare", model=each.model, calibration=each.samples, folder=root)["source"]
        target = folder / "model.onnx"
        command = [sys.executable, "-m", "onnxslim"]
        arguments = [str(source), "-o", str(target), "--samples", str(folder / "ours"), "--min-sqnr", "0", "--json"]
        if each.quantized:
            (folder / "recipe.toml").write_text(recipe(each.options))
            command += ["compress", *arguments, "--recipe", str(folder / "recipe.toml")]
        else:
            command += ["prune", *arguments, *each.options]
        cost = run("ours", command, target, folder, options.timeout)
        made: dict[str, Any] = cost.to_json()
        if not cost.error:
            made["report"] = brief((folder / "log.txt").read_text())
            limits = {"items": options.items, "seconds": options.seconds, "processes": options.processes}
            request = {"model": each.model, "candidate": str(target)}
            cache = str(folder / "original.npz")
            made |= ask(sys.executable, do="judge", **request, options=limits | {"cache": cache})
        return made


def recipe(options: tuple[str, ...]) -> str:
    """Slim, prune with these options, quantize."""
    pairs = zip(options[::2], options[1::2], strict=True)
    lines = "\n".join(f"{name.removeprefix('--').replace('-', '_')} = {value}" for name, value in pairs)
    return f'[[pass]]\nname = "slim"\n\n[[pass]]\nname = "prune"\n{lines}\n\n[[pass]]\nname = "quantize"\n'


def markdown(results: dict[str, Any]) -> str:
    """Both tables, of what there is."""
    parts = []
    if results.get("reach"):
        rows = []
        for name, each in results["reach"].items():
            share = f"{each['free'] / each['rows']:.2f}" if each["rows"] else "-"
            pins = "; ".join(f"{operator}: {reason} ({count})" for operator, reason, count in each["pinned"])
            apart = f"{each['error']:.1e}" if "error" in each else each.get("not run", "-")[:40]
            rows.append([name, each["nodes"], f"{each['seconds']:.2f}", each["groups"], share, apart, pins])
        head = ["model", "nodes", "s", "groups", "inner rows that can go", "off the oracle, half gone", "most pinned"]
        parts.append(table(head, rows))
    if results.get("runs"):
        rows = [[name, *_cells(each)] for name, each in results["runs"].items()]
        head = ["model and options", "decision", "smaller", "time, 1 thread", "worst output", "score", "s, peak MB"]
        parts.append(table(head, rows))
    return "\n\n".join(parts) + "\n"


def _cells(each: dict[str, Any]) -> list[str]:
    cost = f"{each['wall_seconds']:.0f}, {each['peak_rss_bytes'] / 1e6:.0f}"
    if each["error"]:
        return [each["error"][:80], *["-"] * 4, cost]
    speed = "-"
    if each.get("latency"):
        first = each["latency"]["1"]
        speed = f"{first['ratio']:.2f}x ({first['low']:.2f} to {first['high']:.2f})"
    score = each["scores"][each["metric"]]
    told = f"{each['metric']} {score['fp32']:.4f} -> {score['int8']:.4f} ({score['low']:+.4f} to {score['high']:+.4f})"
    told += f", {each['items']} items"
    noise = "-" if each["sqnr_db"] is None else f"{each['sqnr_db']:.1f} dB"
    return [each["report"]["decision"], f"{each['size_ratio']:.2f}x", speed, noise, told, cost]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["reach", "run", "table"])
    parser.add_argument("--out", type=Path, required=True, help="JSON of results, added to")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="runs whose name contains a text")
    parser.add_argument("--again", action="store_true", help="run also what the results hold")
    parser.add_argument("--items", type=int, help="at most so many items are scored")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each latency; 0: none is measured [4]")
    parser.add_argument("--processes", type=int, default=10, help="for each latency [10]")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a run may take [1800]")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {"reach": {}, "runs": {}}
    if options.out.exists():
        results = json.loads(options.out.read_text())
    names = [name for name in models_zoo.catalogue() if not name.startswith("tashkeel")]
    work: list[tuple[str, Any, Any]] = []
    if options.mode == "reach":
        work = [(name, results["reach"], lambda name=name: reach(name)) for name in names]
    elif options.mode == "run":
        work = [(each.name, results["runs"], lambda each=each: measure(each, options)) for each in RUNS]
    for name, held, make in work:
        if any(text in name for text in options.only) and (options.again or name not in held):
            held[name] = make()
            options.out.write_text(json.dumps(results, indent=1))
            print(name, flush=True)
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
