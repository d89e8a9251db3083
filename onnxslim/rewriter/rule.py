"""Local rewrite rules, and the driver that applies them.

A rule is a pass of its own (`Rule`): it names the operators it starts from, and ``rewrite`` answers None where it does
not apply, a reason where it nearly does, or a `Replacement`. The driver checks the replacement and carries it out.
Everything that goes wrong in rewriters stands here, once: outputs keep their names, values captured by subgraphs stay
visible, annotations stay, the file does not grow, every rewrite asks the context first, and neighbours are looked at
again without a second walk over the graph.

Long because all that is checked before a rewrite and kept after it stands here once, and in no rule.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis.facts import UNKNOWN
from onnxslim.graph.edit import Names, add_initializer, site
from onnxslim.graph.uses import drop_inputs, use_count
from onnxslim.ops.contrib import VERSION
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass

from .place import Array, Place, Replacement
from .scopes import ANNOTATION, Forwarding, as_nodes, scopes
from .shape_facts import shape_facts
from .size import constant_node_bytes, import_bytes, listing_bytes, node_bytes, tensor_bytes

MAX_ACTIONS_PER_NODE = 8
"""Rules that undo each other would go on for ever; a run ends at so many rewrites for each node that was there."""


FEW_USERS = 8
"""A value with more users is not looked at again with each of them: that would be quadratic, and free it cannot be."""


@dataclass(frozen=True)
class Rule(Pass):
    """A local rewrite as a pass. Subclasses set ``name`` and ``op_types`` and write ``rewrite``.

    One without options of its own inherits the dataclass, and needs no decorator.
    """

    op_types: ClassVar[tuple[str, ...]]
    """Operators that a match starts from: the last node of the pattern."""
    domains: ClassVar[tuple[str, ...]] = ("",)
    """Domains of these operators."""

    @abstractmethod
    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """What to put in the place of ``node``; a reason why not; None where the rule has nothing to say."""

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Applies the rule wherever it fits."""
        apply_rules((self,), model, context)
        return context.result()


def apply_rules(rules: Sequence[Rule], model: ir.Model, context: Context) -> None:
    """Applies rules until none fits any more, looking again only where something changed."""
    by_operator: dict[str, list[Rule]] = {}
    for rule in rules:
        for op_type in rule.op_types:
            by_operator.setdefault(op_type, []).append(rule)
    facts, names, forwarding = shape_facts(model, context), Names.of(model), Forwarding(model)
    for scope in scopes(model):
        place = Place(model, scope, facts, names)
        _Driver(place, by_operator, forwarding, context).run()


