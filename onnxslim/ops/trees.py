"""Ensembles of decision trees as one value, whichever operator of ``ai.onnx.ml`` states them.

`onnxslim.ops.tree_attributes` reads and writes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import onnx_ir as ir

ENSEMBLE: Final = "TreeEnsemble"
ENSEMBLE_SINCE: Final = 5
"""Version of the domain that brought TreeEnsemble and deprecated the others."""
PREFIX: Final[Mapping[str, str]] = {"TreeEnsembleClassifier": "class", "TreeEnsembleRegressor": "target"}
"""The older operators, and what the names of their weights' attributes begin with."""
MODES: Final = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
"""How a branch compares the feature with its split; TreeEnsemble stores the place in this list."""
LEQ, LT, GTE, GT, EQ, NEQ = range(len(MODES))
AGGREGATES: Final = ("AVERAGE", "SUM", "MIN", "MAX")
LEAF: Final = "LEAF"

Weights: TypeAlias = tuple[tuple[int, float], ...]
"""Of a leaf: target and what is added to it."""


class Branch(NamedTuple):
    """An inner node. ``true`` and ``false`` are places in ``Forest.branches``, or ``~place`` of a leaf."""

    feature: int
    mode: int
    split: float
    missing_true: bool
    """Whether NaN leads where true does."""
    true: int
    false: int


@dataclass
class Forest:
    """Trees as a graph; ``roots`` are places as in `Branch`. ``dtype`` is that of splits and weights."""

    dtype: ir.DataType = ir.DataType.FLOAT
    branches: list[Branch] = field(default_factory=list)
    leaves: list[Weights] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    _places: dict[Branch | Weights, int] = field(default_factory=dict, repr=False)

    def leaf(self, weights: Weights) -> int:
        """The place of this leaf; a new one where there is none like it."""
        found = self._places.get(weights)
        if found is None:
            found = self._places[weights] = ~len(self.leaves)
            self.leaves.append(weights)
        return found

    def branch(self, branch: Branch) -> int:
        """The place of this branch, a new one where there is none like it; where both ways are one, their place."""
        if branch.true == branch.false:
            return branch.true
        found = self._places.get(branch)
        if found is None:
            found = self._places[branch] = len(self.branches)
            self.branches.append(branch)
        return found

    def is_shared(self) -> bool:
        """Whether a branch can be reached in more ways than one."""
        reached = Counter(self.roots)
        for branch in self.branches:
            reached[branch.true] += 1
            reached[branch.false] += 1
        return any(count > 1 for place, count in reached.items() if place >= 0)


def walk(forest: Forest, roots: Iterable[int]) -> Iterator[int]:
    """The places that the roots lead to, each once."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        yield place
        if place >= 0:
            waiting.extend(forest.branches[place][-2:])


def certain(forest: Forest) -> set[int]:
    """The targets that get a weight from every row: all leaves of a tree are theirs."""
    found = (targets_of(forest, root) for root in forest.roots)
    return {target for targets in found if len(targets) == 1 for target in targets}


def targets_of(forest: Forest, root: int) -> set[int]:
    """The targets of the leaves of one tree."""
    return {target for place in walk(forest, [root]) if place < 0 for target, _ in forest.leaves[~place]}


def with_base(forest: Forest, base: dict[int, float]) -> Forest | None:
    """The trees with ``base`` added to the leaves of the last tree of each target; None where one has no such tree.

    The last one, since the sums of the others are smaller and round less.
    """
    last: dict[int, float] = {}
    open_ = {target: value for target, value in base.items() if value}
    for at in range(len(forest.roots) - 1, -1, -1):
        if not open_:
            break
        targets = targets_of(forest, forest.roots[at])
        if len(targets) == 1 and (target := next(iter(targets))) in open_:
            last[at] = open_.pop(target)
    if open_:
        return None
    raised = Forest(forest.dtype)
    for at, root in enumerate(forest.roots):
        shift, new = last.get(at, 0.0), dict[int, int]()
        for place in sorted(walk(forest, [root])):  # leaves are below 0, and children come before what leads to them
            if place < 0:
                new[place] = raised.leaf(_shifted(forest.leaves[~place], shift))
            else:
                branch = forest.branches[place]
                new[place] = raised.branch(branch._replace(true=new[branch.true], false=new[branch.false]))
        raised.roots.append(new[root])
    return raised


def _shifted(weights: Weights, shift: float) -> Weights:
    return tuple((target, float(np.float32(weight + shift))) for target, weight in weights)


def steps(forest: Forest) -> float:
    """Branches that a row passes, if each leads to both ways equally often."""
    below: dict[int, float] = {}
    for place, branch in enumerate(forest.branches):  # children come first
        below[place] = 1 + (below.get(branch.true, 0.0) + below.get(branch.false, 0.0)) / 2
    return sum(below.get(root, 0.0) for root in forest.roots)
