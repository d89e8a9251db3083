"""A model run piece by piece, so that a weight can be changed before what comes after it is computed.

To refit L layers one after another, each on what the layers before it now compute, by running the model from its start
costs L^2; run in pieces, every node is computed once for each sample. What later pieces need is held in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import CannotRun
from onnxslim.runtime import Feed, open_session


class Forward:
    """One model and some samples on their way through it.

    Args:
        model: Weights of it may change while it is run; `refresh` takes the change over.
        feeds: The samples.
        threads: Of the sessions.
    """

    def __init__(self, model: ir.Model, feeds: Sequence[Feed], threads: int) -> None:
        self._proto = ir.serde.serialize_model(model)
        graph = self._proto.graph
        self._weights = {each.name: each for each in graph.initializer}
        self._nodes = []
        for node in graph.node:
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                self._weights[node.output[0]] = value
            else:
                self._nodes.append(node)
        self._place = {name: i for i, node in enumerate(self._nodes) for name in node.output if name}
        self._last: dict[str, int] = {}
        for i, node in enumerate(self._nodes):
            self._last.update(dict.fromkeys(_reads(node), i))
        self._last |= {value.name: len(self._nodes) for value in graph.output}
        self._next = 0
        self._threads = threads
        self.held: list[dict[str, np.ndarray]] = [{name: np.asarray(x) for name, x in feed.items()} for feed in feeds]

    def before(self, output: str) -> int:
        """The place of the node that computes a value."""
        return self._place[output]

    def refresh(self, value: ir.Value, tensor: ir.TensorProtocol) -> None:
        """Takes over a constant that has changed."""
        made = ir.serde.serialize_tensor(tensor)
        made.name = value.name or ""
        self._weights[made.name] = made

    def advance(self, stop: int) -> None:
        """Computes all nodes before the place ``stop``.

        Raises:
            CannotRun: A value that later nodes need is no tensor.
        """
        stop = max(stop, self._next)
        nodes = self._nodes[self._next : stop]
        if not nodes:
            return
        made = {name for node in nodes for name in node.output if name}
        wanted = [name for name in made if self._last.get(name, -1) >= stop]
        if wanted:
            self._run(nodes, made, wanted)
        self._next = stop
        for values in self.held:
            for name in [name for name in values if self._last.get(name, -1) < stop]:
                del values[name]

    def drop(self, count: int) -> None:
        """Goes on with the first ``count`` samples only."""
        del self.held[count:]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(array.nbytes for values in self.held for array in values.values())

    def _run(self, nodes: Sequence[onnx.NodeProto], made: set[str], wanted: Sequence[str]) -> None:
        read = {name for node in nodes for name in _reads(node)} - made
        proto = onnx.ModelProto(
            ir_version=self._proto.ir_version, opset_import=self._proto.opset_import, functions=self._proto.functions
        )
        graph = proto.graph
        graph.name = "piece"
        graph.node.extend(nodes)
        graph.initializer.extend(self._weights[name] for name in sorted(read) if name in self._weights)
        inputs = sorted(name for name in read if name not in self._weights)
        for name in inputs:
            array = self.held[0][name]
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, [None] * array.ndim))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        session = open_session(proto, threads=self._threads)
        for values in self.held:
            found = session.run({name: values[name] for name in inputs}, wanted)
            for name, array in found.items():
                if not isinstance(array, np.ndarray):
                    raise CannotRun("a value between two layers is no tensor", where=name)
                values[name] = array


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its bodies too: names that they define themselves are among them, and are never held."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _reads(inner)
