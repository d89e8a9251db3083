"""Trees without what no input reaches and what says nothing.

1. A branch on a feature that the branches above have decided: x <= 3 says x <= 5. NaN is followed, too.
2. A branch both ways of which are equal, down to the leaves, is what they are.
3. Weights of 0 that are added to a sum.
4. Hit rates, which no runtime needs, and the table of where NaN leads if it holds the default alone.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops import trees
from onnxslim.ops.ml import DOMAIN, base_values, class_labels
from onnxslim.ops.tree_attributes import by_position, listed, read, stated_by
from onnxslim.ops.trees import EQ, GT, GTE, LEQ, LT, NEQ, Branch, Forest, Weights
from onnxslim.rewriter.place import Place, Replacement, remade
from onnxslim.rewriter.rule import Rule


class TrimTrees(Rule):
    """Remove from tree ensembles the branches, weights and tables that change no output."""

    name: ClassVar[str] = "trim-trees"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = (trees.ENSEMBLE, *trees.PREFIX)
    domains: ClassVar[tuple[str, ...]] = (DOMAIN,)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """The same operator with fewer or shorter attributes."""
        forest = read(node)
        if isinstance(forest, str):
            return forest
        trimmed = trim(forest)
        if drops_zeros(node, trimmed):
            trimmed = without_zeros(trimmed)
        if node.op_type == trees.ENSEMBLE:
            stated = by_position(trimmed)
        else:
            version = place.scope.opsets.get(DOMAIN, 1)
            stated = listed(trimmed, trees.PREFIX[node.op_type], as_tensors=version >= 3)
        if is_stated(node, stated):
            return None
        kept = {name: each for name, each in node.attributes.items() if not stated_by(node.op_type, name)}
        new = remade(node, node.inputs, {**kept, **stated}, outputs=len(node.outputs))
        return Replacement([new], new.outputs, f"{len(forest.branches):,} branches -> {len(trimmed.branches):,}")


def trim(forest: Forest) -> Forest:
    """The trees without branches that decide nothing, their equal parts shared.

    What lies above a branch is one path only in trees that share nothing yet; in others no branch counts as decided.
    """
    if mixes_missing(forest):
        return forest
    out = Forest(forest.dtype)
    known: dict[int, int] | None = {} if forest.is_shared() else None
    out.roots = [_copy(forest, root, out, known) for root in forest.roots]
    return out


def mixes_missing(forest: Forest) -> bool:
    """Whether tests for equality differ in where NaN leads.

    onnxruntime 1.32 makes one test of several on a feature that lead to equal subtrees, and lets NaN go where the first
    one has it. Such trees stay as they are: what is taken out could bring two such tests together.
    """
    return len({branch.missing_true for branch in forest.branches if branch.mode == EQ}) > 1


def _copy(forest: Forest, root: int, out: Forest, known: dict[int, int] | None) -> int:
    """Copies what ``root`` leads to, children first; its place in ``out``."""
    bounds: dict[int, Bounds] = {}
    made: list[int] = []
    steps: list[_Visit | _Join | _Narrow] = [_Visit(root)]
    while steps:
        step = steps.pop()
        if isinstance(step, _Narrow):
            bounds[step.feature] = step.bounds
        elif isinstance(step, _Join):
            false, true = made.pop(), made.pop()
            made.append(out.branch(forest.branches[step.place]._replace(true=true, false=false)))
            if known is not None:
                known[step.place] = made[-1]
        elif step.place < 0:
            made.append(out.leaf(forest.leaves[~step.place]))
        elif known is not None and step.place in known:
            made.append(known[step.place])
        else:
            branch = forest.branches[step.place]
            before = bounds.get(branch.feature, EVERYTHING)
            yes, no = (before, before) if known is not None else divided(before, branch)
            if yes.is_empty() or no.is_empty():
                steps.append(_Visit(branch.false if yes.is_empty() else branch.true))
                continue
            steps += [_Join(step.place), _Narrow(branch.feature, before)]
            steps += [_Visit(branch.false), _Narrow(branch.feature, no)]
            steps += [_Visit(branch.true), _Narrow(branch.feature, yes)]
    return made.pop()


class _Visit(NamedTuple):
    place: int


class _Join(NamedTuple):
    place: int


class _Narrow(NamedTuple):
    feature: int
    bounds: Bounds


class Bounds(NamedTuple):
    """What a feature can be: numbers between two limits, each itself included or not, and NaN or not."""

    low: float
    high: float
    with_low: bool
    with_high: bool
    nan: bool

    def is_empty(self) -> bool:
        """Whether no number is left, nor NaN."""
        some = self.low < self.high or (self.low == self.high and self.with_low and self.with_high)
        return not (some or self.nan)

    def at_most(self, limit: float, included: bool) -> Bounds:
        """Those up to a limit."""
        if limit > self.high:
            return self
        return self._replace(high=limit, with_high=included and (limit < self.high or self.with_high))

    def at_least(self, limit: float, included: bool) -> Bounds:
        """Those from a limit on."""
        if limit < self.low:
            return self
        return self._replace(low=limit, with_low=included and (limit > self.low or self.with_low))


EVERYTHING = Bounds(-math.inf, math.inf, True, True, True)


def divided(before: Bounds, branch: Branch) -> tuple[Bounds, Bounds]:
    """What goes the way of true, and what goes that of false. NaN differs from every number, and is never less."""
    split = branch.split
    nan_true = branch.missing_true or branch.mode == NEQ
    match branch.mode:
        case _ if math.isnan(split):
            return before, before
        case trees.LEQ | trees.LT:
            true = before.at_most(split, branch.mode == LEQ)
            false = before.at_least(split, branch.mode == LT)
        case trees.GTE | trees.GT:
            true = before.at_least(split, branch.mode == GTE)
            false = before.at_most(split, branch.mode == GT)
        case _:
            only, rest = before.at_most(split, True).at_least(split, True), before
            if before.low == before.high == split:
                rest = before._replace(with_low=False)
            true, false = (only, rest) if branch.mode == EQ else (rest, only)
    return true._replace(nan=before.nan and nan_true), false._replace(nan=before.nan and not nan_true)


def drops_zeros(node: ir.Node, forest: Forest) -> bool:
    """Whether a weight of 0 is as good as none.

    A classifier chooses among the classes that have got a weight. One that has got none is not chosen, nor is one of
    sum 0 where another class has a positive one. Of two classes onnxruntime looks at which have weights at all.
    """
    if node.op_type == trees.ENSEMBLE or all(len(leaf) == 1 for leaf in forest.leaves) or mixes_missing(forest):
        return False
    if node.op_type == "TreeEnsembleRegressor":
        aggregate = node.attributes.get("aggregate_function")
        return aggregate is None or aggregate.as_string() in ("SUM", "AVERAGE")
    labels = class_labels(node)
    if labels is None or labels[0] <= 2:
        return False
    weights = [[weight for _, weight in leaf] for leaf in forest.leaves]
    return all(min(each) >= 0 and max(each) > 0 for each in weights) and not base_values(node)


def without_zeros(forest: Forest) -> Forest:
    """The trees with no weight of 0 but for the first of a leaf that has no other."""

    def kept(leaf: Weights) -> Weights:
        return tuple(each for each in leaf if each[1] != 0) or leaf[:1]

    light = Forest(forest.dtype, forest.branches, [kept(leaf) for leaf in forest.leaves], forest.roots)
    return trim(light)


def is_stated(node: ir.Node, stated: dict[str, ir.Attr]) -> bool:
    """Whether the node has exactly these attributes for its trees."""
    own = {name: each for name, each in node.attributes.items() if stated_by(node.op_type, name)}
    if own.keys() != stated.keys():
        return False
    for name, attribute in stated.items():
        old, new = own[name].value, attribute.value
        if attribute.type == ir.AttributeType.TENSOR:
            if old.tobytes() != new.tobytes():
                return False
        elif list(old) != list(new):
            return False
    return True
