"""Channel pruning: what can be reached, and what is left of speed and score, on the zoo's models.

    python -m tools.bench_prune reach --out results.json
    python -m tools.bench_prune run --out results.json --only digits
    python -m tools.bench_prune table --out results.json

``reach``: every float model, slimmed: `tools.prune_reach`. ``run``: each of `RUNS` is a process of its own on the zoo's
calibration and selection samples, without labels; what it wrote is scored on the report split and timed by
`tools.quantize_judge`, against the model as it came and against what slimming alone makes of it. Results are added to
those that the file holds; what it holds is not run again without ``--again``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

import models_zoo
import onnxslim
from onnxslim.execution import compare_latency
from tools.judged_runs import ask
from tools.prune_reach import analysis_of_transformer, reach
from tools.prune_table import markdown
from tools.quantize_judge import TIMED
from tools.quantize_runs import brief
from tools.slim_runs import OURS, run


@dataclass(frozen=True)
class Run:
    """One way to prune one model.

    Attributes:
        model: Name in the zoo.
        options: Of the verb ``prune``; in a recipe, of the pass.
        quantized: Whether int8 comes after it.
    """

    model: str
    options: tuple[str, ...]
    quantized: bool = False

    @property
    def name(self) -> str:
        """The model and what was asked for."""
        return " ".join((self.model, *self.options, *(["then int8"] if self.quantized else [])))


def _runs(model: str, *texts: str, quantized: bool = False) -> list[Run]:
    return [Run(model, tuple(text.split()), quantized) for text in texts]


RUNS = (
    *_runs("digits_cnn", "--macs 0.10", "--macs 0.10 --no-refit"),
    *_runs("mtcnn_onet", "--speedup 1.67", "--speedup 1.67 --no-refit"),
    *_runs("ppocr_cls", "--speedup 1.67", "--speedup 1.67 --no-refit", "--macs 0.7", "--macs 0.65", "--macs 0.6"),
    *_runs("dnsmos_sig", "--macs 0.5"),
    *_runs("silero_vad_16k_op15", "--macs 0.5", "--macs 0.5 --no-refit"),
    *_runs("ppocrv4_rec", "--speedup 1.34", "--macs 0.85", "--macs 0.75"),
    *_runs("digits_cnn", "--macs 0.25", quantized=True),
    *_runs("mtcnn_onet", "--macs 0.35", "--ratio 0.5", "--ratio 0.6", quantized=True),
    *_runs("ppocr_cls", "--macs 0.7", quantized=True),
    *_runs("ppocrv4_rec", "--macs 0.85", quantized=True),
    *_runs("dnsmos_sig", "--macs 0.5", quantized=True),
    *_runs("minilm_l3", "--macs 0.7", quantized=True),
    *(
        each
        for model in ("digits_cnn", "mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet", "ppocr_cls")
        for each in _runs(model, *(f"--ratio {ratio}" for ratio in (0.1, 0.25, 0.5, 0.75)))
    ),
)
ITEMS = {"dnsmos_sig": 64, "ppocrv4_rec": 500, "silero_vad_16k_op15": 60}
"""Items that are scored, where it is not the whole report split: these take long."""
SAMPLES = 256
"""Of each of the two splits that are given, where there are so many."""


def prepare(model: str, folder: Path) -> dict[str, str]:
    """Writes the samples for a model and what slimming alone makes of it: ``source``, ``slimmed``, ``samples``."""
    folder.mkdir()
    asked = ask(sys.executable, do="prepare", model=model, calibration=SAMPLES, folder=str(folder))
    slimmed = onnxslim.slim(asked["source"], verify=False)
    assert slimmed is not None
    onnx.save(slimmed, folder / "slimmed.onnx")
    return {"source": asked["source"], "slimmed": str(folder / "slimmed.onnx"), "samples": str(folder / "ours")}


def measure(each: Run, place: dict[str, str], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Prunes in a process, and judges what it wrote.

    Args:
        each: What is asked for.
        place: Of `prepare`.
        folder: Empty.
        options: Of the command line.
    """
    target = folder / "model.onnx"
    # No SQNR is required: how much is lost is what is to be seen.
    arguments = [place["source"], "-o", str(target), "--samples", place["samples"], "--min-sqnr", "0", "--json"]
    if each.quantized:
        (folder / "recipe.toml").write_text(recipe(each.options))
        arguments = ["compress", *arguments, "--recipe", str(folder / "recipe.toml")]
    else:
        arguments = ["prune", *arguments, *each.options]
    cost = run(OURS, [sys.executable, "-m", "onnxslim", *arguments], target, folder, options.timeout)
    made: dict[str, Any] = cost.to_json()
    if cost.error:
        return made
    made["report"] = brief((folder / "log.txt").read_text())
    timing = {"seconds": options.seconds, "processes": options.processes}
    asked = timing | {
        "items": options.items or ITEMS.get(each.model) or models_zoo.get(each.model).scored().sizes["report"],
        "threads": [1],
        "cache": str(folder.parent / "original.npz"),
    }
    try:
        made |= ask(sys.executable, do="judge", model=each.model, candidate=str(target), options=asked)
    except RuntimeError as error:
        return made | {"error": f"judging it failed: {error}"}
    if options.seconds and not made["error"]:
        feeds = [sample.feed for sample in models_zoo.get(each.model).samples("report").first(TIMED)]
        made["to_slimmed"] = asdict(compare_latency(place["slimmed"], target, feeds, **timing))
    return made


def recipe(options: tuple[str, ...]) -> str:
    """Slim, prune with these options, quantize."""
    pairs = zip(options[::2], options[1::2], strict=True)
    lines = "\n".join(f"{name.removeprefix('--').replace('-', '_')} = {value}" for name, value in pairs)
    return f'[[pass]]\nname = "slim"\n\n[[pass]]\nname = "prune"\n{lines}\n\n[[pass]]\nname = "quantize"\n'


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["reach", "run", "table"])
    parser.add_argument("--out", type=Path, required=True, help="JSON of results, added to")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="runs whose name contains a text")
    parser.add_argument("--again", action="store_true", help="run also what the results hold")
    parser.add_argument("--items", type=int, help="so many items are scored, not those that `ITEMS` says")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each latency; 0: none is measured [4]")
    parser.add_argument("--processes", type=int, default=10, help="for each latency [10]")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a run may take [1800]")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {"reach": {}, "runs": {}}
    if options.out.exists():
        results = json.loads(options.out.read_text())

    def missing(name: str, held: dict[str, Any]) -> bool:
        return any(text in name for text in options.only) and (options.again or name not in held)

    def keep(name: str, held: dict[str, Any], made: dict[str, Any]) -> None:
        held[name] = made
        options.out.write_text(json.dumps(results, indent=1))
        print(
            f"{name}{': ' + made['error'] if made.get('error') and isinstance(made['error'], str) else ''}", flush=True
        )

    if options.mode == "reach":
        if missing("transformer", results):
            keep("transformer", results, analysis_of_transformer())
        for name in models_zoo.catalogue():
            if not name.startswith("tashkeel") and missing(name, results["reach"]):  # those come quantized
                keep(name, results["reach"], reach(name))
    elif options.mode == "run":
        with tempfile.TemporaryDirectory() as root:
            places: dict[str, dict[str, str]] = {}
            for number, each in enumerate(RUNS):
                if missing(each.name, results["runs"]):
                    folder = Path(root) / each.model
                    if each.model not in places:
                        places[each.model] = prepare(each.model, folder)
                    (folder / f"{number}").mkdir()
                    keep(each.name, results["runs"], measure(each, places[each.model], folder / f"{number}", options))
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
