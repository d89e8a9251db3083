"""Whole candidates measured on samples that nothing was calibrated with, and which of them is the best."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import Feed, rank_latency
from onnxslim.graph.edit import constant_tensor
from onnxslim.graph.walk import nodes
from onnxslim.pipeline import Context

AIM = 30.0
"""dB of the outputs that the search aims at where no metric is given: nearest neighbours of embeddings, the labels of
classifiers and the masks of detectors were measured to agree with float for 90 to 98 of 100 from there on."""
WORTH = 0.02
"""Share of the time that each dB below the aim must save."""
SIZE_WORTH = 0.1
"""Share of the time that all bytes of the weights are worth: int8 throughout, a quarter of them, is worth 7.5 %."""

NODE_BYTES = 90
"""Of a node in a file."""
NAME_BYTES = 35
"""Of a constant in a file beside its data: name, type and shape."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate that was built and measured."""

    keys: frozenset[str]
    speed: float
    """Time as a multiple of the float model's."""
    sqnr: float
    """dB of the worst output."""
    score: float | None
    """Of the user's metric."""
    size: float = 1.0
    """What counts for its bytes: of the weights, as a share of the float model's; 1 where they do not count."""
    bytes: float = 1.0
    """Bytes of a file as a share of the float model's."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Measures whole candidates on samples that nothing was calibrated with.

    Args:
        model: The float model.
        context: Its metric is asked, on samples to choose by.
        feeds: The first of these samples, to compare outputs and to time with.
    """

    model: ir.Model
    context: Context
    feeds: Sequence[Feed]

    def speeds(self, models: Sequence[ir.Model]) -> list[float]:
        """Time of each as a multiple of the float model's."""
        seconds = min(10.0, 1.2 * (1 + len(models)))
        return rank_latency(
            [self.model, *models],
            self.feeds[:4],
            seconds=seconds,
            threads=self.context.threads,
            config=self.context.target.session_config,
        )[1:]

    def fidelities(self, models: Iterable[ir.Model]) -> list[float]:
        """SQNR of the worst output of each, in dB; minus infinity where a model fails."""
        reference = Reference(self.model, list(self.feeds), tier=Tier.LOSSY, threads=os.cpu_count() or 1)
        return [reference.check(model).worst_sqnr for model in models]

    def score(self, model: ir.Model) -> float | None:
        """The metric of a model; None where there is none."""
        if self.context.metric is None:
            return None
        return self.context.score(model, self.context.target.session_config)


def best_of(
    candidates: Sequence[Scored], *, floor: float, score: float | None, max_drop: float
) -> tuple[Scored | None, str]:
    """The fastest that is good enough, or why there is none.

    Args:
        candidates: Measured ones.
        floor: dB under which none is good enough.
        score: The metric of the float model, where there is one: no more than ``max_drop`` may be lost of it.
        max_drop: In units of the metric.
    """
    if not candidates:
        return None, "onnxruntime forms no int8 kernel here"
    faster = [each for each in candidates if each.speed < 1]
    if not faster:
        best = min((each.speed for each in candidates), default=math.inf)
        return None, f"nothing beats float: the fastest int8 form runs at {1 / best:.2f}x its speed here"
    good = [each for each in faster if each.sqnr >= floor]
    if not good:
        best = max(each.sqnr for each in faster)
        return None, f"no int8 form that is faster keeps {floor:g} dB of the outputs: the best keeps {best:.1f} dB"
    if score is None:
        return min(good, key=lambda each: cost(each) * (1 + WORTH) ** max(0.0, AIM - each.sqnr)), ""
    kept = [each for each in good if each.score is not None and each.score >= score - max_drop]
    if not kept:
        best = max(each.score for each in good if each.score is not None)
        return None, f"no int8 form that is faster stays within {max_drop:g} of the score {score:.4f}: {best:.4f}"
    return min(kept, key=cost), ""


def stored_bytes(model: ir.Model) -> int:
    """About as many bytes as a file of the model has: its constants, and its nodes with their names."""
    constants = {value.name: value for value in model.graph.initializers.values()}
    constants |= {value.name: value for node in model.graph for value in node.outputs}
    tensors = [tensor for value in constants.values() if (tensor := constant_tensor(value)) is not None]
    return sum(tensor.nbytes + NAME_BYTES for tensor in tensors) + NODE_BYTES * sum(1 for _ in nodes(model))


def cost(each: Scored) -> float:
    """Its time, and what its bytes are worth."""
    return each.speed * (1 + SIZE_WORTH * each.size)
