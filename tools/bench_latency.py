"""How far a latency verdict can be trusted: A/A trials, and trials with a true slowdown.

    python tools/bench_latency.py --trials 100                # both kinds on a built network
    python tools/bench_latency.py --trials 100 --model m.onnx # A/A trials of a model of your own or of the zoo

The built network is a chain of equal convolutions; the slow one repeats a few of them. Prints a Markdown table; with
``--json FILE`` every trial is written too.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxslim.execution import Feed, Latency, compare_latency, random_feeds
from onnxslim.execution.opening import AnyModel
from onnxslim.graph import load


def conv_net(layers: int, *, channels: int = 32, side: int = 28) -> onnx.ModelProto:
    """``layers`` times Conv 3x3 + Relu on (1, channels, side, side)."""
    generator = np.random.default_rng(0)
    scale = math.sqrt(2 / (channels * 9))
    nodes, weights = [], []
    for index in range(layers):
        weight = (generator.standard_normal((channels, channels, 3, 3)) * scale).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("Conv", [f"x{index}", f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"x{index + 1}"]))
    shape = [1, channels, side, side]
    graph = helper.make_graph(
        nodes,
        f"conv{layers}",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def run_trials(
    a: AnyModel, b: AnyModel, feeds: list[Feed], count: int, options: argparse.Namespace, *, label: str
) -> list[Latency]:
    found = []
    for index in range(count):
        latency = compare_latency(
            a,
            b,
            feeds,
            threads=options.threads,
            processes=options.processes,
            seconds=options.seconds,
            seed=options.seed + index,
        )
        found.append(latency)
        print(f"# {label} {index + 1}/{count}: {latency}; floor {latency.floor:.1%}", flush=True)
    return found


def row(label: str, found: list[Latency], seconds: float) -> str:
    counts = [sum(x.verdict == verdict for x in found) for verdict in ("faster", "slower", "no difference")]
    ratio = statistics.median(x.ratio for x in found)
    spread = np.quantile([x.ratio for x in found], [0.05, 0.95])
    half = statistics.median((x.high - x.low) / 2 for x in found)
    floor = statistics.median(x.floor for x in found)
    cells = [label, len(found), *counts, f"{ratio:.3f}", f"{spread[0]:.3f} to {spread[1]:.3f}", f"{half:.1%}"]
    return "| " + " | ".join(map(str, [*cells, f"{floor:.1%}", f"{seconds / len(found):.1f}"])) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100, help="of each kind (default: 100)")
    parser.add_argument("--layers", type=int, default=40, help="convolutions of the built network (default: 40)")
    parser.add_argument("--repeats", type=int, default=2, help="convolutions repeated in the slow one (default: 2)")
    parser.add_argument("--model", help="A/A trials of this file, or of this model of models_zoo, instead")
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every trial here")
    options = parser.parse_args()

    kinds: list[tuple[str, AnyModel, AnyModel, list[Feed]]] = []
    if options.model:
        path = Path(options.model)
        if not path.is_file():
            import models_zoo

            path = models_zoo.get(options.model).path()
        model = load(path)
        feeds = random_feeds(model)
        kinds.append((f"A/A {path.name}", path, path, feeds[-1:]))
    else:
        net, slow = conv_net(options.layers), conv_net(options.layers + options.repeats)
        feeds = random_feeds(load(net))
        kinds.append(("A/A", net, net, feeds))
        kinds.append((f"{options.repeats} of {options.layers} repeated", net, slow, feeds))
    rows, record = [], {}
    for label, a, b, feeds in kinds:
        started = time.perf_counter()
        found = run_trials(a, b, feeds, options.trials, options, label=label)
        rows.append(row(label, found, time.perf_counter() - started))
        record[label] = [asdict(latency) for latency in found]
    print(
        "| trials | number | faster | slower | no difference | ratio | 90 % of ratios | half width | floor | s/trial |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
