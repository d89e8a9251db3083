"""A model run piece by piece, so that a weight can be changed before what comes after it is computed.

To refit L layers one after another, each on what the layers before it now compute, by running the model from its start
costs L^2; run in pieces, every node is computed once for each sample. What later pieces need is held in between.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import CannotRun
from onnxslim.execution.feeds import Feed
from onnxslim.execution.session import Session, open_session
from onnxslim.graph.edit import constant_tensor, inline
from onnxslim.graph.listed import DEFAULTS_IR


class Forward:
    """One model and some samples on their way through it.

    Args:
        model: Weights of it may change while it is run; `refresh` takes the change over.
        feeds: The samples.
        threads: Of the sessions.
        memory: Bytes that may be held; where more would be, the last samples are left out.
    """

    def __init__(self, model: ir.Model, feeds: Sequence[Feed], threads: int, memory: int = 1 << 30) -> None:
        self._frame = onnx.ModelProto(
            ir_version=max(model.ir_version, DEFAULTS_IR),
            opset_import=[onnx.helper.make_opsetid(*each) for each in model.opset_imports.items()],
            functions=[ir.serde.serialize_function(each) for each in model.functions.values()],
        )
        self._weights = {
            name: value.const_value
            for name, value in model.graph.initializers.items()
            if value.const_value is not None and name not in feeds[0]  # what is an input too may be overridden
        }
        self._nodes = []
        for node in model.graph:
            tensor = constant_tensor(node.outputs[0])
            if tensor is None:
                self._nodes.append(ir.serde.serialize_node(node))
            else:
                self._weights[node.outputs[0].name or ""] = tensor
        self._place = {name: i for i, node in enumerate(self._nodes) for name in node.output if name}
        self._last: dict[str, int] = {}
        for i, node in enumerate(self._nodes):
            self._last.update(dict.fromkeys(_reads(node), i))
        self._last |= {value.name or "": len(self._nodes) for value in model.graph.outputs}
        self._next = 0
        self._threads, self._memory = threads, memory
        self.held: list[dict[str, np.ndarray]] = [dict(_tensors(feed)) for feed in feeds]

    def fork(self) -> Forward:
        """Another one that stands where this stands and goes on by itself; constants that change are of both."""
        other = copy.copy(self)
        other.held = [dict(values) for values in self.held]
        return other

    def before(self, output: str) -> int:
        """The place of the node that computes a value."""
        return self._place[output]

    def refresh(self, value: ir.Value, tensor: ir.TensorProtocol) -> None:
        """Takes over a constant that has changed."""
        self._weights[value.name or ""] = tensor

    def advance(self, stop: int) -> None:
        """Computes all nodes before the place ``stop``, for as many samples as there is memory for.

        Raises:
            CannotRun: A value that later nodes need is no tensor, or onnxruntime does not take a piece.
        """
        stop = max(stop, self._next)
        nodes = self._nodes[self._next : stop]
        if not nodes:
            return
        made = {name: None for node in nodes for name in node.output if name}
        wanted = [name for name in made if self._last.get(name, -1) >= stop]
        session, inputs = self._piece(nodes, set(made), wanted) if wanted else (None, [])
        total = 0
        for count, values in enumerate(self.held):
            if session is not None:
                values.update(_tensors(session.run({name: values[name] for name in inputs}, wanted)))
            for name in [name for name in values if self._last.get(name, -1) < stop]:
                del values[name]
            total += _nbytes(values)
            if total > self._memory and count:
                self.drop(count)
                break
        self._next = stop

    def drop(self, count: int) -> None:
        """Goes on with the first ``count`` samples only."""
        del self.held[count:]

    def _piece(
        self, nodes: Sequence[onnx.NodeProto], made: set[str], wanted: Sequence[str]
    ) -> tuple[Session, list[str]]:
        """Some nodes as a model, and what it reads of what is held."""
        read = {name for node in nodes for name in _reads(node)} - made
        proto = onnx.ModelProto()
        proto.CopyFrom(self._frame)
        graph = proto.graph
        graph.name = "piece"
        graph.node.extend(nodes)
        graph.initializer.extend(inline(name, self._weights[name]) for name in sorted(read & self._weights.keys()))
        inputs = sorted(name for name in read if name in self.held[0])
        for name in inputs:
            array = self.held[0][name]
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, [None] * array.ndim))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        return open_session(proto, threads=self._threads), inputs


def _tensors(found: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """What sessions take and give, without what else than tensors there may be."""
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise CannotRun("a value that is held between two layers is no tensor", where=name)
    return found


def _nbytes(values: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in values.values())


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its bodies too: names that they define themselves are among them, and are never held."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _reads(inner)
