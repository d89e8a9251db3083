"""How well does one model do its task?"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from onnxslim import execution
from onnxslim.api.source import AnyModel, AnySamples, open_samples, open_source
from onnxslim.errors import InputError
from onnxslim.evaluation.check import Check, score_check
from onnxslim.evaluation.confidence import Estimate, estimate
from onnxslim.evaluation.metrics import RANGES, RELATIVE, check_name, load_metric
from onnxslim.evaluation.remembered import Remembered
from onnxslim.execution.ort import Libraries
from onnxslim.pipeline.config import MEMORY

if TYPE_CHECKING:
    from onnxslim.samples import Metric

CONFIDENCE = 0.95
"""Of the interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Estimate):
    """A model's score on samples, with its interval.

    Attributes:
        metric: Its name; empty where it was given as a function.
        check: ``min_score`` beside the score; None where it was not given.
    """

    metric: str = ""
    check: Check | None = None

    @property
    def passed(self) -> bool:
        """Whether the score is ``min_score`` or more."""
        return self.check is None or self.check.holds

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        """The score, its interval and what it was taken on."""
        on = f"{self.samples:,} sample{'s' * (self.samples != 1)}"
        interval = f"no interval: {self.why}"
        if self.low is not None and self.high is not None:
            interval = f"{100 * self.confidence:g} % interval {self.low:.4g} to {self.high:.4g}"
        return f"{self.metric or 'score'}: {self.value:.4g} on {on} ({interval})"


def score(
    model: AnyModel,
    *,
    metric: Metric | str,
    samples: AnySamples,
    labels: str | os.PathLike[str] | None = None,
    reference: AnyModel | None = None,
    min_score: float | None = None,
    confidence: float = CONFIDENCE,
    threads: int = 1,
    trust_data_dir: str | os.PathLike[str] | None = None,
    custom_op_library: Libraries = (),
    freeze_initializers: bool = False,
) -> Score:
    """Takes a metric of one model on all samples.

    Args:
        model: The model.
        metric: ``top1``, ``module:function`` or a function of ``(run, samples)``, higher is better; with a reference
            also ``sqnr``, ``cosine`` and ``agreement``.
        samples: What it is scored on.
        labels: A file with the samples' labels.
        reference: The model that ``sqnr``, ``cosine`` and ``agreement`` compare with.
        min_score: The least that the score may be: ``passed`` says whether it is.
        confidence: Of the interval.
        threads: Threads of the sessions.
        trust_data_dir: A folder outside the models' own in which their external data may lie.
        custom_op_library: Path of a library of custom operators, or several.
        freeze_initializers: Whether initializers that are inputs too are constants, which no caller replaces. Up to IR
            version 3 they always are.

    Returns:
        The score with its interval, which a jackknife over groups of samples gives.

    Raises:
        InputError: The model, the samples or the metric cannot be used, or a reference is missing or has no use.
    """
    name = metric if isinstance(metric, str) else ""
    if name:
        check_name(name)
    if name in RELATIVE and reference is None:
        raise InputError(
            f"metric {name!r} compares with a reference model",
            mend="give one with --reference (reference=), or a metric that looks at labels",
        )
    if reference is not None and name not in RELATIVE:
        raise InputError(
            f"metric {name or 'of your own'!r} has no use for a reference",
            mend=f"leave it out, or take one of {', '.join(RELATIVE)}",
        )
    if min_score is not None and math.isnan(min_score):
        raise InputError("min_score is not a number", mend="give a score of the metric")
    with execution.operators_from(custom_op_library):
        how: dict[str, Any] = {"trust_data_dir": trust_data_dir, "freeze_initializers": freeze_initializers}
        first, *others = (
            open_source(each, samples=samples, **how).model for each in (model, reference) if each is not None
        )
        runs = [execution.open_session(each, threads=threads).run for each in (first, *others)]
        found = open_samples(samples, first, labels)
        assert found is not None
        compared = Remembered(runs[1], MEMORY // 4) if others else None
        made = estimate(load_metric(metric, reference=compared), runs[0], found, confidence=confidence)
    low, high = made.low, made.high
    least, greatest = RANGES.get(name, (-math.inf, math.inf))
    own = {each.name: getattr(made, each.name) for each in fields(made)}
    own |= {"low": None if low is None else max(low, least), "high": None if high is None else min(high, greatest)}
    return Score(**own, metric=name, check=None if min_score is None else score_check(made.value, min_score, low, high))
