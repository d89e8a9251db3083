"""Zeros and few values: whether encodings are exact, how small files get, and what is left of the score.

    python -m tools.bench_sparse exact --out results.json
    python -m tools.bench_sparse files --out results.json --peers python-with-peers
    python -m tools.bench_sparse run --out results.json --only minilm
    python -m tools.bench_sparse table --out results.json

``exact``: every float model, slimmed, with 50 to 95 % of its weights zero by magnitude, in every encoding
(`tools.sparse_exact`). ``files``: sizes, load times and latency of CNNs, beside what other tools write. ``run``: each
of `RUNS` is a process of its own on the zoo's calibration and selection samples, without labels; what it wrote is
scored on the report split by `tools.quantize_judge`. Results are added to those that the file holds; what it holds is
not run again without ``--again``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models_zoo
from tools.bench_prune import prepare
from tools.judged_runs import ask
from tools.quantize_judge import models
from tools.quantize_runs import brief
from tools.slim_runs import OURS, run
from tools.sparse_exact import exact, files, values
from tools.sparse_table import markdown


@dataclass(frozen=True)
class Run:
    """One way to make one model sparse.

    Attributes:
        model: Name in the zoo.
        options: Of the verb ``sparsify``.
    """

    model: str
    options: tuple[str, ...]

    @property
    def name(self) -> str:
        """The model and what was asked for."""
        return " ".join((self.model, *self.options))


SCORED = (
    *("digits_cnn", "mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet", "ppocr_cls", "ppocrv4_rec", "ppocrv4_det", "magika"),
    *("minilm_l3", "silero_vad_16k_op15", "dnsmos_sig", "basic_pitch", "plcmos"),
)
WAYS = (
    "--sparsity 0.5",
    "--sparsity 0.5 --by magnitude --allocation uniform",
    "--values int8",
    "--values int8 --sparsity 0.5",
    "--values int4",
    "--values int4 --sparsity 0.5",
    "--values codebook",
    "--values int4 --sparsity 0.7",
)
RUNS = tuple(Run(model, tuple(way.split())) for way in WAYS for model in SCORED)
ITEMS = {"dnsmos_sig": 64, "ppocrv4_rec": 500, "plcmos": 24, "basic_pitch": 60}
"""Items that are scored, where it is not the whole report split: these take long."""
CNNS = ("ppocrv4_rec", "ppocrv4_det")
"""Whose files are looked at."""
PEERS = {
    "onnx-shrink-ray int weights": "shrink_ray_integers",
    "onnx-shrink-ray float weights": "shrink_ray_floats",
    "onnxruntime sparsify": "sparsify_initializers",
}


def measure(each: Run, place: dict[str, str], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Makes a model sparse in a process, and scores what it wrote."""
    target = folder / "model.onnx"
    arguments = [place["source"], "-o", str(target), "--samples", place["samples"], "--min-sqnr", "0", "--no-bench"]
    command = [sys.executable, "-m", "onnxslim", "sparsify", *arguments, *each.options, "--json"]
    cost = run(OURS, command, target, folder, options.timeout)
    made: dict[str, Any] = cost.to_json()
    if cost.error:
        return made
    made["report"] = brief((folder / "log.txt").read_text())
    asked = {
        "seconds": 0,
        "processes": 1,
        "items": options.items or ITEMS.get(each.model) or models_zoo.get(each.model).scored().sizes["report"],
        "threads": [1],
        "cache": str(folder.parent / "original.npz"),
    }
    try:
        made |= ask(sys.executable, do="judge", model=each.model, candidate=str(target), options=asked)
    except RuntimeError as error:
        made["error"] = f"judging it failed: {error}"
    return made


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["exact", "files", "run", "table"])
    parser.add_argument("--out", type=Path, required=True, help="JSON of results, added to")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="what has a name that contains a text")
    parser.add_argument("--again", action="store_true", help="run also what the results hold")
    parser.add_argument("--peers", help="a Python that has onnx-shrink-ray, and onnxruntime's sparsify_initializers.py")
    parser.add_argument("--items", type=int, help="so many items are scored, not those that `ITEMS` says")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each latency; 0: none is measured [2]")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a run may take [1800]")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {"exact": {}, "files": {}, "runs": {}}
    if options.out.exists():
        results |= json.loads(options.out.read_text())

    def missing(name: str, held: dict[str, Any]) -> bool:
        return any(text in name for text in options.only) and (options.again or name not in held)

    def keep(name: str, held: dict[str, Any], made: dict[str, Any]) -> None:
        held[name] = made
        options.out.write_text(json.dumps(results, indent=1))
        print(name, made.get("error") or "", flush=True)

    if options.mode == "exact":
        for name in models():
            if missing(name, results["exact"]):
                keep(name, results["exact"], exact(name))
    elif options.mode == "files":
        peers = {}
        if options.peers:
            script = str(Path(__file__).with_name("sparse_peers.py"))
            peers = {name: [options.peers, script, how] for name, how in PEERS.items()}
        for name in CNNS:
            for level in (0.5, 0.8, 0.9):
                if missing(f"{name} {level}", results["files"]):
                    keep(f"{name} {level}", results["files"], files(name, level, peers, options.seconds))
            if missing(f"{name} values", results["files"]):
                keep(f"{name} values", results["files"], values(name, options.seconds))
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
