"""Transposes where they cost least, in whole regions at once.

TensorFlow keeps images as (batch, height, width, channels), Conv wants (batch, channels, height, width): exporters put
Transposes around every Conv. Most of them go if what lies between works on the other order: a per-channel vector
``[C]`` becomes ``[C, 1, 1]`` at compile time, a Softmax, Concat or reduction gets another axis, a Pad other pads. Which
should change and which not is a minimum cut (`layout_cut`) of a region (`layout_region`); `layout_rebuild` carries it
out. What comes to stand beside a Conv then is folded into its weights by other rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names, site
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.place import Place
from onnxslim.rewriter.scopes import Forwarding, Scope, scopes
from onnxslim.rewriter.shape_facts import shape_facts

from .layout_cut import MOST, TransposeCost, placements, total
from .layout_rebuild import Rebuild
from .layout_region import NOMINAL, LayoutRegion, RegionSearch
from .region import WorkBudget


@dataclass(frozen=True)
class MoveTransposes(Pass):
    """Move Transposes through regions of operators to where they move the fewest bytes.

    1. Fewer bytes count first, then fewer Transposes, then that what runtimes fuse stands side by side.
    2. Never more Transposes than before, and never a larger file, but for ``spare`` bytes that earlier steps have
       saved: a vector ``[C, 1, 1]`` takes four bytes more than ``[C]``.
    3. Constants are transposed at compile time. Shapes are inferred; unknown dims count as a nominal size.
    """

    name: ClassVar[str] = "move-transposes"
    tier: ClassVar[Tier] = Tier.NUMERIC

    spare: int = field(default=0, metadata={"help": "bytes that the file may grow by in all", "least": 0})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Moves them in place."""
        found: list[tuple[Scope, list[ir.Node]]] = []
        for scope in scopes(model):
            seeds = [node for node in scope.graph if node.op_type == "Transpose" and node.domain == ""]
            if seeds:
                found.append((scope, seeds))
        if found:
            facts, names, forwarding = shape_facts(model, context), Names.of(model), Forwarding(model)
            spare = WorkBudget(self.spare)
            for scope, seeds in found:
                _Mover(Place(model, scope, facts, names), forwarding, context, spare).run(seeds)
        return context.result()


class _Mover:
    """Moves the Transposes of one graph."""

    def __init__(self, place: Place, forwarding: Forwarding, context: Context, spare: WorkBudget) -> None:
        self.place, self.forwarding, self.context, self.spare = place, forwarding, context, spare
        self.search = RegionSearch(place, forwarding.annotated)
        self.order: dict[ir.Node, int] = {}

    def run(self, seeds: list[ir.Node]) -> None:
        """Takes region after region."""
        for seed in seeds:
            region = self.search.region(seed) if seed.graph is self.place.scope.graph else None
            if region is not None and region.transposes:
                self._move(region, seed)

    def _move(self, region: LayoutRegion, seed: ir.Node) -> None:
        decline = self.context.decline
        if len(region.sides) > MOST:
            decline(MoveTransposes.name, site(seed), f"its region has more than {MOST:,} operators")
            return
        self._locate([*region.sides, *region.transposes])
        self.search.connect(region, self.order)
        self._locate([node for net in region.nets.values() for node, _, _ in net.pinned])
        self._locate([node for net in region.nets.values() for node, _ in net.free])
        side_of = {value: self.search.members[value].side for net in region.nets.values() for value in net.values}
        size = {node: _bytes(node, self.place.facts) for node in region.sides}
        now = total(region, region.sides, side_of, size)
        best, cost = None, now
        for sides in placements(region, side_of, size) if now.bytes or now.nodes else ():
            found = total(region, sides, side_of, size)
            if found.nodes <= now.nodes and found[:3] < cost[:3]:
                best, cost = sides, found
                break  # what moves fewest bytes
        if best is None:
            for node, why in region.reasons.items():
                decline(MoveTransposes.name, site(node), why)
            decline(MoveTransposes.name, site(seed), "nowhere would fewer bytes be moved")
            return
        as_nodes = self.place.scope.in_function or self.place.model.ir_version < 4
        made = Rebuild(self.place, region, self.search.members, best, self.order, as_nodes)
        made.build()
        reason, grown = made.refusal(self.forwarding), made.growth()
        if reason is None and grown > 0 and not self.spare.spend(grown):
            reason = f"the file would grow by {grown:,} bytes"
        first = min(region.transposes, key=self.order.__getitem__)
        if reason is not None:
            decline(MoveTransposes.name, site(first), reason)
        elif self.context.allow(
            Action(MoveTransposes.name, (first.outputs[0].name or "",), site(first), _detail(now, cost))
        ):
            made.commit(self.forwarding)
            return
        made.drop()

    def _locate(self, nodes: list[ir.Node]) -> None:
        """Positions of the graph's nodes, counted anew where some have come since."""
        if any(node not in self.order for node in nodes):
            self.order = {node: index for index, node in enumerate(self.place.scope.graph)}


def _bytes(node: ir.Node, facts: ShapeFacts) -> int:
    """What an operator goes over: its largest value, with a nominal size for unknown dims."""
    largest = 0
    for value in (*node.inputs[:1], *node.outputs):
        if value is None:
            continue
        shape, dtype = facts.shape(value), facts.dtype(value)
        size = max(1, int(dtype.itemsize)) if dtype is not None else 4
        for dim in shape or ():
            size *= dim if isinstance(dim, int) else NOMINAL
        largest = max(largest, size)
    return largest


def _detail(before: TransposeCost, after: TransposeCost) -> str:
    return f"{before.nodes} Transposes to {after.nodes}, {before.bytes:,} bytes moved to {after.bytes:,}"