@dataclass(eq=False)
class _Driver:
    """One graph's worklist."""

    place: Place
    rules: Mapping[str, Sequence[Rule]]
    forwarding: Forwarding
    context: Context
    spare: int = 0
    """Bytes that the proposal at hand saves."""

    def run(self) -> None:
        graph = self.place.scope.graph
        queue = deque(node for node in graph if node.op_type in self.rules)
        waiting = set(queue)
        left = MAX_ACTIONS_PER_NODE * (len(graph) + 1)
        reasons: dict[tuple[str, ir.Node], str] = {}
        while queue and left:
            node = queue.popleft()
            waiting.discard(node)
            if node.graph is not graph:
                continue
            for rule in self.rules.get(node.op_type, ()):
                if node.domain not in rule.domains:
                    continue
                self.place.made.clear()
                answer = rule.rewrite(node, self.place)
                if isinstance(answer, Replacement):
                    near = list(self._near(node, answer))
                    answer = self._carry_out(rule, node, answer)
                    if answer is None:
                        left -= 1
                        for each in near:
                            if each.graph is graph and each.op_type in self.rules and each not in waiting:
                                waiting.add(each)
                                queue.append(each)
                        break
                if answer:
                    reasons[rule.name, node] = answer
        for (name, node), reason in reasons.items():
            if node.graph is graph:
                self.context.decline(name, site(node), reason)

    def _near(self, node: ir.Node, proposal: Replacement) -> Iterator[ir.Node]:
        """What a rewrite may make matchable: the new nodes, users of the outputs, and what makes the inputs."""
        yield from proposal.nodes
        for value in node.outputs:
            yield from (use.node for use in value.uses())
        for stand_in in proposal.outputs:
            if stand_in is not None and use_count(stand_in) <= FEW_USERS:
                yield from (use.node for use in stand_in.uses())
        for each in (node, *proposal.nodes):
            for x in each.inputs:
                producer = x.producer() if x is not None else None
                if x is None or producer is None:
                    continue
                yield producer
                if use_count(x) <= FEW_USERS:
                    yield from (use.node for use in x.uses())

    def _carry_out(self, rule: Rule, node: ir.Node, proposal: Replacement) -> str | None:
        """Puts the proposal in place; returns the reason where it may not be."""
        for new in proposal.nodes[:-1]:  # what the next ones take as input must have a name to be measured
            for y in new.outputs:
                if not y.name and y not in proposal.outputs:
                    y.name = self.place.names.fresh(f"{node.outputs[0].name}_{new.op_type}")
        pairs = list(zip(node.outputs, proposal.outputs, strict=False))
        new_values = {y for new in proposal.nodes for y in new.outputs}
        reason = next(filter(None, (self._refusal(old, new, new_values) for old, new in pairs)), None)
        if self.place.scope.in_function and self._to_import(proposal):
            reason = reason or "the function does not import the operators that stand for it"
        reason = reason or self._growth(node, proposal)
        if reason is None:
            names = tuple(old.name or "" for old in node.outputs)
            if self.context.allow(Action(rule.name, names, site(node), proposal.detail)):
                self._edit(node, proposal)
                return None
            reason = ""
        for new in reversed(proposal.nodes):  # the proposal must not count among the users of anything
            for index in range(len(new.inputs)):
                new.replace_input_with(index, None)
        return reason

    def _refusal(self, old: ir.Value, new: ir.Value | None, made: set[ir.Value]) -> str | None:
        if new is None:
            return "an output that is used has no replacement" if old.uses() or old.is_graph_output() else None
        if new in self.place.made:
            return "its output would become a constant" if old.is_graph_output() else None
        if new in made:
            if ANNOTATION in old.meta or old.name in self.forwarding.annotated:
                return "it takes part in a quantization annotation"
            return None
        return self.forwarding.refusal(old, new)

    def _growth(self, node: ir.Node, proposal: Replacement) -> str | None:
        """Why the file's size forbids the proposal: what comes against what dies with the node."""
        in_nodes = as_nodes(self.place.scope, self.place.model)
        size: Callable[[ir.TensorProtocol, str], int] = constant_node_bytes if in_nodes else self._initializer_bytes
        used = {x for new in proposal.nodes for x in new.inputs} | set(proposal.outputs)
        for value in self.place.made:
            if value in used:  # the name that it will have: a suffix counts
                value.name = self.place.names.fresh(value.name or "constant")
        come = sum(node_bytes(new) for new in proposal.nodes)
        come += sum(import_bytes(domain, VERSION) for domain in self._to_import(proposal))
        come += sum(
            size(value.const_value, value.name or "")
            for value in self.place.made
            if value in used and value.const_value is not None
        )
        go = self._dying_bytes(node, proposal)
        self.spare = go - come
        return f"the file would grow by {come - go:,} bytes" if come > go else None

    def _initializer_bytes(self, tensor: ir.TensorProtocol, name: str) -> int:
        return tensor_bytes(tensor, name) + listing_bytes(tensor, name, self.place.model)

    def _to_import(self, proposal: Replacement) -> set[str]:
        """Domains of new nodes that the main graph or the function does not import yet."""
        return {new.domain for new in proposal.nodes} - {"", *self.place.scope.opsets}

    def _dying_bytes(self, node: ir.Node, proposal: Replacement) -> int:
        """Bytes of the node and of all that nothing else needs once it is gone."""
        staying = {x for x in proposal.outputs if x is not None}
        newcomers = set(proposal.nodes)
        dead, queue, total = {node}, [node], 0
        while queue:
            each = queue.pop()
            total += node_bytes(each)
            for x in dict.fromkeys(each.inputs):
                if x is None or x in staying or x.is_graph_output() or x.is_graph_input():
                    continue
                if any(use.node not in dead or use.node in newcomers for use in x.uses()):
                    continue
                producer = x.producer()
                if producer is None:
                    if x.is_initializer() and x.const_value is not None and x.graph is self.place.scope.graph:
                        total += self._initializer_bytes(x.const_value, x.name or "") if not x.const_value.meta else 0
                elif producer not in dead and len(producer.outputs) == 1:
                    dead.add(producer)
                    queue.append(producer)
        return total

    def _edit(self, node: ir.Node, proposal: Replacement) -> None:
        place, graph = self.place, self.place.scope.graph
        standing_in = set(proposal.outputs)  # they take the old names: longer ones would make the file grow
        unnamed = {y for y in proposal.outputs if y is not None and not y.name}
        for new in proposal.nodes:
            for y in new.outputs:
                if not y.name and y not in standing_in:
                    y.name = place.names.fresh(f"{node.outputs[0].name}_{new.op_type}")
        used = {x for new in proposal.nodes for x in new.inputs} | set(proposal.outputs)
        for value, array in list(place.made.items()):
            if value in used:
                self._register(value, array, proposal, node)
        for new in proposal.nodes:
            if new.name is None:
                new.name = ""  # else the graph makes a name up: bytes that nobody counts, and twins in inlined bodies
        self._name(node, proposal)
        place.model.graph.opset_imports.update(dict.fromkeys(self._to_import(proposal), VERSION))
        graph.insert_before(node, proposal.nodes)
        for old, stand_in in zip(node.outputs, proposal.outputs, strict=False):
            if stand_in is None:
                continue
            fact = place.facts.facts.get(old, UNKNOWN)
            if fact is not UNKNOWN:
                place.facts.facts.setdefault(stand_in, fact)
            if stand_in.producer() in proposal.nodes and stand_in.type is None:
                stand_in.type, stand_in.shape = old.type, old.shape
            name = old.name
            self.forwarding.forward(old, stand_in)
            if stand_in in unnamed and stand_in.name != name:  # the graph has made one up meanwhile
                old.name, stand_in.name = None, name
                unnamed.discard(stand_in)
        drop_inputs(node)
        graph.remove(node)

    def _name(self, node: ir.Node, proposal: Replacement) -> None:
        """Gives a new node that has no name that of the node it stands for, or else its output's, where bytes allow."""
        for old, y in zip(node.outputs, proposal.outputs, strict=False):
            new = y.producer() if y is not None else None
            if new is None or new.name or new not in proposal.nodes:
                continue
            before, new.name = node_bytes(new), node.name or old.name or ""
            growth = node_bytes(new) - before
            if growth > self.spare:
                new.name, growth = "", 0
            self.spare -= growth

    def _register(
        self, value: ir.Value, array: Array | ir.TensorProtocol, proposal: Replacement, node: ir.Node
    ) -> None:
        """Gives a new constant its place in the graph, under the fresh name that it was weighed with."""
        place, name = self.place, value.name or ""
        if as_nodes(place.scope, place.model):
            tensor = value.const_value
            made = ir.node("Constant", [], {"value": tensor}, outputs=[ir.Value(name=name)], name="")
            node.prepend(made)
            replacement = made.outputs[0]
        else:
            replacement = add_initializer(place.scope.graph, name, array)
        for new in proposal.nodes:
            for index, x in enumerate(new.inputs):
                if x is value:
                    new.replace_input_with(index, replacement)
        proposal.outputs = [replacement if y is value else y for y in proposal.outputs]
