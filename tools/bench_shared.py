"""What pruning a model whose nodes share weights costs: CPU seconds and peak memory of the process.

    python -m tools.bench_shared --ratio 0.1 0.3 --samples 64
    python -m tools.bench_shared --model crnn.onnx --given folder --macs 0.5

Without ``--model`` it is `tools.unrolled.unrolled`: 80 Gemms that share four weights, 20 of them 400x4096.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from tools.slim_runs import OURS, run
from tools.unrolled import images, unrolled


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratio", type=float, nargs="*", default=[], help="shares of the channels that go")
    parser.add_argument("--macs", type=float, nargs="*", default=[], help="shares of the multiplications that stay")
    parser.add_argument("--samples", type=int, default=64, help="images for the model that is made [64]")
    parser.add_argument("--sizes", type=json.loads, default={}, help="arguments of `unrolled`, as JSON")
    parser.add_argument("--model", type=Path, help="another model")
    parser.add_argument("--given", type=Path, help="its samples")
    parser.add_argument("--memory", default="1GiB", help="that the verb is given [1GiB]")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a run may take [1800]")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        model, given = options.model, options.given
        if model is None:
            model, given = folder / "unrolled.onnx", folder / "samples"
            onnx.save(unrolled(**options.sizes), model)
            given.mkdir()
            sizes = {name: options.sizes[name] for name in ("steps", "height") if name in options.sizes}
            for number, image in enumerate(images(options.samples, **sizes)):
                np.savez(given / f"{number:04}.npz", image=image)
        budgets = [("--ratio", each) for each in options.ratio] + [("--macs", each) for each in options.macs]
        print("| budget | CPU s | peak MB | parameters | SQNR of the worst output |\n|---|---|---|---|---|")
        for place, (name, value) in enumerate(budgets):
            target, here = folder / f"{place}.onnx", folder / f"run{place}"
            here.mkdir()
            arguments = [str(model.resolve()), "-o", str(target), "--samples", str(given.resolve()), name, str(value)]
            more = ["--memory", options.memory, "--no-bench", "--min-sqnr", "-100"]
            command = [sys.executable, "-m", "onnxslim", "prune", *arguments, *more]
            cost = run(OURS, command, target, here, options.timeout)
            said = (here / "log.txt").read_text()
            first = next((line for line in said.splitlines() if line.startswith("prune:")), cost.error)
            before, after = (parameters(path) if path.exists() else 0 for path in (model, target))
            print(
                f"| {name} {value:g} | {cost.cpu_seconds:.0f} | {cost.peak_rss_bytes / 1e6:.0f} "
                f"| {before:,} -> {after:,} | {first} |",
                flush=True,
            )
    return 0


def parameters(path: Path) -> int:
    """Numbers in a model's initializers."""
    return sum(int(np.prod(tensor.dims)) for tensor in onnx.load(path).graph.initializer)


if __name__ == "__main__":
    sys.exit(main())
