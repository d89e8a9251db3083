"""Each tensor in the form that takes fewest bytes, exactly: dense, sparse, or packed with nodes that unpack it.

Long because a choice is made, built, checked and undone by the same list of tensors.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import OnnxSlimError
from onnxslim.evaluation.tier import Tier
from onnxslim.execution import optimized_graph
from onnxslim.graph.edit import Names, constant_tensor, raise_ir_version
from onnxslim.graph.sparse import MARK, Layout
from onnxslim.packing import (
    CAN_BE_PACKED,
    OPSET,
    PREFIX,
    Content,
    Kit,
    Packing,
    behind,
    lift_casts,
    restored,
    sizes,
    together,
)
from onnxslim.pipeline import Action, Context, Pass, PassResult
from onnxslim.rewriter.opset import lift

Encoding = Literal["auto", "standard", "strict", "folded", "dense"]
RECORD = "onnxslim.encoding"
"""Key of the model's metadata: how many tensors are stored how."""
LEAST = 256
"""Bytes of a tensor from which on it is looked at."""
GAIN = 0.03
"""Share of its bytes that another form must save."""
SPARSE_OPSET, SPARSE_IR = 11, 6
"""Of ``Constant.sparse_value``; a runtime that knows it knows sparse initializers."""
INPUTS_IR = 4
"""Before it every initializer is an input of the graph and yet constant."""


