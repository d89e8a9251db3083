"""Rules of the design that no tool checks, read from the syntax tree of the product."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [
    path
    for folder in ("onnxslim", "passes")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "onnxslim/passes" not in path.as_posix()
]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in FILES}
LONG, LONGEST = 300, 400
"""Lines: a longer file gives a reason; none is longer than that."""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def name_of(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_a_metric_is_called_in_one_place() -> None:
    found = {
        path for path, tree in TREES.items() for call in calls(tree) if name_of(call.func) in ("metric", "_metric")
    }
    assert found == {"onnxslim/evaluation/scoring.py"}


def test_samples_are_split_in_one_place_and_capped_in_one() -> None:
    split = {
        path
        for path, tree in TREES.items()
        for call in calls(tree)
        if isinstance(call.func, ast.Name) and call.func.id == "split"
    }
    assert split == {"onnxslim/evaluation/evaluator.py", "onnxslim/api/calibrate.py"}
    sliced = {
        path
        for path, tree in TREES.items()
        for call in calls(tree)
        if name_of(call.func) == "islice" and "sample" in ast.unparse(call).lower()
    }
    # rounding.py takes every second sample, all of them: no cap.
    assert sliced - {"passes/quantize/rounding.py"} == {"onnxslim/samples/feeds.py"}


NAMES = {"slim", "prune", "quantize", "sparsify", "encode", "decode", "compress", "strip"}
REGISTRY = {"onnxslim/pipeline/registry.py", "onnxslim/report/words.py"}


def test_nothing_branches_on_the_name_of_a_verb_or_a_pass() -> None:
    found = []
    for path, tree in TREES.items():
        if path in REGISTRY or path.startswith(("passes/", "onnxslim/compat/")):  # OnnxSlim's arguments are names
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare):
                continue
            texts = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
            about = {name_of(each) for each in ast.walk(node)} & {"name", "command", "verb", "names"}
            if texts & NAMES and about:
                found.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


@pytest.mark.parametrize("path", sorted(TREES))
def test_files_are_short(path: str) -> None:
    lines = (ROOT / path).read_text().count("\n")
    assert lines <= LONGEST, f"{path} has {lines} lines"
    if lines > LONG:
        last = (ast.get_docstring(TREES[path]) or "").split("\n\n")[-1]
        assert last.startswith("Long because "), f"{path} has {lines} lines; its docstring does not end with a reason"
