"""Groups built into a model and looked up in the graph that onnxruntime makes of it: what became no kernel goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from onnxslim.calibration import Histogram
from onnxslim.evaluation import Lengths
from onnxslim.execution import Target, optimized_graph
from onnxslim.pipeline import Context

from .bias import Means
from .estimate import name_nodes
from .group import Int8Group, rebound, with_bias
from .qdq import Built, unfused
from .rounding import NEAREST, Rounding
from .tensors import Span

LEGALISE_ROUNDS = 8
"""Taking one group out can unfuse a neighbour; in practice the second round finds nothing."""


class Int8Options(Protocol):
    """The pass, as the search sees it: its options, and how it builds a model."""

    @property
    def ranges(self) -> str:
        """How the range of an activation is chosen."""

    @property
    def rounding(self) -> str:
        """How weights are rounded."""

    @property
    def correct_bias(self) -> bool:
        """Whether biases are corrected."""

    @property
    def per_tensor(self) -> bool:
        """Whether a weight has one scale."""

    @property
    def search(self) -> bool:
        """Whether nodes are chosen by measured time and error."""

    @property
    def weigh_bytes(self) -> bool:
        """Whether bytes that are saved count as time."""

    @property
    def keep_slow(self) -> bool:
        """Whether slow kernels are kept."""

    def span(self, histogram: Histogram) -> Span:
        """The range that the rule of ``ranges`` gives."""

    def build(
        self,
        groups: Sequence[Int8Group],
        model: ir.Model,
        spans: Mapping[str, Span],
        means: Means,
        rounding: Rounding,
        target: Target,
    ) -> Built:
        """Puts groups of a model into int8, in place."""


@dataclass(eq=False)
class Kernels:
    """Builds int8 forms of one model.

    Args:
        options: The pass.
        model: The float model, opset 13 or newer; not changed.
        context: Of the pass.
        means: Of the activations, to correct biases by.
        rounding: Of the weights.
        reasons: Key of a group -> why it was left out.
    """

    options: Int8Options
    model: ir.Model
    context: Context
    means: Means = field(default_factory=dict)
    rounding: Rounding = NEAREST
    reasons: dict[str, str] = field(default_factory=dict)

    def legal(self, groups: Sequence[Int8Group], spans: Mapping[str, Span]) -> tuple[list[Int8Group], Built | None]:
        """The groups that become int8 kernels, found by building them on a clone, and what was built last."""
        kept = list(groups)
        for _ in range(LEGALISE_ROUNDS):
            if not kept:
                break
            trial = self.model.clone()
            name_nodes(trial)
            built = self.options.build(
                rebound(trial, kept), trial, spans, self.means, self.rounding, self.context.target
            )
            reasons = unfused(optimized_graph(trial, config=self.context.target.session_config), built)
            if not reasons:
                return kept, built
            biased = {group.key: with_bias(group) for group in kept if group.key in reasons}
            self.reasons |= {key: reason for key, reason in reasons.items() if biased[key] is None}
            kept = [each for group in kept if (each := biased.get(group.key, group)) is not None]
        return [], None

    def of_equal_lengths(
        self, legal: list[Int8Group], built: Built | None, spans: Mapping[str, Span]
    ) -> tuple[list[Int8Group], Built | None]:
        """Without the groups whose values decide lengths of the outputs, if those change with them."""
        lengths = Lengths(self.model, (self.context.samples, self.context.selection), self.context.threads)

        def build(some: Sequence[Int8Group]) -> ir.Model:
            made = self.legal(some, spans)[1]
            return self.model if made is None else made.model

        if built is None:
            return legal, built
        kept, reason = lengths.kept(legal, lambda each: each.node, build)
        if len(kept) == len(legal):
            return legal, built
        self.reasons |= {each.key: f"its values decide a length: {reason}" for each in legal if each not in kept}
        return self.legal(kept, spans)
