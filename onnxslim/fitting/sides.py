"""The original and the model that is changed, side by side: what a weight reads in the one and makes in the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.execution import Feed
from onnxslim.execution.stepper import Forward
from onnxslim.fitting.problem import Problem, Reading, own_bias, posed_together
from onnxslim.graph.edit import constant_tensor


class Sides:
    """Both models on their way through the same samples, in the order of the nodes.

    Args:
        original: Its nodes have the same outputs.
        model: Weights of it change in between.
        feeds: The samples.
        threads: Of the sessions.
        memory: Bytes that may be held; where more would be, the last samples are left out.

    Raises:
        CannotRun: A model cannot be run in pieces (all methods).
    """

    def __init__(
        self, original: ir.Model, model: ir.Model, feeds: Sequence[Feed], *, threads: int, memory: int
    ) -> None:
        self._before, self._now = (Forward(each, feeds, threads, memory // 2) for each in (original, model))
        self._originals = {node.outputs[0].name: node for node in original.graph if node.outputs}

    def advance(self, node: ir.Node) -> int:
        """Goes to where ``node`` can run, and the same node of the original has run; how many samples are left."""
        return _advance(self._before, self._now, node)

    def reading(self, node: ir.Node) -> Reading:
        """Of the node that was gone to."""
        return self._reading(self._before, self._now, node)

    def posed(
        self, nodes: Sequence[ir.Node], left: npt.NDArray[np.bool_] | None, memory: int, *, few: bool = False
    ) -> Problem | str:
        """The problem of nodes that share a weight, the first of which was gone to; see `posed_together`.

        What the others read is computed with the weights of now, from here on and only for this.
        """
        originals = [self._originals[node.outputs[0].name] for node in nodes]
        readings = [self.reading(nodes[0])] if len(nodes) == 1 else self._ahead(nodes)
        return posed_together(nodes, originals, readings, left, memory, few=few)

    def refresh(self, nodes: Sequence[ir.Node]) -> None:
        """Takes over the weights and the bias of nodes, which have changed."""
        for value in (*(value for node in nodes for value in node.inputs[1:]), own_bias(*nodes)):
            tensor = constant_tensor(value)
            if value is not None and tensor is not None:
                self._now.refresh(value, tensor)

    def _ahead(self, nodes: Sequence[ir.Node]) -> Iterator[Reading]:
        before, now = self._before.fork(), self._now.fork()
        for node in nodes:
            _advance(before, now, node)
            yield self._reading(before, now, node)

    def _reading(self, before: Forward, now: Forward, node: ir.Node) -> Reading:
        source, key = node.inputs[0], node.outputs[0].name or ""
        assert source is not None
        tensor = constant_tensor(source)
        constant = None if tensor is None else tensor.numpy()  # the first state of a recurrence
        inputs = [values[source.name or ""] if constant is None else constant for values in now.held]
        return Reading(node, self._originals[key], inputs, [values[key] for values in before.held])


def _advance(before: Forward, now: Forward, node: ir.Node) -> int:
    key = node.outputs[0].name or ""
    now.advance(now.before(key))
    before.advance(before.before(key) + 1)
    left = min(len(before.held), len(now.held))
    for side in (before, now):
        side.drop(left)
    return left


def follow_each_other(nodes: Sequence[ir.Node]) -> bool:
    """Whether one of some nodes reads what another has a part in, as the steps of a recurrence do."""
    known, seen = set(nodes), set()
    left = [value.producer() for node in nodes for value in node.inputs if value is not None]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node in known:
            return True
        seen.add(node)
        left += [value.producer() for value in node.inputs if value is not None]
    return False
