"""How the time of slimming grows with the number of nodes: CPU seconds, and against linear growth.

``python -m tools.bench_scale [--sizes 4000,8000,...] [--kinds chain,...]`` prints a table. Each model is made here, is
slimmed once without comparing outputs, and in this process: seconds are CPU time, which neighbours disturb little.
The last column is the largest model's time for each node over the smallest one's: 1 is linear.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxslim.api.slim import simplify

SIZES = (4000, 8000, 16000, 32000, 64000)
node, info, tensor = helper.make_node, helper.make_tensor_value_info, numpy_helper.from_array


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto] = (),
    *,
    shape: Sequence[int | str] = (1,),
    outputs: Sequence[str] = ("y",),
    more: Sequence[onnx.ValueInfoProto] = (),
) -> bytes:
    """A model of ``x`` and its outputs."""
    inputs = [info("x", onnx.TensorProto.FLOAT, shape), *more]
    ends = [info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, ends, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def chained(count: int, make: Callable[[int, str, str], onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes of which each reads the one before, from ``x`` to ``t<count>``."""
    names = ["x", *(f"t{i + 1}" for i in range(count))]
    return [make(i, a, b) for i, (a, b) in enumerate(itertools.pairwise(names))]


def chain(count: int) -> bytes:
    nodes = chained(count, lambda i, a, b: node("Relu" if i % 2 else "Neg", [a], [b]))
    return model([*nodes, node("Identity", [f"t{count}"], ["y"])])


def sums(count: int) -> bytes:
    return model([*chained(count, lambda i, a, b: node("Add", [a, "x"], [b])), node("Identity", [f"t{count}"], ["y"])])


def identities(count: int) -> bytes:
    return model([*chained(count, lambda i, a, b: node("Identity", [a], [b])), node("Neg", [f"t{count}"], ["y"])])


def transposes(count: int) -> bytes:
    nodes = chained(count, lambda i, a, b: node("Transpose", [a], [b], perm=[1, 0]))
    return model([*nodes, node("Neg", [f"t{count}"], ["y"])], shape=(2, 3))


def transposed_steps(count: int) -> bytes:
    nodes = chained(
        count, lambda i, a, b: node("Relu", [a], [b]) if i % 3 == 1 else node("Transpose", [a], [b], perm=[1, 0])
    )
    return model([*nodes, node("Neg", [f"t{count}"], ["y"])], shape=(2, 3))


def wide(count: int) -> bytes:
    nodes = [node("Mul", ["x", f"c{i}"], [f"t{i}"]) for i in range(count)]
    weights = [tensor(np.array([i + 2], np.float32), f"c{i}") for i in range(count)]
    return model([*nodes, node("Concat", [f"t{i}" for i in range(count)], ["y"], axis=0)], weights)


def equal(count: int) -> bytes:
    nodes = [node("Relu", ["x"], [f"t{i}"]) for i in range(count)]
    return model([*nodes, node("Max", [f"t{i}" for i in range(count)], ["y"])])


def equal_pairs(count: int) -> bytes:
    half = count // 2
    nodes = [node("Relu", ["x"], [f"t{i}"]) for i in range(half)]
    nodes += [node("Neg", [f"t{i}"], [f"u{i}"]) for i in range(half)]
    return model([*nodes, node("Max", [f"u{i}" for i in range(half)], ["y"])])


def shapes(count: int) -> bytes:
    nodes = [node("Shape", ["x"], ["s0"])]
    nodes += [node("Add", [f"s{i}", "one"], [f"s{i + 1}"]) for i in range(count)]
    nodes += [node("Expand", ["x", f"s{count}"], ["e"]), node("ReduceMax", ["e"], ["y"], keepdims=0)]
    return model(nodes, [tensor(np.array([1], np.int64), "one")], shape=("n",))


def outputs(count: int) -> bytes:
    nodes = [node("Mul", ["x", f"c{i}"], [f"y{i}"]) for i in range(count)]
    weights = [tensor(np.array([i], np.float32), f"c{i}") for i in range(count)]
    return model(nodes, weights, outputs=[f"y{i}" for i in range(count)])


def branches(count: int) -> bytes:
    """A tree of If nodes, each in a branch of the one above, that has about ``count`` nodes."""
    numbers = itertools.count()
    level = [_branch(node("Neg", ["x"], [f"v{next(numbers)}"])) for _ in range(1 << max(1, (count // 2).bit_length()))]
    while len(level) > 2:
        level = [
            _branch(node("If", ["c"], [f"v{next(numbers)}"], then_branch=a, else_branch=b))
            for a, b in zip(level[::2], level[1::2], strict=True)
        ]
    top = node("If", ["c"], ["y"], then_branch=level[0], else_branch=level[1])
    return model([top], more=[info("c", onnx.TensorProto.BOOL, [])])


def _branch(made: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([made], "b", [], [info(made.output[0], onnx.TensorProto.FLOAT, None)])


KINDS: dict[str, Callable[[int], bytes]] = {
    each.__name__: each
    for each in (
        *(chain, sums, identities, transposes, transposed_steps, wide, equal, equal_pairs, shapes, outputs),
        branches,
    )
}


def seconds(kind: str, size: int) -> float:
    """CPU seconds to slim one model."""
    data = KINDS[kind](size)
    gc.collect()
    started = time.process_time()
    simplify(data, verify=False)
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: [int(part) for part in text.split(",")], default=list(SIZES))
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS))
    given = parser.parse_args(arguments)
    print("| kind | " + " | ".join(f"{size:,}" for size in given.sizes) + " | against linear |")
    print("|---" * (len(given.sizes) + 2) + "|")
    simplify(chain(100), verify=False)  # what is imported and cached once
    for kind in given.kinds:
        times = [seconds(kind, size) for size in given.sizes]
        ratio = times[-1] / times[0] * given.sizes[0] / given.sizes[-1]
        print(f"| {kind} | " + " | ".join(f"{each:.1f}" for each in times) + f" | {ratio:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
