"""Scores of a model on samples: ``metric(run, samples) -> float``, higher is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from onnxslim.calibration.functions import import_function, is_function_name, told
from onnxslim.calibration.sample import Metric, Sample
from onnxslim.errors import InputError, OnnxSlimError, did_you_mean
from onnxslim.runtime.feeds import Outputs, Run


def top1(run: Run, samples: Iterable[Sample]) -> float:
    """Share of labels that the last axis of the first output agrees with; 0 to 1.

    A label is an integer, or an array of integers of the output's leading shape.

    Raises:
        InputError: A sample has no label or one of another shape, or there are no samples.
    """
    hits = count = 0
    for sample in samples:
        if sample.label is None:
            raise InputError(
                f"sample {sample.id!r} has no label",
                where="metric top1",
                mend="give samples as .npz with the key __label__, or as Sample(id, feed, label); images have none",
            )
        found = np.argmax(_output(run(sample.feed), None), axis=-1).reshape(-1)
        label = np.asarray(sample.label).reshape(-1)
        if label.dtype.kind not in "iu" or label.size != found.size:
            raise InputError(
                f"the label of sample {sample.id!r} is {label.dtype}[{label.size}]",
                where="metric top1",
                why=f"the first output gives {found.size} positions to label",
                mend="give that many integers, counted along its last axis, or a metric of your own: module:function",
            )
        hits += int((found == label).sum())
        count += found.size
    return hits / _some(count)


def sqnr(reference: Run, output: str | None = None) -> Metric:
    """Signal to quantization noise against ``reference`` in dB, powers pooled over all samples; inf where equal.

    Take it on logits: after a Softmax it means nothing, since saturation hides the error. Where values decide another
    length of the output, all of the sample is noise.

    Args:
        reference: Runs the model to compare with.
        output: Name of the output; None means the first.
    """

    def metric(run: Run, samples: Iterable[Sample]) -> float:
        signal = noise = 0.0
        for wanted, found in _pairs(reference, run, samples, output):
            signal += float(np.square(wanted).sum())
            noise += float(np.square(wanted if found is None else wanted - found).sum())
        if noise == 0:
            return math.inf
        if not math.isfinite(noise):  # the model under test gives NaN or Inf
            return -math.inf
        return 10 * math.log10(signal / noise) if signal else -math.inf

    return metric


def cosine(reference: Run, output: str | None = None) -> Metric:
    """Mean cosine between the outputs of each sample, -1 to 1; 0 where lengths differ. Two zero outputs agree."""

    def metric(run: Run, samples: Iterable[Sample]) -> float:
        values = []
        for wanted, found in _pairs(reference, run, samples, output):
            if found is None:
                values.append(0.0)
                continue
            norms = float(np.linalg.norm(wanted) * np.linalg.norm(found))
            same = float(np.array_equal(wanted, found))
            values.append(float(np.vdot(wanted, found)) / norms if norms else same)
        return math.fsum(values) / len(values)

    return metric


def agreement(reference: Run, output: str | None = None) -> Metric:
    """Share of positions where the largest entry of the last axis is the same, 0 to 1; none where lengths differ."""

    def metric(run: Run, samples: Iterable[Sample]) -> float:
        hits = count = 0
        for wanted, found in _pairs(reference, run, samples, output):
            best = np.argmax(np.atleast_1d(wanted), axis=-1)
            hits += 0 if found is None else int(np.sum(best == np.argmax(np.atleast_1d(found), axis=-1)))
            count += np.size(best)
        return hits / _some(count)

    return metric


CONTRACT = (
    "write it as metric(run, samples) -> float, higher is better: run(sample.feed) gives the outputs by name, "
    "sample.label what __label__ holds"
)
"""What a message about a user's metric ends with."""
LABELLED: dict[str, Metric] = {"top1": top1}
"""Metrics that compare with labels."""
RELATIVE: dict[str, Callable[[Run, str | None], Metric]] = {"sqnr": sqnr, "cosine": cosine, "agreement": agreement}
"""Metrics that compare with a reference run; each makes a metric from it."""


def load_metric(name: str, *, reference: Run | None = None) -> Metric:
    """A metric by its name, or a user's own as ``module:function``; its errors are named and its scores checked.

    Args:
        name: ``top1``, ``sqnr``, ``cosine``, ``agreement`` or ``module:function``.
        reference: Runs the original model; needed by the metrics that compare with it.

    Raises:
        InputError: There is no such metric, or it needs a reference.
    """
    if name in LABELLED:
        return LABELLED[name]
    if name in RELATIVE:
        if reference is None:
            raise InputError(f"metric {name!r} compares with a reference model", mend="give one")
        return RELATIVE[name](reference, None)
    if not is_function_name(name):
        known = [*LABELLED, *RELATIVE]
        raise InputError(f"unknown metric {name!r}", mend=f"{did_you_mean(name, known)} or module:function")
    return _guarded(import_function(name, what="metric"), name)


def _guarded(function: Metric, name: str) -> Metric:
    def metric(run: Run, samples: Iterable[Sample]) -> float:
        try:
            score = function(run, samples)
        except OnnxSlimError:
            raise
        except Exception as error:  # a user's function may fail in any way
            raise InputError("the metric failed", where=name, why=told(error), mend=CONTRACT) from error
        try:
            value = float(score)
        except (TypeError, ValueError) as error:
            raise InputError(f"the metric returned a {type(score).__name__}", where=name, mend=CONTRACT) from error
        if math.isnan(value):
            raise InputError("the metric returned NaN", where=name, mend=CONTRACT)
        return value

    return metric


def _pairs(
    reference: Run, run: Run, samples: Iterable[Sample], output: str | None
) -> Iterable[tuple[np.ndarray, np.ndarray | None]]:
    """Both outputs of each sample; None for the second where values decided another length of it."""
    count = 0
    for sample in samples:
        wanted = _output(reference(sample.feed), output).astype(np.float64)
        found = _output(run(sample.feed), output).astype(np.float64)
        if wanted.ndim != found.ndim:
            raise InputError(
                f"the outputs differ in shape on sample {sample.id!r}",
                why=f"{list(found.shape)} against {list(wanted.shape)} of the reference",
            )
        count += 1
        yield wanted, found if wanted.shape == found.shape else None
    _some(count)


def _output(outputs: Outputs, name: str | None) -> np.ndarray:
    if name is None:
        return next(iter(outputs.values()))
    if name not in outputs:
        raise InputError(f"the model has no output {name!r}", mend=did_you_mean(name, outputs))
    return outputs[name]


def _some(count: int) -> int:
    if count == 0:
        raise InputError("there are no samples to score")
    return count
