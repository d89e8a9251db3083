"""Graphs as few regions, each a contraction and what follows it, or more; and the same region in two models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnxslim.report.layers import GraphFacts, NodeFacts
from onnxslim.report.page.svg import Svg, element, group
from onnxslim.report.wording import QDQ, shorten

MOST = 48
"""Regions of a graph that are drawn."""
WIDTH, HEIGHT, GAP_X, GAP_Y = 228.0, 44.0, 14.0, 26.0
"""Of a box, and between boxes."""
MOST_REASONS = 3
"""Reasons in the hover text of a box."""
LETTERS, SMALL_LETTERS = 29, 34
"""That fit into the first and the second line of a box."""


@dataclass(eq=False)
class LayerGroup:
    """Nodes that are shown together.

    Attributes:
        nodes: In their order.
        before: Places of the regions that it reads.
    """

    nodes: list[NodeFacts]
    before: set[int] = field(default_factory=set)

    @property
    def main(self) -> NodeFacts:
        """The first node that makes channels, else the first that is no mark of int8."""
        work = [node for node in self.nodes if node.op_type not in QDQ] or self.nodes
        return next((node for node in self.nodes if node.channels is not None), work[0])

    @property
    def names(self) -> set[str]:
        """By which it is found in another model."""
        return {name for node in self.nodes for name in node.outputs} | {self.main.name}

    @property
    def label(self) -> str:
        """Its operators, marks of int8 left out."""
        counts = Counter(node.op_type.rpartition(".")[2] for node in self.nodes if node.op_type not in QDQ)
        if not counts:
            return "int8 marks"
        said = (f"{count}x {name}" if count > 1 else name for name, count in counts.items())
        return " + ".join(said)

    @property
    def int8(self) -> bool:
        """Whether its main node runs on quantized values."""
        return self.main.int8

    @property
    def milliseconds(self) -> float | None:
        """Of all nodes; None where none was measured."""
        known = [node.microseconds for node in self.nodes if node.microseconds is not None]
        return sum(known) / 1e3 if known else None

    @property
    def bytes(self) -> int:
        """Of the weights that only it reads."""
        return sum(node.weight_bytes for node in self.nodes)


def regions_of(graph: GraphFacts) -> list[LayerGroup]:
    """The nodes, each with what is only read by it: chains with at most one node that makes channels."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    home: dict[str, int] = {}
    found: list[LayerGroup] = []
    for node in graph.nodes:
        before = {home[name] for name in node.inputs if name in home}
        at = next(iter(before)) if len(before) == 1 else None
        if at is not None and _joins(found[at], node, readers):
            found[at].nodes.append(node)
        else:
            at = len(found)
            found.append(LayerGroup([node], before))
        home |= dict.fromkeys(node.outputs, at)
    return found


def _joins(region: LayerGroup, node: NodeFacts, readers: Mapping[str, int]) -> bool:
    """Whether a node goes on where a region ends, and nothing else does."""
    last = region.nodes[-1]
    ends = [name for name in last.outputs if readers[name]]
    alone = len(ends) == 1 and readers[ends[0]] == 1 and ends[0] in node.inputs
    return alone and (node.channels is None or all(each.channels is None for each in region.nodes))


