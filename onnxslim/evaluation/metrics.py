"""Scores of a model on samples: ``metric(run, samples) -> float``, higher is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxslim.errors import InputError, OnnxSlimError, did_you_mean, failed
from onnxslim.evaluation.measure import Measure
from onnxslim.evaluation.parts import Part
from onnxslim.execution.feeds import Run
from onnxslim.samples.functions import import_function, is_function_name
from onnxslim.samples.sample import Metric, Sample


def top1(run: Run, samples: Iterable[Sample]) -> float:
    """Share of labels that the model finds, 0 to 1; see `answers` for what it compares.

    Raises:
        InputError: A sample has no label or one of another shape, or there are no samples.
    """
    hits = count = 0
    for found, label in answers(run, samples):
        hits += int((found == label).sum())
        count += found.size
    return hits / _some(count)


def answers(run: Run, samples: Iterable[Sample]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the model says of each sample and what its label says, as flat arrays of one size.

    A first output of integers or strings is the label itself, as classifiers of scikit-learn give it. Where it does
    not fit the labels, the scores behind it are asked: a tensor, or a map from class to probability for each row. A
    first output of floats holds the scores of the classes along its last axis.

    Raises:
        InputError: A sample has no label, or none that an output could answer.
    """
    for sample in samples:
        if sample.label is None:
            raise InputError(
                f"sample {sample.id!r} has no label",
                where="metric top1",
                mend="give --labels FILE, a folder for each class, .npz with the key __label__, or pairs (x, y)",
            )
        outputs: Mapping[str, Any] = run(sample.feed)
        label = _plain(np.asarray(sample.label))
        found = _answer(list(outputs.values()), label)
        if found is None:
            raise InputError(
                f"the label of sample {sample.id!r} is {label.dtype}[{label.size}]",
                where="metric top1",
                why=_answerable(next(iter(outputs.values()))),
                mend="give as many integers, counted along its last axis, or a metric of your own: module:function",
            )
        yield found, label


def _answer(outputs: Sequence[Any], label: np.ndarray) -> np.ndarray | None:
    """The answer of the first output; where that is a label that does not fit, of the first scores behind it."""
    for place, value in enumerate(outputs):
        found = chosen(value)
        if found is not None and found.size == label.size and _kind(found) == _kind(label):
            return found
        if place == 0 and isinstance(value, np.ndarray) and _kind(value) == "number":
            return None
    return None


def chosen(value: Any) -> np.ndarray | None:
    """What an output chooses at each position, flat; None where it chooses nothing.

    Integers, booleans and strings are choices themselves. Of scores the place of the largest along the last axis is the
    choice, of a list of maps the key of the largest. One score alone (a Sigmoid's) chooses nothing.

    >>> chosen(np.array([[0.1, 0.9], [0.8, 0.2]])), chosen([{3: 0.1, 5: 0.9}]), chosen(np.array([["cat"]], object))
    (array([1, 0]), array([5]), array(['cat'], dtype='<U3'))
    """
    if isinstance(value, list):
        maps = [each for each in value if isinstance(each, Mapping) and each]
        return np.asarray([max(each, key=each.__getitem__) for each in maps]) if len(maps) == len(value) > 0 else None
    if not isinstance(value, np.ndarray):
        return None
    if _kind(value) != "number":
        return _plain(value)
    if not value.ndim or value.shape[-1] < 2:
        return None
    found: np.ndarray = np.argmax(value, axis=-1).reshape(-1)
    return found


def _plain(array: np.ndarray) -> np.ndarray:
    """Flat, strings as numpy's own."""
    return array.reshape(-1).astype(str) if array.dtype.kind in "OSU" else array.reshape(-1)


def _kind(array: np.ndarray) -> str:
    return "text" if array.dtype.kind in "OSU" else "label" if array.dtype.kind in "iub" else "number"


def _answerable(first: Any) -> str:
    if isinstance(first, np.ndarray) and _kind(first) == "number" and (not first.ndim or first.shape[-1] < 2):
        return f"the first output is {first.dtype}{list(first.shape)}: one score has no largest"
    found = chosen(first)
    if found is None:
        return "the first output chooses no class"
    return f"the first output gives {found.size} positions to label" + (" with texts" if _kind(found) == "text" else "")


