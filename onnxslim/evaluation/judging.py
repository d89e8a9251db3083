"""Which tensors of an original and of a candidate are compared, and what comes of it at the lossy tier."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import onnx_ir as ir

from onnxslim.evaluation.extents import extents_of
from onnxslim.evaluation.findings import Findings
from onnxslim.evaluation.measure import Measure, Tally
from onnxslim.evaluation.parts import Leaf, Part, find, leaves_of, twins_of
from onnxslim.execution.feeds import Feed, Outputs


class Judging:
    """The original's side: its parts and what varies in them.

    Args:
        model: The original; None where nothing is measured.
    """

    def __init__(self, model: ir.Model | None) -> None:
        self._model = model
        self.leaves = [] if model is None else leaves_of(model)
        self._own = {leaf.part for leaf in self.leaves}
        self._outputs: list[str] = []
        self.measure = Measure([], [])

    def bind(self, names: Sequence[str], outputs: Sequence[str]) -> None:
        """Takes the tensors of the parts, as a session shows them, and the names of the outputs.

        Each output stands by as a whole, for a candidate without its parts.
        """
        if self._model is None:
            return
        self._outputs = list(outputs)
        parts = dict(zip((leaf.part for leaf in self.leaves), names, strict=False))
        parts |= {Part(name): name for name in outputs}
        self.measure = Measure(list(parts), list(parts.values()))

    def see(self, feed: Feed, outputs: Outputs, threads: int) -> None:
        """Takes in what the original made of a feed."""
        if self._model is None:
            return
        if not self.measure.seen:
            self.measure.extents = extents_of(self._model, feed, threads)
        self.measure.see([outputs.get(name) for name in self.measure.names])

    def candidate(self, model: ir.Model) -> list[Leaf]:
        """Where a candidate has the parts: by the way from the output, else by the tensor's name."""
        parts = self.measure.parts
        found = []
        for part, name, leaf in zip(parts, self.measure.names, twins_of(parts, model), strict=True):
            twin = leaf or find(model, name, part)
            if twin is not None:
                found.append(twin)
        return found

    def judge(self, tally: Tally, known: AbstractSet[Part], unstable: AbstractSet[str], found: Findings) -> None:
        """Takes in what was measured: an output part by part where the candidate has all of its parts.

        Args:
            tally: Of the candidate.
            known: The parts that it has.
            unstable: Outputs that are not compared.
            found: Of the check.
        """
        places: list[int] = []
        parts = self.measure.parts
        for output in self._outputs:
            if output in unstable:
                continue
            own = [i for i, part in enumerate(parts) if part.output == output and part in self._own]
            lost = [i for i in own if parts[i] not in known or i in tally.uneven]
            whole = parts.index(Part(output))
            if whole in tally.uneven:  # values decide its length
                found.notes.append(f"output {output!r} is measured on the feeds on which its length is the same")
            elif any(parts[i].path for i in lost):
                found.notes.append(
                    f"output {output!r} is compared as a whole: the candidate computes its parts in another way"
                )
                own = [whole]
            places += own
        found.fidelity = tally.fidelity(places)
        found.notes += tally.notes(places)
