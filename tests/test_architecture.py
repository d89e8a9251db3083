"""The shape of the code, read from its syntax trees. Each allow-list holds what is left, and may only shrink."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx

from tests.documents import ROOT

CYCLES: frozenset[frozenset[str]] = frozenset()
"""Modules that import each other, if only for types."""

TWICE: frozenset[str] = frozenset()
"""Names of two classes."""

PRIVATE: frozenset[tuple[str, str]] = frozenset()
"""Private names of other modules that tests use."""

PATCHES = frozenset({"setattr", "delattr", "getattr"})


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def modules() -> dict[str, Path]:
    """Name -> file of each module of the product. The link onnxslim/passes is not followed: none comes twice."""
    found = {}
    for package, top in (("onnxslim", "onnxslim"), ("onnxslim.passes", "passes")):
        for path in (ROOT / top).rglob("*.py"):
            inside = path.relative_to(ROOT / top).with_suffix("").parts
            if top == "onnxslim" and inside[0] == "passes":
                continue
            parts = inside[:-1] if inside[-1] == "__init__" else inside
            found[".".join((package, *parts))] = path
    return found


def imports(name: str) -> Iterator[str]:
    """Modules of the product that a module imports: at the top, in functions and for types."""
    path = modules()[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in modules())
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for each in node.names:
                inner = f"{source}.{each.name}"
                if inner in modules() or source in modules():
                    yield inner if inner in modules() else source


def test_modules_do_not_import_each_other() -> None:
    graph = nx.DiGraph((name, other) for name in modules() for other in imports(name) if other != name)
    cycles = {frozenset(group) for group in nx.strongly_connected_components(graph) if len(group) > 1}
    edges = {tuple(sorted(group)): sorted(graph.subgraph(group).edges) for group in cycles - CYCLES}
    assert not edges, f"new cycles of imports, with all imports in them: {edges}"
    assert cycles == CYCLES, f"no cycles any more, take them off the list: {[sorted(each) for each in CYCLES - cycles]}"


def test_no_public_class_name_is_defined_twice() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    several = {name: where for name, where in homes.items() if len(where) > 1}
    assert not several.keys() - TWICE, {name: several[name] for name in several.keys() - TWICE}
    assert several.keys() == TWICE, f"take off the list: {TWICE - several.keys()}"


def private_uses(path: Path) -> Iterator[str]:
    """Private names that a test imports, patches, or asks of anything but itself and of ``os``."""
    for node in ast.walk(tree(path)):
        found: list[str] = []
        if isinstance(node, ast.ImportFrom):
            found = [each.name for each in node.names]
        elif isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os")
            found = [] if own else [node.attr]
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            found = [text for text in texts if isinstance(text, str)] if called in PATCHES else []
        last = (name.rsplit(".", 1)[-1] for name in found)
        yield from (name for name in last if name.startswith("_") and not name.endswith("__"))


def test_tests_use_no_private_name_of_another_module() -> None:
    paths = sorted((ROOT / "tests").rglob("*.py"))
    found = {(path.relative_to(ROOT).as_posix(), name) for path in paths for name in private_uses(path)}
    assert not found - PRIVATE, f"make these public, or test what they are for: {sorted(found - PRIVATE)}"
    assert found == PRIVATE, f"take off the list: {sorted(PRIVATE - found)}"
