"""How long, and with how much memory, a model with gigabytes of external weights is loaded, slimmed and saved.

    python tools/bench_external.py --gib 3            # load and save
    python tools/bench_external.py --gib 3 --slim     # onnxslim.slim(input, output)

The work is done in a child process, whose anonymous memory (RssAnon of /proc) is sampled every 5 ms; pages of mapped
files do not count, as the system takes them back when it needs them. The weights of the output are compared with those
of the input.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

COLUMNS = 4096


def build(path: Path, gib: float, tensors: int = 48) -> None:
    """A chain of MatMul with a Relu between, ``gib`` GiB of float32 weights in ``tensors`` tensors."""
    rows = COLUMNS
    per_tensor = rows * COLUMNS * 4
    count = max(1, min(tensors, round(gib * 2**30 / per_tensor)))
    block = np.random.default_rng(0).random(rows * COLUMNS, dtype=np.float32)
    nodes, initializers = [], []
    with (path.parent / "weights.bin").open("wb") as file:
        for at in range(count):
            block[0] = at
            file.write(block.tobytes())
            tensor = TensorProto(name=f"w{at}", data_type=TensorProto.FLOAT, dims=[rows, COLUMNS])
            tensor.data_location = TensorProto.EXTERNAL
            for key, number in (("location", "weights.bin"), ("offset", at * per_tensor), ("length", per_tensor)):
                tensor.external_data.add(key=key, value=str(number))
            initializers.append(tensor)
            nodes.append(helper.make_node("MatMul", [f"r{at}" if at else "x", f"w{at}"], [f"m{at}"]))
            nodes.append(helper.make_node("Relu", [f"m{at}"], [f"r{at + 1}" if at < count - 1 else "y"]))
        file.flush()
        os.fsync(file.fileno())  # else the measured writer waits for this one's pages
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, ["N", COLUMNS])], [value("y", 1, ["N", COLUMNS])], initializers
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


class Watch(threading.Thread):
    """Samples this process's anonymous memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.running = 0, True

    def run(self) -> None:
        """Samples until told to end."""
        while self.running:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.005)


def anonymous() -> int:
    """Bytes of anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


def child(source: str, target: str, slim: bool) -> None:
    """The measured work; prints the result as JSON."""
    watch = Watch()
    watch.start()
    started = time.perf_counter()
    times: dict[str, float] = {}
    if slim:
        from onnxslim import slim as run

        run(source, target)
        times["load, slim and save"] = time.perf_counter() - started
    else:
        from onnxslim.graph import load, save

        times["import"] = time.perf_counter() - started
        started = time.perf_counter()
        model = load(source)
        times["load"] = time.perf_counter() - started
        started = time.perf_counter()
        save(model, target)
        times["save"] = time.perf_counter() - started
    watch.running = False
    watch.join()
    print(json.dumps({"seconds": times, "peak_anonymous_mb": max(watch.peak, anonymous()) / 1e6}))


def same_weights(a: Path, b: Path) -> bool:
    """Whether two models hold the same external weights, compared through mappings."""
    from onnxslim.graph import load

    left, right = load(a).graph.initializers, load(b).graph.initializers
    if left.keys() != right.keys():
        return False
    for name, value in left.items():
        one, two = value.const_value, right[name].const_value
        if one is None or two is None or not np.array_equal(one.numpy(), two.numpy()):
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=3.0, help="GiB of weights")
    parser.add_argument("--slim", action="store_true", help="run onnxslim.slim, not load and save alone")
    parser.add_argument(
        "--folder", help="where the files are made (and removed); default: the system's temporary folder"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1], options.slim)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        source, target = Path(name) / "in" / "model.onnx", Path(name) / "out" / "model.onnx"
        source.parent.mkdir()
        target.parent.mkdir()
        build(source, options.gib)
        command = [sys.executable, __file__, "--child", str(source), str(target)] + ["--slim"] * options.slim
        started = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        result["process_seconds"] = time.perf_counter() - started
        result["weights_gib"] = (source.parent / "weights.bin").stat().st_size / 2**30
        result["same_weights"] = same_weights(source, target)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
