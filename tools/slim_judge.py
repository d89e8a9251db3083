"""Judges slimmed models: whether they compute the same, have the same interface, and how large they are.

A process of its own (``python -m tools.slim_judge``, a request as JSON on standard input, the answer on standard
output), so that the one that measures memory stays small.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import models_zoo
from onnxslim.errors import OnnxSlimError
from onnxslim.graph import load
from onnxslim.report.facts import ModelFacts, describe
from onnxslim.runtime import Reference, Tier, open_session, random_feeds
from onnxslim.runtime.feeds import Feed

INTERFACE = ("missing output", "extra output", "output order", "inputs", "declared type", "declared shape")
"""Kinds of differences that are the interface's; all others are wrong or invalid."""
SESSIONS = 3
"""Sessions that are made of a model; the quickest counts."""


def judge(source: Path, candidates: dict[str, Path], sizes: list[int], zoo: str | None) -> dict[str, Any]:
    """The facts of ``source`` and the verdict on each candidate.

    Args:
        source: The original.
        candidates: Tool -> what it wrote.
        sizes: Sizes that symbolic dimensions are tried at.
        zoo: The original's name in the model zoo, whose samples are taken where random inputs do not run.
    """
    before = describe(load(source), source)
    reference, note = _reference(source, sizes, zoo)
    own_session = _session_seconds(source)
    seen: dict[bytes, dict[str, Any]] = {}
    verdicts = {}
    for tool, path in candidates.items():
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in seen:
            seen[digest] = _verdict(before, path, reference)
            ratio = _session_seconds(path)
            seen[digest]["session_ratio"] = ratio / own_session if ratio and own_session else None
        verdicts[tool] = seen[digest]
    return {"original": _facts(before), "note": note, "verdicts": verdicts}


def _reference(source: Path, sizes: list[int], zoo: str | None) -> tuple[Reference | None, str]:
    """Random inputs, or else samples of the model's task; None and the reason where neither runs."""
    try:
        return Reference(source, random_feeds(load(source), sizes=sizes), tier=Tier.NUMERIC), "random inputs"
    except OnnxSlimError as error:
        reason = str(error)
    if zoo is None or models_zoo.get(zoo).task is None:
        return None, f"not compared: {reason}"
    feeds: list[Feed] = [sample.feed for sample in itertools.islice(models_zoo.get(zoo).samples("selection"), 3)]
    try:
        return Reference(source, feeds, tier=Tier.NUMERIC, evidence="samples"), "samples"
    except OnnxSlimError as error:
        return None, f"not compared: {error}"


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


def _session_seconds(path: Path) -> float | None:
    """CPU seconds of making a session with all of onnxruntime's optimizations."""
    taken = []
    for _ in range(SESSIONS):
        started = time.process_time()
        try:
            open_session(path)
        except OnnxSlimError:
            return None
        taken.append(time.process_time() - started)
    return min(taken)


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
        answer = judge(Path(request["source"]), candidates, request["sizes"], request["zoo"])
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