@dataclass(frozen=True)
class Encode(Pass):
    """Store tensors of zeros or few values in fewer bytes, bit for bit.

    1. *standard*: an entry of ``graph.sparse_initializer`` whose indices are varints. onnx.checker takes it.
    2. *strict*: ``Constant.sparse_value``, which also passes the checker's full check.
    3. *folded*: a mask or gaps, and a codebook, with nodes that onnxruntime computes once when it loads the model.

    Every tensor is unpacked again by onnxruntime and compared; onnxruntime's optimized graph is searched for nodes that
    it would run each time. Tensors for which either fails are stored dense or sparse.
    """

    name: ClassVar[str] = "encode"
    tier: ClassVar[Tier] = Tier.NUMERIC
    """Of the outputs: a kernel may take a weight that is computed in another order than one that is there."""
    encodes: ClassVar[bool] = True

    encoding: Encoding = field(
        default="auto",
        metadata={
            "help": "how zeros and few values are stored: standard and strict are sparse tensors of the ONNX standard, "
            "folded is unpacked by onnxruntime when it loads, auto is the smallest of them"
        },
    )

    @property
    def packs(self) -> bool:
        """Whether passes behind it do not see the weights."""
        return self.encoding != "dense"

    @property
    def unpacks(self) -> bool:
        """Whether it makes plain weights of packed ones."""
        return self.encoding == "dense"

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Encodes the tensors of the main graph and of the bodies below it."""
        early, inputs = model.ir_version, list(model.graph.inputs)
        if early < INPUTS_IR:
            raise_ir_version(model, INPUTS_IR)
        if not self._run(model, context) and model.ir_version == INPUTS_IR:
            model.ir_version = early
            model.graph.inputs.clear()
            model.graph.inputs.extend(inputs)
        return context.result()

    def _run(self, model: ir.Model, context: Context) -> list[Stored]:
        chosen = [_chosen(graph, self.encoding, context) for graph in model.graphs()]
        opset = model.opset_imports.get("", 0)
        packs = any(isinstance(each.form, Packing) for some in chosen for each in some)
        if any(chosen) and opset < (OPSET if packs else SPARSE_OPSET):
            lift(model, context)
            opset = model.opset_imports.get("", 0)
        if opset < OPSET:  # without what packings need; sparse tensors need less
            packed = [each for each in itertools.chain(*chosen) if isinstance(each.form, Packing)]
            for each in packed:
                context.decline("encode", each.name, f"opset {opset} has not all operators that unpack it")
                each.form = otherwise(each.content, self.encoding)
            chosen = [[each for each in some if each.form != "dense"] for some in chosen]
        if opset < SPARSE_OPSET or not any(chosen):
            for each in itertools.chain(*chosen):
                context.decline("encode", each.name, f"opset {opset} has no sparse tensors")
            return []
        names, done = Names.of(model), []
        for some in filter(None, chosen):
            done += _encode_graph(some, Kit(some[0].graph, names), self.encoding, context)
        if done:
            raise_ir_version(model, SPARSE_IR)
        folded = [each for each in done if isinstance(each.form, Packing)]
        reasons = wrong(folded, model)
        undo(reasons, self.encoding)
        for each, reason in reasons.items():
            context.decline("encode", each.name, reason)
        for graph in dict.fromkeys(each.graph for each in folded):
            lift_casts(graph, names)
        if context.config.strip:  # as it is for all other values by then
            for each in folded:
                if each.form != "dense" and not each.value.is_initializer():
                    each.value.type = each.value.shape = None
        record(model, done)
        return done


@dataclass(eq=False)
class Stored:
    """A tensor that is stored in another form.

    Attributes:
        graph: That it is read in.
        name: Which it keeps.
        tensor: As it was.
        content: What it holds.
        form: A packing, ``standard``, ``strict`` or, where that came to nothing, ``dense``.
        value: What is read: before it is stored anew the constant, after it what the nodes give.
    """

    graph: ir.Graph
    name: str
    tensor: ir.TensorProtocol
    content: Content
    form: Packing | str
    value: ir.Value

    def read(self, value: ir.Value) -> None:
        """Lets all that read the tensor read another value, which takes over its name."""
        old = self.value
        if old.is_initializer():
            self.graph.initializers.pop(self.name)
        else:
            node = old.producer()
            assert node is not None
            old.name = None
            if node.op_type == "Constant":
                self.graph.remove(node)
        value.name = self.name
        value.shape, value.type = ir.Shape(self.tensor.shape.numpy()), ir.TensorType(self.tensor.dtype)
        if value.const_value is not None:
            self.graph.register_initializer(value)
        ir.convenience.replace_all_uses_with(old, value)
        self.value = value

    def as_sparse(self) -> ir.Tensor[np.ndarray]:
        """The tensor with the mark by which it is written as a sparse one, its indices as varints."""
        made = ir.Tensor(
            self.tensor.numpy(), dtype=self.tensor.dtype, name=self.name, doc_string=self.tensor.doc_string
        )
        made.meta[MARK] = Layout(
            linear=True,
            index_type=ir.DataType.INT64,
            raw_indices=False,
            raw_values=True,
            positions=self.content.places,
        )
        return made


def _chosen(graph: ir.Graph, encoding: Encoding, context: Context) -> list[Stored]:
    """The tensors of a graph that are smaller in another form."""
    found = []
    for value in candidates(graph, context):
        tensor = constant_tensor(value)
        assert tensor is not None
        content = Content.of(tensor.numpy())
        form = choose(content, encoding)
        if form is None:
            context.decline("encode", value.name or "", "no other form is smaller")
        else:
            found.append(Stored(graph, value.name or "", tensor, content, form, value))
    return found


def _encode_graph(chosen: Sequence[Stored], kit: Kit, encoding: Encoding, context: Context) -> list[Stored]:
    done, packed = [], [each for each in chosen if isinstance(each.form, Packing)]
    groups = together(
        [each.content for each in packed],
        [each.tensor.dtype.name for each in packed],
        [each.form for each in packed if isinstance(each.form, Packing)],
    )
    gains = {
        group: gain([packed[place].content for place in group.members], group.packing, encoding) for group in groups
    }
    enough = sum(each for each in gains.values() if each > 0) > sizes.TABLES
    for group in groups:
        worthwhile = enough and gains[group] > 0
        for each in (packed[place] for place in group.members):
            each.form = group.packing if worthwhile else otherwise(each.content, encoding)
            if each.form == "dense":
                context.decline("encode", each.name, "the nodes that unpack it take what it saves")
    allowed = {each for each in chosen if each.form != "dense" and context.allow(action(each))}
    for group in groups:
        members = [each for place in group.members if (each := packed[place]) in allowed]
        members = [each for each in members if each.form == group.packing]
        if members:
            values = kit.unpack(
                [each.content for each in members],
                group.packing,
                members[0].tensor.dtype,
                [each.tensor.shape.numpy() for each in members],
            )
            for each, value in zip(members, values, strict=True):
                node = value.producer()
                assert node is not None
                node.name = kit.names.fresh(PREFIX)
                each.read(value)
                done.append(each)
    for each in chosen:
        if each in allowed and not isinstance(each.form, Packing):
            if each.form == "strict":
                attribute = ir.AttrTensor("value", each.as_sparse())
                kit.nodes.append(ir.Node("", "Constant", [], [attribute], name=kit.names.fresh(PREFIX)))
                each.read(kit.nodes[-1].outputs[0])
            else:
                each.read(ir.Value(name=each.name, const_value=each.as_sparse()))
            done.append(each)
    if kit.nodes:
        named = [node.name for node in kit.nodes]
        kit.graph.insert_before(kit.graph[0], kit.nodes)
        for node, before in zip(kit.nodes, named, strict=True):
            node.name = before  # the graph named the others too, which takes bytes and says nothing
    return done


# -- what is stored how ------------------------------------------------------------------------------------------------


def candidates(graph: ir.Graph, context: Context) -> Iterator[ir.Value]:
    """Constants of a graph that may take another form."""
    made = (node.outputs[0] for node in graph if node.op_type == "Constant" and len(node.outputs) == 1)
    for value in (*graph.initializers.values(), *made):
        tensor = constant_tensor(value)
        if tensor is None or tensor.dtype not in CAN_BE_PACKED or tensor.nbytes < LEAST or not value.uses():
            continue
        if value.is_graph_output():
            context.decline("encode", value.name or "", "it is an output of its graph")
        else:
            yield value


def choose(content: Content, encoding: Encoding) -> Packing | str | None:
    """The smallest form that is allowed; None where that is no smaller than the dense one."""
    forms: dict[Packing | str, int] = {}
    if encoding in ("auto", "standard"):
        forms["standard"] = sizes.sparse(content)
    if encoding == "strict":
        forms["strict"] = sizes.sparse(content)
    if encoding in ("auto", "folded"):
        packing = sizes.best(content)
        if packing is not None:
            forms[packing] = sizes.folded(content, packing)
    form = min(forms, key=lambda each: forms[each], default=None)
    limit = (1 - GAIN) * sizes.dense(content)
    return form if form is not None and forms[form] < limit else None


def otherwise(content: Content, encoding: Encoding) -> str:
    """The form of what is not packed: sparse where that is allowed and smaller, else dense."""
    return "standard" if encoding == "auto" and choose(content, "standard") else "dense"


def gain(contents: Sequence[Content], packing: Packing, encoding: Encoding) -> int:
    """Bytes by which a group is smaller, packed, with the nodes that unpack it, but without the tables."""
    size = {"standard": sizes.sparse, "dense": sizes.dense}
    saved = sum(size[otherwise(each, encoding)](each) - sizes.folded(each, packing) for each in contents)
    return saved - sizes.shared(packing)


def action(each: Stored) -> Action:
    """What the report says of a tensor."""
    content, form = each.content, each.form
    size = sizes.folded(content, form) if isinstance(form, Packing) else sizes.sparse(content)
    detail = (
        f"{form}: {sizes.dense(content):,} -> {size:,} bytes, {content.sparsity:.0%} zeros, "
        f"{content.bound:,.0f} by entropy"
    )
    return Action("encode", (each.name,), each.name, detail)


def drop_dead(graph: ir.Graph, nodes: Sequence[ir.Node], constants: Sequence[ir.Value]) -> None:
    """Removes the nodes and constants that nothing reads any more."""
    for node in reversed(nodes):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for value in constants:
        if not value.uses() and value.is_initializer():
            graph.initializers.pop(value.name or "", None)


def record(model: ir.Model, done: Sequence[Stored]) -> None:
    """Writes into the model's metadata how many tensors are stored how."""
    counts = Counter(str(each.form) for each in done if each.form != "dense")
    if counts:
        model.metadata_props[RECORD] = ", ".join(f"{form}: {count}" for form, count in sorted(counts.items()))