def few(regions: Sequence[LayerGroup], most: int = MOST) -> list[LayerGroup]:
    """Regions together with their neighbours in the order of the graph, so that there are few."""
    size = math.ceil(len(regions) / most)
    if size <= 1:
        return list(regions)
    found = []
    for start in range(0, len(regions), size):
        some = regions[start : start + size]
        before = {each // size for region in some for each in region.before} - {start // size}
        found.append(LayerGroup([node for region in some for node in region.nodes], before))
    return found


def matched(
    before: Sequence[LayerGroup], after: Sequence[LayerGroup]
) -> list[tuple[LayerGroup | None, LayerGroup | None]]:
    """Regions of two models in the order of the second; those that only the first has stand behind their forerunner."""
    home = {name: place for place, region in enumerate(before) for name in region.names}
    mains = {region.main.name: place for place, region in enumerate(before)}
    twin: dict[int, int] = {}
    for place, region in enumerate(after):
        at = mains.get(region.main.name)
        if at is None:
            common = Counter(home[name] for name in sorted(region.names) if name in home)
            at = common.most_common(1)[0][0] if common else None
        if at is not None and at not in twin:
            twin[at] = place
    back = {place: at for at, place in twin.items()}
    pairs: list[tuple[LayerGroup | None, LayerGroup | None]] = []
    left = [place for place in range(len(before)) if place not in twin]
    for place, region in enumerate(after):
        at = back.get(place)
        while at is not None and left and left[0] < at:
            pairs.append((before[left.pop(0)], None))
        pairs.append((None if at is None else before[at], region))
    return pairs + [(before[place], None) for place in left]


def picture(title: str, regions: Sequence[LayerGroup], other: Mapping[str, int], skipped: Mapping[str, str]) -> Svg:
    """A graph from top to bottom: boxes of regions, and lines for what they read.

    Args:
        title: What is shown.
        regions: Few of them.
        other: Node name -> channels in the other model.
        skipped: Node name -> why a rewrite was skipped there.
    """
    rows: dict[int, list[int]] = {}
    depth: list[int] = []
    for place, region in enumerate(regions):
        depth.append(1 + max((depth[each] for each in region.before if each < place), default=-1))
        rows.setdefault(depth[place], []).append(place)
    width = max(len(row) for row in rows.values()) * (WIDTH + GAP_X) - GAP_X
    at: dict[int, tuple[float, float]] = {}
    for level, row in sorted(rows.items()):
        row.sort(key=lambda place: _middle([at[each][0] for each in regions[place].before if each in at]))
        start = (width - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
        at |= {place: (start + i * (WIDTH + GAP_X), level * (HEIGHT + GAP_Y) + 1) for i, place in enumerate(row)}
    lines = [
        _line(at[each], at[place])
        for place, region in enumerate(regions)
        for each in sorted(region.before)
        if each in at
    ]
    boxes = [_box(region, *at[place], other, skipped) for place, region in enumerate(regions)]
    return Svg(title, "".join([*lines, *boxes]), len(rows) * (HEIGHT + GAP_Y) - GAP_Y + 10, width=width + 2)


def _middle(places: Sequence[float]) -> float:
    return sum(places) / len(places) if places else 0.0


def _line(a: tuple[float, float], b: tuple[float, float]) -> str:
    x1, y1, x2, y2 = a[0] + WIDTH / 2, a[1] + HEIGHT, b[0] + WIDTH / 2, b[1]
    bend = min((y2 - y1) / 2, 40.0)
    return element(
        "path",
        d=f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}",
        class_="edge",
    )


def _box(region: LayerGroup, x: float, y: float, other: Mapping[str, int], skipped: Mapping[str, str]) -> str:
    facts = list(filter(None, ("int8" if region.int8 else "", channels_text(region.main, other), _ms(region))))
    reasons = [f"skipped at {node.name}: {skipped[node.name]}" for node in region.nodes if node.name in skipped]
    pruned = other.get(region.main.name, region.main.channels) != region.main.channels
    kind = " ".join(filter(None, ("box", "int8" if region.int8 else "", "pruned" if pruned else "")))
    said = f" ({', '.join(facts)})" if facts else ""
    inner = [
        element("title", "; ".join([f"{region.main.name}: {region.label}{said}", *reasons[:MOST_REASONS]])),
        element("rect", x=x, y=y, width=WIDTH, height=HEIGHT, rx=7),
        element("text", shorten(region.label, LETTERS), x=x + 10, y=y + 18, class_="label"),
        element("text", shorten(" · ".join(facts), SMALL_LETTERS), x=x + 10, y=y + 34, class_="tick"),
    ]
    if reasons:  # on the lower edge, beside the line to the next box
        right, middle = x + WIDTH - 8, y + HEIGHT + 3
        inner += [
            element("rect", x=right - 68, y=middle - 8, width=68, height=16, rx=8, class_="badge"),
            element("text", f"{len(reasons)} skipped", x=right - 34, y=middle + 4, class_="count middle"),
        ]
    return group(inner, class_=kind)


def channels_text(node: NodeFacts, other: Mapping[str, int]) -> str:
    """``64 channels``, or ``64 -> 40 channels`` where there were others before."""
    if node.channels is None:
        return ""
    was = other.get(node.name, node.channels)
    return f"{was} → {node.channels} channels" if was != node.channels else f"{node.channels} channels"


def _ms(region: LayerGroup) -> str:
    time = region.milliseconds
    return "" if time is None else f"{time:.3f} ms"
