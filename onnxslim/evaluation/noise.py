"""How far a model is from another at the outputs, on some samples: noise over signal, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir

from onnxslim.evaluation.extents import extents_of
from onnxslim.evaluation.measure import Measure
from onnxslim.evaluation.parts import Leaf, Part, leaves_of, shown, twins_of
from onnxslim.execution import Feed, open_session


class OutputNoise:
    """Compares models with one. Its outputs on the feeds are held.

    Args:
        model: The one compared with; not changed.
        feeds: Inputs, one at least.
        threads: Of the sessions.
        memory: Bytes of outputs that may be held; where more would be, the last feeds are left out.
    """

    def __init__(self, model: ir.Model, feeds: Sequence[Feed], threads: int, memory: int = 1 << 30) -> None:
        self._feeds, self._threads = list(feeds), threads
        leaves = leaves_of(model)
        self._parts = [leaf.part for leaf in leaves]
        names = [leaf.value.name or "" for leaf in leaves]
        self._measure = Measure(self._parts, names, extents_of(model, feeds[0], threads))
        self._wanted: list[list[Any]] = []
        held = 0
        for arrays in self._arrays(model, leaves):
            held += sum(getattr(array, "nbytes", 0) for array in arrays)
            if self._wanted and held > memory:
                break
            self._wanted.append(arrays)
            self._measure.see(arrays)

    @property
    def count(self) -> int:
        """Feeds that are compared on: those whose outputs fit into memory."""
        return len(self._wanted)

    def __call__(self, model: ir.Model) -> float:
        """The squared error as a share of what varies, added up over the parts; one that is lost counts 1."""
        tally = self._measure.tally(brief=True)
        twins = zip(self._parts, twins_of(self._parts, model), strict=True)
        leaves = [leaf or Leaf(part, _output(model, part)) for part, leaf in twins]
        for wanted, found in zip(self._wanted, self._arrays(model, leaves), strict=False):
            tally.add(wanted, found)
        return tally.noise().power

    def _arrays(self, model: ir.Model, leaves: Sequence[Leaf]) -> Iterator[list[Any]]:
        with shown(model, leaves) as names:
            session = open_session(model, threads=self._threads)
        for feed in self._feeds:
            outputs = session.run(feed, list(dict.fromkeys(names)))
            yield [outputs[name] for name in names]


def _output(model: ir.Model, part: Part) -> ir.Value:
    return next(value for value in model.graph.outputs if value.name == part.output)
