"""Judges slimmed models: whether they compute the same, have the same interface, and how large they are.

A process of its own (``python -m tools.slim_judge``, a request as JSON on standard input, the answer on standard
output), so that the one that measures memory stays small.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

import models_zoo
from onnxslim.errors import OnnxSlimError
from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import open_session, random_feeds
from onnxslim.execution.feeds import Feed
from onnxslim.graph import load
from onnxslim.report.facts import ModelFacts, describe

INTERFACE = ("missing output", "extra output", "output order", "inputs", "declared type", "declared shape")
"""Kinds of differences that are the interface's; all others are wrong or invalid."""
SESSIONS = 3
"""Sessions that are made of each of two models, in turns; the quickest counts."""
ODD_SIZES: dict[str | None, list[tuple[dict[str, tuple[int, ...]], int]]] = {
    "silero_vad": [
        ({"input": (batch, length), "state": (2, batch, 128), "sr": ()}, rate)
        for batch, length, rate in ((1, 576, 16_000), (3, 576, 16_000), (1, 288, 8_000), (2, 288, 8_000))
    ]
}
"""Shapes of inputs, and the number in integer ones, of a model that runs at few others and has no task."""
SAMPLES = 3
"""Samples of the zoo that are compared on where random inputs do not run."""


def judge(
    source: Path, candidates: dict[str, Path], sizes: list[int], zoo: str | None, timed: Collection[str] = ()
) -> dict[str, Any]:
    """The facts of ``source`` and the verdict on each candidate.

    Args:
        source: The original.
        candidates: Tool -> what it wrote.
        sizes: Sizes that symbolic dimensions are tried at.
        zoo: The original's name in the model zoo, whose samples are taken where random inputs do not run.
        timed: Tools whose result is opened against the original for time.
    """
    before = describe(load(source), source)
    reference, note = _reference(source, sizes, zoo)
    seen: dict[bytes, dict[str, Any]] = {}
    verdicts = {}
    for tool, path in candidates.items():
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in seen:
            seen[digest] = _verdict(before, path, reference)
            if tool in timed:
                seen[digest]["session_ratio"] = _session_ratio(source, path)
        verdicts[tool] = seen[digest]
    return {"original": _facts(before), "note": note, "verdicts": verdicts}


def _reference(source: Path, sizes: list[int], zoo: str | None) -> tuple[Reference | None, str]:
    """Random inputs, or else samples of the model's task or `ODD_SIZES`; None and the reason where nothing runs."""
    try:
        return Reference(source, random_feeds(load(source), sizes=sizes), tier=Tier.NUMERIC), "random inputs"
    except OnnxSlimError as error:
        reason = str(error)
    feeds: list[Feed] = []
    if zoo in ODD_SIZES:
        feeds = [_feed_of(load(source), dims, value) for dims, value in ODD_SIZES[zoo]]
    elif zoo is not None and models_zoo.get(zoo).task is not None:
        feeds = [sample.feed for sample in itertools.islice(models_zoo.get(zoo).samples("selection"), SAMPLES)]
    try:
        return Reference(source, feeds, tier=Tier.NUMERIC, evidence="samples"), "samples"
    except OnnxSlimError:
        return None, f"not compared: {reason}"


def _feed_of(model: ir.Model, dims: dict[str, tuple[int, ...]], number: int) -> Feed:
    """Normal floats of the given shapes, and one number for every integer."""
    generator = np.random.default_rng(0)
    return {
        str(value.name): np.full(dims[str(value.name)], number, np.int64)
        if value.dtype == ir.DataType.INT64
        else generator.standard_normal(dims[str(value.name)]).astype(np.float32)
        for value in model.graph.inputs
    }