# -- what is wrong with it ---------------------------------------------------------------------------------------------


def wrong(folded: Sequence[Stored], model: ir.Model) -> dict[Stored, str]:
    """Tensors that do not come out as they went in, and those that onnxruntime would unpack in every run."""
    if not folded:
        return {}
    try:
        graph = optimized_graph(model).graph
    except OnnxSlimError as error:
        return dict.fromkeys(folded, f"onnxruntime does not take it: {error}")
    found: dict[Stored, str] = {}
    computed = {name for node in _all_nodes(graph) for name in node.output}
    for inside in dict.fromkeys(each.graph for each in folded):  # two branches may each have a tensor of the same name
        members = [each for each in folded if each.graph is inside]
        try:
            arrays = restored([each.value for each in members], model.opset_imports[""])
        except OnnxSlimError as error:
            found |= dict.fromkeys(members, f"onnxruntime does not take it: {error}")
            continue
        if arrays is None:
            found |= dict.fromkeys(members, "it depends on an input")
            continue
        for each, array in zip(members, arrays, strict=True):
            if array.tobytes() != np.ascontiguousarray(each.tensor.numpy()).tobytes():
                found[each] = "it is another tensor when it is unpacked"
            elif each.name in computed:
                found[each] = "onnxruntime would unpack it in every run"
    return found


def undo(which: Iterable[Stored], encoding: Encoding) -> None:
    """Goes back to plain tensors, or to sparse ones where that is wanted and smaller."""
    made: dict[ir.Graph, list[ir.Value]] = {}
    for each in which:
        made.setdefault(each.graph, []).append(each.value)
        each.form = otherwise(each.content, encoding)
        each.read(ir.Value(name=each.name, const_value=each.tensor if each.form == "dense" else each.as_sparse()))
    for graph, values in made.items():
        found = behind(values)
        assert found is not None
        drop_dead(graph, *found)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    queue = [graph]
    for each in queue:  # grows while it is walked
        for node in each.node:
            yield node
            for attribute in node.attribute:
                queue.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)
