"""A score under more error than there is: what few samples do not show shows there.

A candidate's score changes where its error crosses a decision: the margin between two classes, a threshold, the overlap
of two boxes. Where an error is small beside the margins, crossings are rare, and few samples show none although many
would. With the error made `FACTOR` times as large there are about as many more of them, as long as margins lie evenly
next to the decision; so the drop that is measured there, over the factor, estimates the drop that is there, with less
variance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from onnxslim.evaluation.compare import is_float
from onnxslim.evaluation.confidence import Drop, PairedMetric
from onnxslim.evaluation.remembered import Remembered
from onnxslim.execution.feeds import Feed, Outputs, Run

FACTOR = 3.0
"""By which errors are amplified: 9.5 dB."""


def amplified(reference: Run, run: Run, factor: float) -> Run:
    """A run whose float outputs differ so many times as much from the reference's; others are as they are."""

    def answer(feed: Feed) -> Outputs:
        wanted, found = reference(feed), run(feed)
        return {name: _beyond(wanted.get(name), value, factor) for name, value in found.items()}

    return answer


def _beyond(wanted: Any, found: Any, factor: float) -> Any:
    if not (isinstance(wanted, np.ndarray) and isinstance(found, np.ndarray)):
        return found
    if wanted.shape != found.shape or not is_float(found):
        return found
    with np.errstate(invalid="ignore", over="ignore"):
        made = wanted + factor * (found.astype(np.float64) - wanted)
    return np.where(np.isfinite(made), made, found).astype(found.dtype)


def bounded_drop(metric: PairedMetric, reference: Run, run: Run, memory: int) -> Drop:
    """The drop of a candidate, with a bound that looks at amplified errors where the metric sees them.

    Args:
        metric: Of the original.
        reference: Runs the original; outputs are best remembered.
        run: Runs the candidate.
        memory: Bytes of outputs that may be kept.

    Returns:
        The drop; its bound is no less than its value, not negative, and None where there are too few samples.

    Raises:
        InputError: The metric fails.
    """
    kept = Remembered(run, memory)
    here = metric.drop(kept)
    far = metric.drop(amplified(reference, kept, FACTOR))
    if here.bound is None or far.bound is None or (far.value == here.value != 0):  # it sees no floats
        return here
    # What a candidate gains on few samples is luck: it pays for nothing.
    return replace(here, bound=max(0.0, here.value, far.value / FACTOR) + (far.bound - far.value) / FACTOR)
