"""Whether a changed model still makes outputs of the original's lengths, where values decide them.

Few samples tell little of a length, which changes as a whole. So what decides it is compared as well, number by number:
the durations that are rounded, the scores that are held against a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import infer_shapes
from onnxslim.analysis.lengths import length_deciders
from onnxslim.errors import CheckFailed, InputError
from onnxslim.evaluation.compare import flatten
from onnxslim.evaluation.views import named
from onnxslim.execution import Feed, OnnxRuntime, Outputs, Session
from onnxslim.samples import Sample, feeds_of
from onnxslim.samples.feeds import LENGTHS

RANKED = frozenset({"ArgMax", "ArgMin", "NonMaxSuppression", "TopK"})
"""Operators whose integers may change places while as many stay: of these the lengths alone count."""
T = TypeVar("T")


class Lengths:
    """What decides the lengths of a model's outputs, on some samples.

    Args:
        model: The original; not changed.
        samples: Those to calibrate with, then those to choose by: the first of both are run.
        threads: Of the sessions.
    """

    def __init__(self, model: ir.Model, samples: Sequence[Iterable[Sample] | None], threads: int) -> None:
        self._model, self._threads = model, threads
        self._samples = [each for each in samples if each is not None]
        self._nodes = length_deciders(model)
        self._names = {value.name for node in self._nodes for value in node.outputs if value.name}
        self._feeds: list[Feed] = []
        self._before: list[Outputs] = []
        self._decisions: list[str] = []

    def decides(self, node: ir.Node) -> bool:
        """Whether values of a node, of the model or of a clone of it, decide lengths."""
        return any(value.name in self._names for value in node.outputs)

    def change(self, candidate: ir.Model) -> str:
        """How the lengths of the outputs, or what decides them, change on the samples; empty where they do not."""
        if not self._feeds:
            each = LENGTHS // max(len(self._samples), 1)
            self._feeds = [feed for samples in self._samples for feed in feeds_of(samples, each)]
            self._decisions = self._deciding()
            session = self._session(self._model)
            self._before = [session.run(feed) for feed in self._feeds]
        try:
            session = self._session(candidate)
            after = [session.run(feed) for feed in self._feeds]
        except (InputError, CheckFailed) as error:
            return f"the model does not run any more: {error.why or error.what}"
        return self._of_outputs(after) or self._of_decisions(after)

    def kept(
        self,
        chosen: Sequence[T],
        node_of: Callable[[T], ir.Node],
        build: Callable[[Sequence[T]], ir.Model],
    ) -> tuple[list[T], str]:
        """The changes of a model that leave the lengths of its outputs alone, by measurement.

        Where all together change a length, those of nodes that decide lengths go.

        Args:
            chosen: The changes.
            node_of: Whose values a change moves.
            build: Makes the model with some of them.

        Returns:
            What stays, and what changed with all of them; if it does without the deciding ones too, nothing stays.
        """
        rest = [each for each in chosen if not self.decides(node_of(each))]
        if len(rest) == len(chosen):
            return rest, ""
        reason = self.change(build(chosen))
        if not reason:
            return list(chosen), ""
        return ([] if rest and self.change(build(rest)) else rest), reason

    def _deciding(self) -> list[str]:
        """Names of the integers and booleans that the deciding nodes make of floats."""
        facts, found = infer_shapes(self._model), []

        def is_float(value: ir.Value | None) -> bool:
            dtype = None if value is None else facts.dtype(value)
            return dtype is not None and dtype.is_floating_point()

        for node in self._model.graph:
            if node in self._nodes and node.op_type not in RANKED and any(is_float(value) for value in node.inputs):
                kinds = [(value, facts.dtype(value)) for value in node.outputs if value.name]
                found += [value.name or "" for value, kind in kinds if kind is not None and not is_float(value)]
        return found

    def _session(self, model: ir.Model) -> Session:
        outputs = {value.name for value in model.graph.outputs}
        inner = named(model, [name for name in self._decisions if name not in outputs])
        return OnnxRuntime(self._threads).open(model, inner)

    def _of_outputs(self, after: Sequence[Outputs]) -> str:
        names = [value.name or "" for value in self._model.graph.outputs]
        found, count = "", 0
        for one, other in zip(self._before, after, strict=True):
            pairs = [(name, _shapes(one[name], name), _shapes(other[name], name)) for name in names]
            changed = next((each for each in pairs if each[1] != each[2]), None)
            if changed is not None:
                count += 1
                name, old, new = changed
                found = found or f"output {name!r} is {list(new[-1])} instead of {list(old[-1])}"
        return f"lengths change on {count} of {len(after)} samples ({found})" if count else ""

    def _of_decisions(self, after: Sequence[Outputs]) -> str:
        for name in self._decisions:
            changed = total = 0
            for one, other in zip(self._before, after, strict=True):
                if name in one and name in other:
                    a, b = np.asarray(one[name]), np.asarray(other[name])
                    total += a.size
                    changed += a.size if a.shape != b.shape else int(np.count_nonzero(a != b))
            if changed:
                return f"{changed:,} of {total:,} numbers of {name!r} change, which decides one"
        return ""


def _shapes(value: object, name: str) -> list[tuple[int, ...]]:
    return [np.shape(array) for _, array in flatten(value, name)]
