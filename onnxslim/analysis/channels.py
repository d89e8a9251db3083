"""Channels of a model that can be removed together: which entries of which axes go with which, and what must stay.

Every entry of every axis has an id; operators equate ids (`onnxslim.ops.channels`); the connected components are the
*atoms*, the smallest removals that leave a consistent model. Atoms that touch the same axes in the same way are a
`Group`: the interchangeable channels of a layer, or of several that are added up. Ids, not patterns of operators: any
network of known operators is covered, and what is not known is pinned with a reason.

Long because linking, deciding and grouping work on one table of ids.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import networkx as nx
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.dims import Dim
from onnxslim.analysis.facts import ShapeFacts
from onnxslim.analysis.ones import sizes_of_one
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.edit import Names, constant_tensor
from onnxslim.graph.walk import subgraphs
from onnxslim.ops.channels import LINKS, Ids, LinkChoice, LinkOption, Links, Op, SummedAxis

Labels = npt.NDArray[np.int64]

KEEPS: Final = "an input of the model keeps its shape"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a group shows: an axis of a value.

    Attributes:
        value: The weight or activation.
        axis: Counted from the front.
        positions: ``int64[atoms, k]``: the entries of the axis that each atom takes.
    """

    value: ir.Value
    axis: int
    positions: npt.NDArray[np.int64]

    def __str__(self) -> str:
        many = f" x {self.positions.shape[1]}" if self.positions.shape[1] > 1 else ""
        return f"{self.value.name}[{self.axis}]{many}"


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that can be removed one by one, each from all sites at once.

    Attributes:
        key: Name of its first weight and the axis, numbered where several groups share it: stable over runs.
        ids: ``int64[atoms]``: an id of each atom, in the order of its positions at the first site.
        weights: Its constants.
        activations: What a run computes.
    """

    key: str
    ids: Ids
    weights: tuple[Site, ...]
    activations: tuple[Site, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __str__(self) -> str:
        return f"{self.key}: {len(self)} channels of {', '.join(map(str, self.weights))}"


@dataclass(frozen=True)
class Channels:
    """The channels of a model; a snapshot, stale once the model is edited.

    Attributes:
        facts: Shapes of the model.
        links: Ids, and what operators said of them.
        labels: ``int64[links.count]``: the component of each id, named by its smallest id.
        pinned: ``bool[links.count]``: whether an entry must stay.
        groups: What can be removed, in the order of their weights.
        reasons: Component -> why it is pinned, and the operator that says so; of several the first.
    """

    facts: ShapeFacts
    links: Links
    labels: Labels
    pinned: npt.NDArray[np.bool_]
    groups: tuple[Group, ...]
    reasons: dict[int, tuple[str, str]]

    @property
    def contractions(self) -> list[SummedAxis]:
        """The sums over channels."""
        return self.links.contractions

    def rows(self) -> Iterator[tuple[ir.Value, int, Ids]]:
        """The output rows of constant weights of contractions: weight, axis, ids."""
        yield from _rows(self.links)

    def histogram(self) -> Counter[tuple[str, str]]:
        """(operator, reason) -> weight rows that it pins."""
        counts: Counter[tuple[str, str]] = Counter()
        for _, _, ids in self.rows():
            for label in self.labels[ids[self.pinned[ids]]].tolist():
                counts[self.reasons[label]] += 1
        return counts


def _rows(links: Links) -> Iterator[tuple[ir.Value, int, Ids]]:
    seen = set()
    for contraction in links.contractions:
        value = contraction.node.inputs[contraction.weight]
        shape = None if value is None or value in seen else links.shape_of(value)
        if value is None or shape is None or constant_tensor(value) is None:
            continue
        seen.add(value)
        axis = _row_axis(contraction, len(shape))
        ids = None if axis is None else links.axis(value, axis)
        if ids is not None and axis is not None:
            yield value, axis, ids


def _row_axis(contraction: SummedAxis, rank: int) -> int | None:
    op, axis = contraction.node.op_type, contraction.weight_axis
    if op in ("Conv", "ConvTranspose") or rank == 2:
        return 1 - axis if axis < 2 else None
    return {"MatMul": rank - 1, "LSTM": 1, "GRU": 1, "RNN": 1}.get(op)


def find_channels(model: ir.Model) -> Channels:
    """Finds the channels of ``model``, which is left as it is.

    Linear in the number of entries of all axes, times a logarithm.
    """
    facts = infer_shapes(model)
    ones = sizes_of_one(model, facts)
    links = Links(lambda value: _shape(facts, value, ones), lambda value: _integers(facts, value))
    _link_all(model, links)
    labels, pinned = _decide(links)
    return Channels(
        facts, links, labels, pinned, tuple(_groups(links, labels, pinned)), _reasons(links, labels, pinned)
    )


def _shape(facts: ShapeFacts, value: ir.Value, ones: Mapping[ir.Graph, frozenset[Dim]]) -> Sequence[Dim] | None:
    shape, producer = facts.shape(value), value.producer()
    graph = value.graph if producer is None else producer.graph
    known = ones.get(graph) if isinstance(graph, ir.Graph) else None
    return shape if shape is None or not known else tuple(1 if size in known else size for size in shape)


def _integers(facts: ShapeFacts, value: ir.Value) -> list[object] | None:
    tensor = constant_tensor(value)
    if tensor is not None and tensor.dtype.is_integer():
        return [int(each) for each in tensor.numpy().reshape(-1)]
    known, dtype = facts.value(value), facts.dtype(value)
    return None if known is None or dtype is None or not dtype.is_integer() else list(known.flat)


# -- asking the operators ----------------------------------------------------------------------------------------------


def _link_all(model: ir.Model, links: Links) -> None:
    """Asks every node of the main graph and of the subgraphs below it. Bodies of functions are not followed."""
    for value in model.graph.inputs:
        if value.name in model.graph.initializers:
            _pin_values(links, (value,), KEEPS)  # whose numbers are there, and may be given anew
        else:
            links.given += [ids for ids in links.ids(value) or () if ids is not None]
    _pin_values(links, model.graph.outputs, "an output of the model keeps its shape")
    version = model.graph.opset_imports.get("", model.graph.opset_imports.get("ai.onnx", 1))
    queue: list[ir.Graph] = [model.graph]
    for graph in queue:  # grows while it is walked
        for node in graph:
            inner = list(subgraphs(node.attributes.values()))
            queue.extend(inner)
            op = Op(node, version, links)
            rule = LINKS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if inner:
                _link_bodies(op, inner)
            elif rule is not None:
                rule(op)
                op.close()
            else:
                op.pin_all(f"channels are not followed through {node.op_type}")
            if node.op_type == "Constant" and constant_tensor(node.outputs[0]) is None:
                _pin_values(links, node.outputs, "a constant of another form than a tensor", node)


def _link_bodies(op: Op, inner: list[ir.Graph]) -> None:
    """The results of If are those of either branch; states and slices of loops stay."""
    if op.node.op_type == "If" and len(inner) == 2 and op.node.domain in ("", "ai.onnx"):
        for i, out in enumerate(op.node.outputs):
            for branch in inner:
                value = branch.outputs[i]
                ids, own = op.links.ids(value), op.links.ids(out)
                if ids is None or own is None or len(ids) != len(own):
                    _pin_values(op.links, (value, out), "the branches differ", op.node)
                    continue
                for axis, (a, b) in enumerate(zip(ids, own, strict=True)):
                    op.ids(-1 - i, axis)
                    if a is not None and b is not None and len(a) == len(b):
                        op.links.unite(a, b)
                    else:
                        for each in (a, b):
                            op.pin_ids(each, "the branches differ")
    else:
        for body in inner:
            _pin_values(op.links, (*body.inputs, *body.outputs), "what a loop carries keeps its shape", op.node)
    op.close()


def _pin_values(links: Links, values: Iterable[ir.Value], reason: str, node: ir.Node | None = None) -> None:
    for value in values:
        for ids in links.ids(value) or ():
            links.pin(ids, reason, node)


# -- solving -----------------------------------------------------------------------------------------------------------


def _decide(links: Links) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """Takes the options that a first solution leaves free, then solves again."""
    rows = [ids for _, _, ids in _rows(links)]
    labels, pinned = _solve(links, links.pairs, [pin.ids for pin in links.pins])
    pinned |= _only_given(links, labels, rows)
    batched = np.zeros(links.count, bool)
    for ids in links.batched:
        batched[labels[ids]] = True
    pairs, pins = list(links.pairs), [pin.ids for pin in links.pins]
    for choice in links.choices:
        option = _best(choice, pinned, batched[labels])
        if option is None:
            for ids in choice.ids:
                links.pin(ids, choice.reason, choice.node)
                pins.append(ids)
            continue
        pairs += option.pairs
        for ids in option.pins:
            links.pin(ids, choice.reason, choice.node)
            pins.append(ids)
    labels, pinned = _solve(links, pairs, pins)
    alone = _only_given(links, labels, rows)
    for ids in links.given:
        links.pin(ids[alone[ids]], KEEPS, None)
    return labels, pinned | alone


def _only_given(links: Links, labels: Labels, rows: list[Ids]) -> npt.NDArray[np.bool_]:
    """``bool[links.count]``: what an input of the model holds and no layer makes: nothing would be saved but data."""
    given, made = np.zeros(links.count, bool), np.zeros(links.count, bool)
    for ids in links.given:
        given[labels[ids]] = True
    for ids in rows:
        made[labels[ids]] = True
    return (given & ~made)[labels]


def _best(choice: LinkChoice, pinned: npt.NDArray[np.bool_], batched: npt.NDArray[np.bool_]) -> LinkOption | None:
    """Heads of attention before all else, then what tells most channels apart; of equals the last."""
    free = [option for option in choice.options if not pinned[option.needs].all()]
    return max(reversed(free), key=lambda option: (bool(batched[option.needs].any()), option.atoms), default=None)


def _solve(links: Links, pairs: list[tuple[Ids, Ids]], pins: list[Ids]) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """The component of each id, and whether it holds a pin."""
    empty = np.zeros(0, np.int64)
    left = np.concatenate([a for a, _ in pairs] or [empty])
    right = np.concatenate([b for _, b in pairs] or [empty])
    labels = components(links.count, left, right)
    marked = np.zeros(links.count, bool)
    if pins:
        marked[labels[np.concatenate(pins)]] = True
    return labels, marked[labels]


def components(count: int, left: Ids, right: Ids) -> Labels:
    """Connected components of an undirected graph: for each of ``count`` nodes the smallest node that it reaches.

    Hooking and pointer jumping (Shiloach & Vishkin, An O(log n) parallel connectivity algorithm, 1982).

    >>> components(5, np.array([0, 3]), np.array([2, 4])).tolist()
    [0, 1, 0, 3, 3]
    """
    labels = np.arange(count)
    while len(left):
        a, b = labels[left], labels[right]
        low, high = np.minimum(a, b), np.maximum(a, b)
        if (low == high).all():
            break
        np.minimum.at(labels, high, low)
        while True:
            jumped = labels[labels]
            if (jumped == labels).all():
                break
            labels = jumped
        apart = labels[left] != labels[right]
        left, right = left[apart], right[apart]
    return labels


# -- reading the solution ----------------------------------------------------------------------------------------------


def _groups(links: Links, labels: Labels, pinned: npt.NDArray[np.bool_]) -> Iterator[Group]:
    """The free atoms that take entries of weights, by the axes that they touch."""
    owner = np.zeros(links.count, np.int64)
    starts = np.zeros(len(links.axes), np.int64)
    for i, (value, axis) in enumerate(links.axes):
        ids = links.axis(value, axis)
        assert ids is not None
        starts[i] = ids[0]
        owner[ids] = i
    free = np.flatnonzero(~pinned)
    order = free[np.lexsort((free, labels[free]))]
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    atoms: dict[bytes, list[npt.NDArray[np.int64]]] = defaultdict(list)
    for members in np.split(order, cuts) if len(order) else []:
        atoms[owner[members].tobytes()].append(members)
    constant, names = [constant_tensor(value) is not None for value, _ in links.axes], Names()
    for found in atoms.values():
        table = np.stack(found)  # atoms x members; the columns of all rows lie on the same axes
        columns = owner[table[0]]
        sites: dict[bool, list[Site]] = {True: [], False: []}
        for i in dict.fromkeys(columns.tolist()):
            value, axis = links.axes[i]
            sites[constant[i]].append(Site(value, axis, table[:, columns == i] - starts[i]))
        if sites[True] and len(table) > 1:
            first = sites[True][0]
            key = names.fresh(f"{first.value.name}[{first.axis}]")  # an axis may hold several groups
            yield Group(key, table[:, 0], tuple(sites[True]), tuple(sites[False]))


def _reasons(links: Links, labels: Labels, pinned: npt.NDArray[np.bool_]) -> dict[int, tuple[str, str]]:
    reasons: dict[int, tuple[str, str]] = {}
    for pin in links.pins:
        op = pin.node.op_type if pin.node is not None else "graph"
        for label in np.unique(labels[pin.ids]).tolist():
            reasons.setdefault(label, (op, pin.reason))
    return reasons


def coupling(channels: Channels) -> nx.Graph[str]:
    """The groups as a graph: an edge where one group's weights contract over another group's channels."""
    graph: nx.Graph[str] = nx.Graph()
    at: dict[ir.Value, list[str]] = defaultdict(list)
    for group in channels.groups:
        graph.add_node(group.key, channels=len(group))
        for site in group.weights:
            at[site.value].append(group.key)
    for keys in at.values():
        graph.add_edges_from((a, b) for a in keys for b in keys if a < b)
    return graph
