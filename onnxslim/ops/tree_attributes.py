"""Trees read from the attributes of the operators of ``ai.onnx.ml``, and written as such.

TreeEnsembleClassifier and TreeEnsembleRegressor (versions 1 and 3) list nodes by tree and number, leaves among them; a
leaf may have weights for several targets. TreeEnsemble (version 5) lists branches and leaves apart, by position; a leaf
has one weight, for one target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.ops.trees import ENSEMBLE, LEAF, LEQ, MODES, PREFIX, Branch, Forest

Ints: TypeAlias = npt.NDArray[np.int64]


def read(node: ir.Node) -> Forest | str:
    """The trees of a node as they are stated; a reason where they are not followed."""
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        return "an attribute is a parameter of the function"
    try:
        return _read_positions(node) if node.op_type == ENSEMBLE else _read_listed(node, PREFIX[node.op_type])
    except _Malformed as problem:
        return str(problem)


class _Malformed(Exception):
    """The attributes are no trees as the operator has them."""


# ---- by tree and number ---------------------------------------------------------------------------------------------


def _read_listed(node: ir.Node, prefix: str) -> Forest:
    treeids, nodeids = _ints(node, "nodes_treeids"), _ints(node, "nodes_nodeids")
    count = len(treeids)
    splits, dtype = _floats(node, "nodes_values")
    modes = list(node.attributes["nodes_modes"].as_strings()) if "nodes_modes" in node.attributes else []
    features, true, false = (_ints(node, f"nodes_{name}") for name in ("featureids", "truenodeids", "falsenodeids"))
    missing = _ints(node, "nodes_missing_value_tracks_true")
    if not count or any(len(each) != count for each in (nodeids, splits, modes, features, true, false)):
        raise _Malformed("its lists of nodes differ in length")
    if len(missing) not in (0, count):
        raise _Malformed("nodes_missing_value_tracks_true is not as long as the other lists")
    place = {key: index for index, key in enumerate(zip(treeids.tolist(), nodeids.tolist(), strict=True))}
    if len(place) != count:
        raise _Malformed("two nodes of a tree have one number")
    weights = _listed_weights(node, prefix, place, dtype)
    forest, parents = Forest(dtype), np.zeros(count, np.int64)
    inner = [index for index, mode in enumerate(modes) if mode != LEAF]
    position = {index: at for at, index in enumerate(inner)}
    leaf_at: dict[int, int] = {}
    for index, mode in enumerate(modes):
        if mode == LEAF:
            if index not in weights:
                raise _Malformed("a leaf has no weight")
            leaf_at[index] = ~len(forest.leaves)
            forest.leaves.append(tuple(weights[index]))
        elif index in weights:
            raise _Malformed("a node that is no leaf has a weight")
    for index in inner:
        if modes[index] not in MODES:
            raise _Malformed(f"the mode {modes[index]} is not followed")
        ways = []
        for child in (int(true[index]), int(false[index])):
            found = place.get((int(treeids[index]), child))
            if found is None:
                raise _Malformed("a node leads to none of its tree")
            parents[found] += 1
            ways.append(leaf_at[found] if found in leaf_at else position[found])
        tracks = bool(missing[index]) if len(missing) else False
        forest.branches.append(
            Branch(int(features[index]), MODES.index(modes[index]), float(splits[index]), tracks, *ways)
        )
    firsts = [0, *(np.flatnonzero(np.diff(treeids)) + 1).tolist()]
    if len(firsts) != len(np.unique(treeids)):
        raise _Malformed("the nodes of a tree are not listed together")
    if (parents[firsts] != 0).any() or int((parents == 1).sum()) != count - len(firsts):
        raise _Malformed("its nodes are no trees, each with its root first")
    forest.roots = [leaf_at[first] if first in leaf_at else position[first] for first in firsts]
    return forest


def _listed_weights(
    node: ir.Node, prefix: str, place: Mapping[tuple[int, int], int], dtype: ir.DataType
) -> dict[int, list[tuple[int, float]]]:
    trees, numbers, targets = (_ints(node, f"{prefix}_{name}") for name in ("treeids", "nodeids", "ids"))
    values, kind = _floats(node, f"{prefix}_weights")
    if kind != dtype or any(len(each) != len(values) for each in (trees, numbers, targets)):
        raise _Malformed("its lists of weights differ in length or type")
    found: dict[int, list[tuple[int, float]]] = {}
    for tree, number, target, value in zip(
        trees.tolist(), numbers.tolist(), targets.tolist(), values.tolist(), strict=True
    ):
        index = place.get((tree, number))
        if index is None:
            raise _Malformed("a weight is of no node")
        found.setdefault(index, []).append((target, value))
    if any(len({target for target, _ in each}) < len(each) for each in found.values()):
        raise _Malformed("a leaf has two weights for one target")
    return found


def listed(forest: Forest, prefix: str, *, as_tensors: bool) -> dict[str, ir.Attr]:
    """The attributes that state the trees by tree and number, depth first, what is shared once for each use."""
    columns: dict[str, list[int]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids", "missing")
    }
    modes: list[str] = []
    splits: list[float] = []
    weights: list[tuple[int, int, int, float]] = []
    for tree, root in enumerate(forest.roots):
        first = len(modes)
        waiting: list[tuple[int, int]] = [(root, -1)]
        while waiting:
            place, parent = waiting.pop()
            number = len(modes) - first
            if parent >= 0:
                columns["falsenodeids"][parent] = number
            branch = forest.branches[place] if place >= 0 else None
            modes.append(LEAF if branch is None else MODES[branch.mode])
            splits.append(0.0 if branch is None else branch.split)
            columns["treeids"].append(tree)
            columns["nodeids"].append(number)
            columns["featureids"].append(0 if branch is None else branch.feature)
            columns["missing"].append(0 if branch is None else int(branch.missing_true))
            columns["truenodeids"].append(0 if branch is None else number + 1)
            columns["falsenodeids"].append(0)
            if branch is None:
                weights.extend((tree, number, target, weight) for target, weight in forest.leaves[~place])
            else:
                waiting += [(branch.false, len(modes) - 1), (branch.true, -1)]
    missing = columns.pop("missing")
    if any(missing):
        columns["missing_value_tracks_true"] = missing
    found = [ir.AttrInt64s(f"nodes_{name}", column) for name, column in columns.items()]
    found.append(ir.AttrStrings("nodes_modes", modes))
    found.append(_float_attribute("nodes_values", splits, forest.dtype, as_tensors))
    for at, name in enumerate(("treeids", "nodeids", "ids")):
        found.append(ir.AttrInt64s(f"{prefix}_{name}", [int(each[at]) for each in weights]))
    found.append(_float_attribute(f"{prefix}_weights", [each[3] for each in weights], forest.dtype, as_tensors))
    return {attribute.name: attribute for attribute in found}


# ---- by position ----------------------------------------------------------------------------------------------------


def _read_positions(node: ir.Node) -> Forest:
    names = ("featureids", "truenodeids", "falsenodeids", "trueleafs", "falseleafs")
    features, true, false, true_leaf, false_leaf = (_ints(node, f"nodes_{name}") for name in names)
    splits, dtype = _floats(node, "nodes_splits")
    weights, _ = _floats(node, "leaf_weights")
    modes, targets = _tensor(node, "nodes_modes"), _ints(node, "leaf_targetids")
    missing, roots = _ints(node, "nodes_missing_value_tracks_true"), _ints(node, "tree_roots")
    count = len(features)
    if any(len(each) != count for each in (true, false, true_leaf, false_leaf, splits, modes)):
        raise _Malformed("its lists of nodes differ in length")
    if len(missing) not in (0, count) or len(targets) != len(weights):
        raise _Malformed("its lists of leaves differ in length, or that of missing values is too short")
    if (modes >= len(MODES)).any():
        raise _Malformed("a node tests for membership in a set")
    for way, is_leaf in ((true, true_leaf), (false, false_leaf)):
        if ((way < 0) | (way >= np.where(is_leaf != 0, len(weights), count))).any():
            raise _Malformed("a node leads to none of the ensemble")
    if not len(roots) or (roots < 0).any() or (roots >= count).any():
        raise _Malformed("a tree has no root")
    ways = [np.where(leaf != 0, ~way, way).tolist() for way, leaf in ((true, true_leaf), (false, false_leaf))]
    tracks = missing.astype(bool) if len(missing) else np.zeros(count, bool)
    columns = (features.tolist(), modes.tolist(), splits.tolist(), tracks.tolist(), *ways)
    forest = Forest(dtype, [Branch(*each) for each in zip(*columns, strict=True)])
    forest.leaves = [((target, weight),) for target, weight in zip(targets.tolist(), weights.tolist(), strict=True)]
    forest.roots = roots.tolist()
    if _turns_back(forest):
        raise _Malformed("its nodes lead in a circle")
    return forest


def _turns_back(forest: Forest) -> bool:
    """Whether a branch leads to itself."""
    open_, done = set[int](), set[int]()
    for root in forest.roots:
        waiting = [root]
        while waiting:
            place = waiting[-1]
            if place < 0 or place in done:
                waiting.pop()
            elif place in open_:
                done.add(waiting.pop())
                open_.discard(place)
            else:
                open_.add(place)
                for way in forest.branches[place][-2:]:
                    if way in open_:
                        return True
                    if way >= 0 and way not in done:
                        waiting.append(way)
    return False


def by_position(forest: Forest) -> dict[str, ir.Attr]:
    """The attributes of TreeEnsemble that state the trees; each leaf must have one weight.

    Equal leaves are one; equal branches are not, since onnxruntime refuses a branch that a tree leads to twice. What is
    used most comes first among the leaves: a small number takes one byte. A tree of one leaf is a branch both ways of
    which lead to it.
    """
    listing: list[Branch] = []
    roots: list[int] = []
    for root in forest.roots:
        roots.append(len(listing))
        waiting: list[tuple[int, int]] = [(root, -1)]
        if root < 0:
            listing.append(Branch(0, LEQ, 0.0, False, root, root))
            continue
        while waiting:
            place, parent = waiting.pop()
            here = len(listing)
            if parent >= 0:
                listing[parent] = listing[parent]._replace(false=here)
            branch = forest.branches[place]
            listing.append(branch._replace(true=branch.true if branch.true < 0 else here + 1))
            if branch.false >= 0:
                waiting.append((branch.false, here))
            if branch.true >= 0:
                waiting.append((branch.true, -1))
    uses = Counter(way for branch in listing for way in (branch.true, branch.false) if way < 0)
    leaves = sorted(uses, key=lambda place: (-uses[place], -place))
    number = {place: at for at, place in enumerate(leaves)}
    columns = {
        "tree_roots": roots,
        "nodes_featureids": [each.feature for each in listing],
        "nodes_truenodeids": [number.get(each.true, each.true) for each in listing],
        "nodes_falsenodeids": [number.get(each.false, each.false) for each in listing],
        "nodes_trueleafs": [int(each.true < 0) for each in listing],
        "nodes_falseleafs": [int(each.false < 0) for each in listing],
        "leaf_targetids": [forest.leaves[~place][0][0] for place in leaves],
    }
    if any(each.missing_true for each in listing):
        columns["nodes_missing_value_tracks_true"] = [int(each.missing_true) for each in listing]
    found = [ir.AttrInt64s(name, column) for name, column in columns.items()]
    found.append(ir.AttrTensor("nodes_modes", ir.tensor(np.array([each.mode for each in listing], np.uint8))))
    found.append(_float_attribute("nodes_splits", [each.split for each in listing], forest.dtype, None))
    weights = [forest.leaves[~place][0][1] for place in leaves]
    found.append(_float_attribute("leaf_weights", weights, forest.dtype, None))
    return {attribute.name: attribute for attribute in found}


# ---- attributes -----------------------------------------------------------------------------------------------------


def _ints(node: ir.Node, name: str) -> Ints:
    attribute = node.attributes.get(name)
    return np.array([] if attribute is None else attribute.as_ints(), np.int64)


def _tensor(node: ir.Node, name: str) -> npt.NDArray[Any]:
    attribute = node.attributes.get(name)
    if attribute is None:
        raise _Malformed(f"the attribute {name} is missing")
    tensor: ir.TensorProtocol = attribute.value
    return tensor.numpy().reshape(-1)


def _floats(node: ir.Node, name: str) -> tuple[npt.NDArray[Any], ir.DataType]:
    """An attribute of floats, stated as a list or as a tensor, and its type."""
    attribute = node.attributes.get(name)
    if attribute is not None and attribute.type == ir.AttributeType.FLOATS:
        return np.array(attribute.as_floats(), np.float32), ir.DataType.FLOAT
    array = _tensor(node, name if attribute is not None else f"{name}_as_tensor")
    if array.dtype not in (np.float32, np.float64):
        raise _Malformed(f"{name} are of type {array.dtype}")
    return array, ir.DataType.FLOAT if array.dtype == np.float32 else ir.DataType.DOUBLE


def _float_attribute(name: str, values: Sequence[float], dtype: ir.DataType, as_tensor: bool | None) -> ir.Attr:
    """A list, or a tensor; where ``as_tensor`` is None the operator has it as a tensor of the plain name."""
    if as_tensor is False and dtype == ir.DataType.FLOAT:
        return ir.AttrFloat32s(name, values)
    full = name if as_tensor is None else f"{name}_as_tensor"
    return ir.AttrTensor(full, ir.tensor(np.array(values, dtype.numpy())))


def stated_by(op_type: str, name: str) -> bool:
    """Whether the attribute states trees, rather than what is made of their sums."""
    prefix = PREFIX.get(op_type)
    if prefix is None:
        return name.startswith(("nodes_", "leaf_", "tree_"))
    weights = {f"{prefix}_{each}" for each in ("treeids", "nodeids", "ids", "weights", "weights_as_tensor")}
    return name.startswith("nodes_") or name in weights
