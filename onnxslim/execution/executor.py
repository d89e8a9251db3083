"""What opens models so that they can be run, inner values included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from onnxslim.execution.session import Port, Session, open_session


class Opened(Protocol):
    """A model that can be run."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it is to be given."""

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives, taps at the end."""

    def run(self, feed: Mapping[str, object], names: Sequence[str] | None = None) -> Mapping[str, object]:
        """Outputs by name, all of them or those that are named."""


class Executor(Protocol):
    """Opens models. Others than onnxruntime may, such as one that gives gradients too."""

    def open(self, model: ir.Model, taps: Sequence[ir.Value] = (), *, only: bool = False) -> Opened:
        """Opens a model, with some of its inner values as further outputs.

        Args:
            model: Not changed once this returns.
            taps: Values of its main graph that are no outputs.
            only: Whether the taps are all that is wanted: what they do not need is left out then.
        """


@dataclass(frozen=True)
class OnnxRuntime:
    """onnxruntime as an `Executor`; the fields are those of `open_session`."""

    threads: int = 1
    optimize: bool | str = True
    config: Mapping[str, str] = field(default_factory=dict)

    def open(self, model: ir.Model, taps: Sequence[ir.Value] = (), *, only: bool = False) -> Session:
        """Opens a model; see `Executor.open`.

        Raises:
            CannotRun: onnxruntime does not accept the model.
        """
        if only:
            return self._session(cut_to(model, taps))
        with tapped(model, taps):
            return self._session(model)

    def _session(self, model: ir.Model) -> Session:
        return open_session(model, threads=self.threads, optimize=self.optimize, config=self.config)


@contextmanager
def tapped(model: ir.Model, values: Sequence[ir.Value]) -> Iterator[None]:
    """Shows ``values`` as further outputs of the main graph, at its end, until the block is left."""
    outputs = model.graph.outputs
    count = len(outputs)
    try:
        outputs.extend(values)
        yield
    finally:
        while len(outputs) > count:
            outputs.pop()  # a slice deletion would leave the values marked as outputs


def cut_to(model: ir.Model, values: Sequence[ir.Value]) -> ir.Model:
    """A copy of ``model`` whose outputs are ``values``, without the nodes that these do not need. Weights are shared.

    All inputs stay. The declared shapes of the new outputs are left out: they may be wrong, and nothing needs them.
    """
    graph = ir.convenience.extract(model.graph, list(model.graph.inputs), list(values))
    for value in graph.outputs:
        if not value.is_graph_input():
            value.shape = None
    functions = [function.clone() for function in model.functions.values()]
    return ir.Model(graph, ir_version=model.ir_version, functions=functions)
