"""Builds a region anew for another placement of its Transposes: first beside the graph, then in the old one's place.

What is built is weighed before anything changes, so that a refusal leaves no trace.

Long because building, weighing and committing share the values that are made on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.facts import UNKNOWN
from onnxslim.graph.edit import add_initializer
from onnxslim.ops.layout import Perm, inverse
from onnxslim.rewriter.place import Array, Place
from onnxslim.rewriter.scopes import Forwarding
from onnxslim.rewriter.size import constant_node_bytes, node_bytes, tensor_bytes

from .layout_cut import Sides, net_sides
from .layout_region import LayoutRegion, Membership, Net
from .merge_transposes import composed, permutation


@dataclass(eq=False)
class Rebuild:
    """A region on other sides.

    Args:
        place: Where it is.
        region: What it is.
        members: Side and permutation of each value.
        sides: Where its operators are to be.
        order: Position of each node of the graph.
        as_nodes: Whether constants are written as nodes.
    """

    place: Place
    region: LayoutRegion
    members: dict[ir.Value, Membership]
    sides: Sides
    order: dict[ir.Node, int]
    as_nodes: bool
    inserted: list[tuple[ir.Node, ir.Node]] = field(default_factory=list)
    """New nodes, each with the one that it comes before."""
    inputs: list[tuple[ir.Node, int, ir.Value]] = field(default_factory=list)
    """Inputs of nodes that stay and read another value."""
    forwards: list[tuple[ir.Value, ir.Value]] = field(default_factory=list)
    """Old values that something needs that is not looked at one by one: outputs, subgraphs."""
    dead: dict[ir.Node, None] = field(default_factory=dict)
    constants: dict[ir.Value, Array] = field(default_factory=dict)
    replaced: list[ir.Value] = field(default_factory=list)
    """Constants, each as often as a node is gone that read it."""
    _forms: dict[tuple[ir.Value, int], ir.Value] = field(default_factory=dict)
    _outputs: set[ir.Value] = field(default_factory=set)
    _needed: dict[ir.Value, bool] = field(default_factory=dict)
    _turned: dict[tuple[ir.Value, Perm], ir.Value] = field(default_factory=dict)

    # -- building --------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Makes all new nodes, in order."""
        region = self.region
        touched: dict[ir.Node, None] = {**dict.fromkeys(region.sides), **region.transposes}
        pinned: dict[ir.Node, list[tuple[int, ir.Value]]] = {}
        free: dict[ir.Node, ir.Value] = {}
        for net in region.nets.values():
            if net.producer is None:
                self._forms[net.root, self._side(net.root)] = net.root
            for node, index, value in net.pinned:
                touched[node] = None
                pinned.setdefault(node, []).append((index, value))
            for node, value in net.free:
                touched[node] = None
                free[node] = value
        for node in sorted(touched, key=self.order.__getitem__):
            if node in region.transposes:
                self._transpose(node)
            elif node in region.sides:
                self._operator(node)
            elif node in free:
                self._free(node, free[node])
            for index, value in pinned.get(node, ()):
                form = self._form(value, self._side(value), node)
                if form is not value:
                    self.inputs.append((node, index, form))

        self._name()

    def _name(self) -> None:
        """Names what new Transposes make: first as something that goes, because new names are longer."""
        taken = {y.name for _, node in self.inserted for y in node.outputs} - {None}
        renamed = {new: old.name for old, new in self.forwards if old.is_graph_output()}
        spare = [new.name for new, name in renamed.items() if new.name and new.name != name]
        gone = [y for node in self.dead for y in node.outputs if not y.is_graph_output()]
        spare += [y.name for y in gone if y.name and y.name not in taken]
        names = iter(dict.fromkeys(sorted(spare)))
        for _, node in self.inserted:
            for y in node.outputs:
                if y.name is None:
                    like = node.inputs[0].name if node.inputs[0] is not None else "x"
                    y.name = renamed.get(y) or next(names, None) or self.place.names.fresh(f"{like}_t")

    def _side(self, value: ir.Value) -> int:
        return self.members[value].side

    def _root(self, value: ir.Value) -> ir.Value:
        return self.region.root[value]

    def _form(self, value: ir.Value, side: int, before: ir.Node) -> ir.Value:
        """The data of ``value`` on a side; where it is not there yet, a Transpose before a node makes it."""
        root = self._root(value)
        found = self._forms.get((root, side))
        if found is None:
            source = self._forms[root, 1 - side]
            perm = self.members[root].perm
            perm = perm if side != self._side(root) else inverse(perm)
            node = ir.node("Transpose", [source], {"perm": perm}, name="")
            found = self._forms[root, side] = node.outputs[0]
            self._describe(found, root, None if side == self._side(root) else self.members[root].perm)
            self.inserted.append((before, node))
        return found

    def _describe(self, new: ir.Value, old: ir.Value, perm: Perm | None) -> None:
        """Type and shape of a new value: those of an old one, turned."""
        fact = self.place.facts.facts.get(old, UNKNOWN)
        if fact.shape is not None and perm is not None:
            fact = replace(fact, shape=tuple(fact.shape[axis] for axis in perm))
        if perm is not None:
            fact = replace(fact, value=None)
        self.place.facts.facts[new] = fact
        new.type = old.type
        if old.shape is not None and (perm is None or len(old.shape) == len(perm)):
            dims = list(old.shape)
            new.shape = ir.Shape(dims if perm is None else [dims[axis] for axis in perm])

    def _serve(self, value: ir.Value, before: ir.Node) -> None:
        """Makes what graph outputs and subgraphs need, where the old value is made."""
        if value not in self.region.nets[self._root(value)].early:
            return
        form = self._form(value, self._side(value), before)
        if form is value:
            return
        if value.is_graph_output():
            if form in self._outputs or form.is_graph_output() or form.producer() is None:
                copy = ir.node("Identity", [form], name="")  # an output is a value of its own
                self._describe(copy.outputs[0], value, None)
                self.inserted.append((before, copy))
                form = copy.outputs[0]
            self._outputs.add(form)
        self.forwards.append((value, form))

    def _transpose(self, node: ir.Node) -> None:
        """Keeps a Transpose that is still needed where it is, and drops any other."""
        x, y = cast("ir.Value", node.inputs[0]), node.outputs[0]
        root, side = self._root(y), self._side(y)
        if (root, side) not in self._forms and self._forms.get((root, 1 - side)) is x and self._is_needed(root):
            self._forms[root, side] = y
        else:
            self.dead[node] = None
            self._serve(y, node)

    def _is_needed(self, root: ir.Value) -> bool:
        """Whether the net is read on the side that it is not made on."""
        if root not in self._needed:
            self._needed[root] = self._crosses(self.region.nets[root])
        return self._needed[root]

    def _crosses(self, net: Net) -> bool:
        made, read = net_sides(net, self.region, {value: self._side(value) for value in net.values})
        own = made if net.producer is None else self.sides[net.producer]
        return any(side != own for side in (*read, *(self.sides[node] for node in net.consumers)))

    def _operator(self, node: ir.Node) -> None:
        """An operator on the side that it is to be on."""
        region, side = self.region, self.sides[node]
        turn = region.turns[node]
        if side == region.sides[node]:
            for index in turn.inputs:
                value = cast("ir.Value", node.inputs[index])
                if value not in self.region.root:
                    continue  # a constant
                form = self._form(value, side, node)
                if form is not value:
                    self.inputs.append((node, index, form))
            for index in turn.outputs:
                y = node.outputs[index]
                if y in region.root:
                    self._forms[self._root(y), side] = y
                    self._serve(y, node)
            return
        inputs = list(node.inputs)
        for index, perm in turn.inputs.items():
            value = cast("ir.Value", inputs[index])
            inputs[index] = self._form(value, side, node) if value in region.root else self._constant(value, perm)
        for index, x in enumerate(inputs):
            if index not in turn.inputs and x in region.root:
                inputs[index] = self._form(x, self._side(x), node)
        inputs += [None] * (max(turn.constants, default=-1) + 1 - len(inputs))
        for index, make in turn.constants.items():
            old = inputs[index]
            if old is not None:
                self.replaced.append(old)
            inputs[index] = self._new(make(), old.name or "" if old is not None else f"{node.outputs[0].name}_axes")
        attributes = {**node.attributes, **turn.attributes}
        new = ir.Node(
            node.domain, node.op_type, inputs, attributes.values(), num_outputs=len(node.outputs), name=node.name
        )
        new.metadata_props.update(node.metadata_props)
        self.inserted.append((node, new))
        self.dead[node] = None
        for index, (old, made) in enumerate(zip(node.outputs, new.outputs, strict=True)):
            order = turn.outputs.get(index)
            self._describe(made, old, order)
            made.name = old.name
            if order is None or old not in region.root:
                if old.name:
                    self.forwards.append((old, made))
                continue
            self._forms[self._root(old), side] = made
            if old.is_graph_output():
                made.name = self.place.names.fresh(f"{old.name}_turned")
            self._serve(old, node)

    def _free(self, node: ir.Node, value: ir.Value) -> None:
        """A Transpose or Shape of what may be there in another order."""
        root, side = self._root(value), self._side(value)
        form = self._forms.get((root, side))
        if form is not None:
            if form is not value:
                self.inputs.append((node, 0, form))
            return
        form, back = self._forms[root, 1 - side], inverse(self.members[value].perm)
        if node.op_type == "Transpose":
            perm = permutation(node, self.place)
            assert perm is not None
            made = [ir.node("Transpose", [form], {"perm": composed(back, perm)}, name=node.name or "")]
        else:
            first = ir.node("Shape", [form], name=node.name or "")
            first.outputs[0].name = self.place.names.fresh(f"{node.outputs[0].name}_turned")
            start, end = (node.attributes[k].as_int() if k in node.attributes else None for k in ("start", "end"))
            picked = self._new(np.array(back[slice(start, end)], np.int64), f"{node.outputs[0].name}_order")
            made = [first, ir.node("Gather", [first.outputs[0], picked], {"axis": 0}, name="")]
        for each in made:
            self.inserted.append((node, each))
        result = made[-1].outputs[0]
        result.name = node.outputs[0].name
        self._describe(result, node.outputs[0], None)
        self.forwards.append((node.outputs[0], result))
        self.dead[node] = None

    def _constant(self, value: ir.Value, perm: Perm) -> ir.Value:
        """A constant with as many dims as the data, turned."""
        self.replaced.append(value)
        found = self._turned.get((value, perm))
        if found is None:
            array = self.place.constant(value)
            assert array is not None
            found = self._turned[value, perm] = self._new(np.ascontiguousarray(array.transpose(perm)), value.name or "")
        return found

    def _new(self, array: Array, like: str) -> ir.Value:
        value = self.place.new_constant(array, self.place.names.fresh(like or "constant"))
        self.constants[value] = array
        return value

    # -- weighing --------------------------------------------------------------------------------------------------

    def refusal(self, forwarding: Forwarding) -> str | None:
        """Why it may not take the old one's place."""
        made = {y for _, node in self.inserted for y in node.outputs}
        for old, new in self.forwards:
            reason = None if new in made else forwarding.refusal(old, new)
            if reason is None and new in made and forwarding.is_reused(old.name or ""):
                reason = f"the name {old.name!r} means another value in a subgraph"
            if reason is not None:
                return reason
        return None

    def growth(self) -> int:
        """Bytes that the file would grow by; negative where it shrinks."""
        size = constant_node_bytes if self.as_nodes else tensor_bytes
        come = sum(node_bytes(node) for _, node in self.inserted)
        come += sum(size(value.const_value, value.name or "") for value in self.constants if value.const_value)
        go = sum(node_bytes(node) for node in self.dead)
        counted: dict[ir.Value, int] = {}
        for value in self.replaced:
            counted[value] = counted.get(value, 0) + 1
        for value, count in counted.items():
            tensor = value.const_value
            if tensor is None or tensor.meta or not value.is_initializer() or value.is_graph_output():
                continue
            if value.graph is self.place.scope.graph and len(value.uses()) <= count:
                go += tensor_bytes(tensor, value.name or "")
        return come - go

    # -- in place --------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Lets go of what was built: it must not count among the users of anything."""
        for _, node in reversed(self.inserted):
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)

    def commit(self, forwarding: Forwarding) -> None:
        """Puts the new nodes in the place of the old ones."""
        graph = self.place.scope.graph
        registered = {value: self._register(value, array) for value, array in self.constants.items()}
        for before, node in self.inserted:
            for index, x in enumerate(node.inputs):
                if x in registered:
                    node.replace_input_with(index, registered[x])
            graph.insert_before(before, node)
        for node, index, value in self.inputs:
            node.replace_input_with(index, value)
        for old, new in self.forwards:
            forwarding.forward(old, new)
        for node in self.dead:
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)
        graph.remove(list(self.dead))

    def _register(self, value: ir.Value, array: Array) -> ir.Value:
        graph, name = self.place.scope.graph, value.name or ""
        if not self.as_nodes:
            return add_initializer(graph, name, array)
        made = ir.node("Constant", [], {"value": value.const_value}, outputs=[ir.Value(name=name)], name="")
        graph.insert_before(self.inserted[0][0] if self.inserted else graph[0], made)
        return made.outputs[0]
