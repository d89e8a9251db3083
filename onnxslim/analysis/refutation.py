"""Branches of an If that no successful run takes: what comes after would demand another rank than they give."""

from __future__ import annotations

from collections import ChainMap, deque
from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from onnxslim.analysis.facts import UNKNOWN, Fact
from onnxslim.analysis.inference import Inference
from onnxslim.ops.requirements import violation

MAX_NODES: Final = 48
"""Nodes that are evaluated after a branch: what depends on a rank is near."""


def surviving_branch(inference: Inference, node: ir.Node, branches: Sequence[Sequence[Fact]]) -> int | None:
    """Which of two branches (0 or 1) must have been taken wherever the run goes on to its end; None where both may.

    A branch is out where a node of the same graph, which runs whenever the If does, is given a rank that it refuses.
    """
    one, other = branches
    pairs = zip(one, other, strict=True)
    if inference.trying or all(a.shape is None or b.shape is None or len(a.shape) == len(b.shape) for a, b in pairs):
        return None
    out = [refuted(inference, node, facts) for facts in branches]
    return None if out[0] == out[1] else out.index(False)


def refuted(inference: Inference, node: ir.Node, outputs: Sequence[Fact]) -> bool:
    """Whether the run fails where ``node`` gives ``outputs``. What is inferred to find out is forgotten again."""
    known, problems = inference.facts, inference.problems
    inference.facts, inference.problems, inference.trying = ChainMap({}, known), [], True
    try:
        queue: deque[ir.Node] = deque()
        for value, fact in zip(node.outputs, outputs, strict=True):
            inference.record(value, fact)
            queue.extend(_readers(value, node.graph))
        for _ in range(MAX_NODES):
            if not queue:
                break
            each = queue.popleft()
            inference.visit(each)
            facts = [UNKNOWN if x is None else inference.facts.get(x, UNKNOWN) for x in each.inputs]
            ranks = [None if fact.shape is None else len(fact.shape) for fact in facts]
            needed = any(y.uses() or y.is_graph_output() for y in each.outputs)  # runtimes drop what is not
            standard = each.domain in ("", "ai.onnx") and each.op_identifier() not in inference.model.functions
            if needed and standard and violation(each.op_type, ranks):
                return True
            for value in each.outputs:
                if inference.facts.get(value, UNKNOWN).shape is not None:
                    queue.extend(_readers(value, node.graph))
        return False
    finally:
        inference.facts, inference.problems, inference.trying = known, problems, False


def _readers(value: ir.Value, graph: object) -> list[ir.Node]:
    return [use.node for use in value.uses() if use.node.graph is graph]