def _verdict(before: ModelFacts, path: Path, reference: Reference | None) -> dict[str, Any]:
    """``verdict`` is ok, wrong, or invalid; the interface is told apart from it."""
    try:
        after = describe(load(path), path)
    except OnnxSlimError as error:
        return {"verdict": "invalid", "differences": [str(error)], "interface": [], "frozen": []}
    differences = reference.check(path).differences if reference else ()
    wrong = [each for each in differences if each.kind not in INTERFACE]
    invalid = any(each.kind in ("load", "run") for each in wrong)
    domains = {name.rpartition(".")[0] for name in after.ops} - {name.rpartition(".")[0] for name in before.ops}
    return {
        **_facts(after),
        "verdict": "invalid" if invalid else "wrong" if wrong else "ok",
        "differences": [str(each) for each in wrong[:5]],
        "interface": [str(each) for each in differences if each.kind in INTERFACE],
        "frozen": _frozen(before, after),
        "new_domains": sorted(domains - {""}),
    }


def _frozen(before: ModelFacts, after: ModelFacts) -> list[str]:
    """Axes of inputs that were open and are a number now."""
    shapes = {port.name: port.shape for port in after.inputs}
    found = []
    for port in before.inputs:
        pairs = zip(port.shape or (), shapes.get(port.name) or (), strict=False)
        found += [
            f"{port.name}[{axis}]: {old} -> {new}"
            for axis, (old, new) in enumerate(pairs)
            if not isinstance(old, int) and isinstance(new, int)
        ]
    return found


def _facts(facts: ModelFacts) -> dict[str, Any]:
    return {"nodes": facts.nodes, "ops": facts.ops, "bytes": facts.bytes}


def _session_ratio(before: Path, after: Path) -> float | None:
    """CPU time of making a session with all of onnxruntime's optimizations, after / before; None where one fails."""
    best = [math.inf, math.inf]
    try:
        for _ in range(SESSIONS):
            for index, path in enumerate((before, after)):
                started = time.process_time()
                open_session(path)
                best[index] = min(best[index], time.process_time() - started)
    except OnnxSlimError:
        return None
    return best[1] / best[0]


def mixed_chain(count: int) -> onnx.ModelProto:
    """``count`` nodes in a row of which some can go: Add, Identity, Relu, and Mul by one."""
    nodes, value = [], "x"
    for index in range(count):
        kind = ("Add", "Identity", "Relu", "Mul")[index % 4]
        inputs = [value, "step" if kind == "Add" else "one"] if kind in ("Add", "Mul") else [value]
        value = "y" if index == count - 1 else f"v{index}"
        nodes.append(helper.make_node(kind, inputs, [value]))
    return _chain_model(nodes)


def folded_chain(count: int) -> onnx.ModelProto:
    """``count`` nodes in a row that can all be computed beforehand, and one that uses the last."""
    nodes, value = [], "step"
    for index in range(count - 1):
        nodes.append(helper.make_node(("Add", "Neg")[index % 2], [value, "step"][: 2 - index % 2], [f"v{index}"]))
        value = f"v{index}"
    return _chain_model([*nodes, helper.make_node("Add", ["x", value], ["y"])])


def unary_chain(count: int) -> onnx.ModelProto:
    """``count`` nodes in a row that must all stay."""
    names = ["x", *(f"v{index}" for index in range(count - 1)), "y"]
    return _chain_model([helper.make_node(("Sin", "Tanh")[k % 2], [names[k]], [names[k + 1]]) for k in range(count)])


def _chain_model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    constants = {"step": np.array([0.5], np.float32), "one": np.array([1.0], np.float32)}
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CHAINS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "kept": unary_chain, "mixed": mixed_chain, "folded": folded_chain,
}  # fmt: skip


def main() -> None:
    request = json.load(sys.stdin)
    answer: Any
    if request["do"] == "list":
        answer = {name: str(entry.path()) for name, entry in models_zoo.catalogue().items()}
    elif request["do"] == "chains":
        answer = {}
        for kind, make in CHAINS.items():
            for count in request["counts"]:
                path = Path(request["folder"]) / f"{kind}_{count}.onnx"
                onnx.save(make(count), path)
                answer.setdefault(kind, {})[count] = str(path)
    else:
        candidates = {tool: Path(path) for tool, path in request["candidates"].items()}
        answer = judge(Path(request["source"]), candidates, request["sizes"], request["zoo"], request["timed"])
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