def sqnr(reference: Run, output: str | None = None) -> Metric:
    """Signal to noise against ``reference`` in dB, pooled over all samples; inf where equal.

    The signal is what varies, and of quantities that stand side by side the worst counts (`evaluation.measure`).
    A metric sees outputs only: where they saturate, parity, which looks before a Softmax, tells more.

    Args:
        reference: Runs the model to compare with.
        output: Name of the output; None means the first of scores.
    """

    def metric(run: Run, samples: Iterable[Sample]) -> float:
        pairs = list(_pairs(reference, run, samples, output))
        measure = Measure([Part(output or "")], [output or ""])
        for wanted, _ in pairs:
            measure.see([wanted])
        tally = measure.tally(brief=True)
        for wanted, found in pairs:
            tally.add([wanted], [found])  # None, where values decided another length: all of the sample is noise
        return min((each.sqnr_db for each in tally.fidelity([0])), default=-math.inf if tally.noisy else math.inf)

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
    """Share of positions where the output chooses the same (see `chosen`), 0 to 1; none where lengths differ."""

    def metric(run: Run, samples: Iterable[Sample]) -> float:
        hits = count = 0
        for sample in samples:
            both = [_output(each(sample.feed), output) for each in (reference, run)]
            wanted, found = map(chosen, both)
            if wanted is None or found is None:
                raise InputError("the output chooses nothing", where="metric agreement", why=_answerable(both[0]))
            if wanted.ndim != found.ndim:
                raise _misshapen(sample, found, wanted)
            hits += int((wanted == found).sum()) if wanted.shape == found.shape else 0
            count += wanted.size
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


RANGES: dict[str, tuple[float, float]] = {"top1": (0.0, 1.0), "cosine": (-1.0, 1.0), "agreement": (0.0, 1.0)}
"""Least and greatest value of the metrics that have them."""


def load_metric(name: str | Metric, *, reference: Run | None = None) -> Metric:
    """A metric by its name, or a user's own; the errors of that are named and its scores checked.

    Args:
        name: ``top1``, ``sqnr``, ``cosine``, ``agreement``, ``module:function``, or a function.
        reference: Runs the original model; needed by the metrics that compare with it.

    Raises:
        InputError: There is no such metric, or it needs a reference.
    """
    if not isinstance(name, str):
        return _guarded(name, getattr(name, "__qualname__", type(name).__qualname__))
    if name in LABELLED:
        return LABELLED[name]
    if name in RELATIVE:
        if reference is None:
            raise InputError(f"metric {name!r} compares with a reference model", mend="give one")
        return RELATIVE[name](reference, None)
    check_name(name)
    return _guarded(import_function(name, what="metric"), name)


def check_name(name: str) -> None:
    """Refuses a text that names no metric; whether a function exists is seen when it is imported.

    Raises:
        InputError: The message offers the nearest name.
    """
    known = [*LABELLED, *RELATIVE]
    if name not in known and not is_function_name(name):
        raise InputError(f"unknown metric {name!r}", mend=f"{did_you_mean(name, known)} or module:function")


def _guarded(function: Metric, name: str) -> Metric:
    def metric(run: Run, samples: Iterable[Sample]) -> float:
        try:
            score = function(run, samples)
        except OnnxSlimError:
            raise
        except (Exception, SystemExit) as error:  # a user's function may fail in any way
            raise failed("the metric failed", error, where=name, mend=CONTRACT) from error
        single = score.reshape(-1)[0] if isinstance(score, np.ndarray) and score.size == 1 else score
        try:
            if isinstance(single, str | bytes):
                raise TypeError("a text is no score, whatever it says")
            value = float(single)
        except Exception as error:  # a user's type may fail in any way, too
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
        wanted, found = (_numbers(each(sample.feed), output) for each in (reference, run))
        if wanted.ndim != found.ndim:
            raise _misshapen(sample, found, wanted)
        count += 1
        yield wanted, found if wanted.shape == found.shape else None
    _some(count)


def _misshapen(sample: Sample, found: np.ndarray, wanted: np.ndarray) -> InputError:
    return InputError(
        f"the outputs differ in shape on sample {sample.id!r}",
        why=f"{list(found.shape)} against {list(wanted.shape)} of the reference",
    )


def _output(outputs: Mapping[str, Any], name: str | None) -> Any:
    if name is None:
        return next(iter(outputs.values()))
    if name not in outputs:
        raise InputError(f"the model has no output {name!r}", mend=did_you_mean(name, outputs))
    return outputs[name]


def _numbers(outputs: Mapping[str, Any], name: str | None) -> np.ndarray:
    """An output as ``float64``; without a name the first of scores, since a label has no distance to another."""
    value = _output(outputs, name)
    if name is None:
        value = next((v for v in outputs.values() if isinstance(v, list) or _kind(np.asarray(v)) == "number"), value)
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        value = np.asarray([list(each.values()) for each in value])  # the scores of each row by class
    if not isinstance(value, np.ndarray) or _kind(value) == "text":
        raise InputError("the output holds no numbers", mend="give a metric of your own: module:function")
    return value.astype(np.float64)


def _some(count: int) -> int:
    if count == 0:
        raise InputError("there are no samples to score")
    return count
