"""What the original itself makes of the samples: the first evidence of labels or preprocessing that are wrong.

A drop from a meaningless score means nothing. So before any lossy pass runs, three questions are asked of the original:
is it better than chance, could the labels tell, and do its outputs follow its inputs at all?

Long because the three questions share one reading of the samples, and each names what to mend.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from onnxslim import execution
from onnxslim.errors import CheckFailed, InputError
from onnxslim.evaluation.chance import chance_of, is_chance, shuffled
from onnxslim.evaluation.metrics import LABELLED, RELATIVE, answers, load_metric
from onnxslim.evaluation.scoring import score_of_run
from onnxslim.graph.walk import holds_graphs
from onnxslim.samples import Sample
from onnxslim.samples.labels import class_labels, class_names

if TYPE_CHECKING:
    from onnxslim.execution import Feed, Run
    from onnxslim.samples import Metric, Split

ENOUGH, MOST = 16, 64
"""Samples that the score is judged on: the first of those that judge the result, and others up to `ENOUGH`."""
HARDLY, STILL = 1e-2, 1e-3
"""Changes of an output over the samples, as a share of its magnitude, that are suspicious, and that are none.

Of 20 models of the zoo the outputs change by .11 at least; with inputs 255 times too small, by .02 at most on nine."""
COMPARED, MOST_COMPARED = 8, 16
"""Samples that are run to see what changes where no metric runs them, and those that are looked at, at most."""
LEAST = 4
"""Samples below which nothing is said of what does not change."""
LEAST_LABELS = 8
"""Labels of one class below which it may be an accident."""
MOST_FOLDERS = 10
"""Class folders that a doubt names."""
CHECK = "check labels and preprocessing"
CHECK_INPUTS = "check the preprocessing: scale, layout, order of the channels"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that is wrong with the original on the samples.

    Attributes:
        what: What was seen.
        mend: What to look at.
        fatal: Whether a drop of the score means nothing then.
    """

    what: str
    mend: str
    fatal: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.mend}"


def evidence(
    model: ir.Model,
    parts: Split,
    metric: Metric | None,
    *,
    labelled: bool,
    threads: int = 1,
    memory: int = 1 << 30,
) -> tuple[float | None, list[Doubt]]:
    """The original's score on the report part, and what makes its outputs, its labels or the score doubtful.

    Where a metric runs the original, nothing else does, save on some samples more where the report part has few.

    Args:
        model: The original.
        parts: The samples.
        metric: What scores it; None where nothing does.
        labelled: Whether the metric is `top1`, whose hits can be counted.
        threads: Of the session.
        memory: Bytes of samples and outputs that may be held.

    Raises:
        InputError: The metric fails, or has nothing to score.
    """
    seen = _Seen(execution.open_session(model, threads=threads).run, parts, memory)
    score = score_of_run(metric, seen.run, seen) if metric is not None else None
    seen.fill(COMPARED if metric is None else ENOUGH)
    found = _still(model, [seen.run(sample.feed) for sample in seen.held[:MOST_COMPARED]])
    if metric is None or score is None:
        return score, found
    folders = _folders(parts, seen.held)
    check = CHECK + _which(folders)
    scored = f"the original scores {score:.4g} on these samples, no better than"
    labels = [sample.label for sample in seen.held if sample.label is not None]
    if labelled:
        pairs = list(answers(seen.run, seen.held))
        found += one_class([label for _, label in pairs], folders)
        chance = chance_of(pairs)
        hits = round(sum(float((answer == label).mean()) for answer, label in pairs if label.size))
        if is_chance(hits, len(pairs), chance):
            found.append(Doubt(f"{scored} chance ({chance:.2g})", check, True))
    elif labels:
        if all(isinstance(label, int | str | np.integer) for label in labels):
            found += [replace(doubt, fatal=False) for doubt in one_class(list(map(np.asarray, labels)), folders)]
        typical = shuffled(metric, seen.run, seen.held)
        if typical is not None:
            found.append(Doubt(f"{scored} with the labels shuffled ({typical:.4g})", check, True))
    return score, found


class _Seen:
    """The report part, and what the original makes of its first samples: they are held as they pass.

    Args:
        run: Runs the original.
        parts: The samples.
        memory: Bytes that may be held.

    Attributes:
        held: Samples whose outputs are known.
    """

    def __init__(self, run: Run, parts: Split, memory: int) -> None:
        self._run, self._parts, self._memory = run, parts, memory
        self._passing: dict[int, Sample] = {}
        self._known: dict[int, Mapping[str, Any]] = {}

    @property
    def held(self) -> list[Sample]:
        return [sample for key, sample in self._passing.items() if key in self._known]

    def __len__(self) -> int:
        return len(self._parts.report)

    def __iter__(self) -> Iterator[Sample]:
        ids = {sample.id: sample for sample in self._passing.values()}
        for sample in self._parts.report:
            mine = ids.get(sample.id, sample)
            if len(self._passing) < MOST and self._memory > 0:
                self._passing[id(mine.feed)] = mine
            yield mine

    def run(self, feed: Feed) -> dict[str, Any]:
        """The original; what is held is not run again."""
        key = id(feed)
        outputs: Mapping[str, Any] | None = self._known.get(key)
        if outputs is None:
            outputs = self._run(feed)
            if key in self._passing:
                self._known[key] = _copied(outputs)
                self._memory -= sum(
                    each.nbytes for each in (*feed.values(), *outputs.values()) if isinstance(each, np.ndarray)
                )
            return dict(outputs)
        return _copied(outputs)

    def fill(self, count: int) -> None:
        """Holds so many samples at least, if there are: first of the report part, then of the others."""
        for sample in itertools.chain(self, self._parts.selection, self._parts.calibration):
            if len(self._known) >= count or (self._memory < 0 and self._known):
                return
            self._passing.setdefault(id(sample.feed), sample)
            try:
                self.run(sample.feed)
            except (InputError, CheckFailed):
                continue  # what does not run is told of where outputs are compared


def _copied(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """A metric may change what it is given."""
    return {name: array.copy() if isinstance(array, np.ndarray) else array for name, array in outputs.items()}


def _folders(parts: Split, held: Sequence[Sample]) -> dict[int, str]:
    """The folder of each label; empty where the labels are not those of folders, or are their very names."""
    ids = sorted(name for part in (parts.calibration, parts.selection, parts.report) for name in part.ids)
    numbers = dict(zip(ids, class_labels(ids) or [], strict=False))
    of_folders = bool(numbers) and all(isinstance(each.label, int) and numbers[each.id] == each.label for each in held)
    names = class_names(ids) if of_folders else {}
    return {} if all(name.isdecimal() for name in names.values()) else names


def _which(folders: Mapping[int, str]) -> str:
    """Which label is which folder: a model that counts its classes in another order is at chance."""
    if not folders:
        return ""
    shown = ", ".join(f"{label} is {name!r}" for label, name in itertools.islice(folders.items(), MOST_FOLDERS))
    more = f", ... ({len(folders) - MOST_FOLDERS} more)" if len(folders) > MOST_FOLDERS else ""
    return f" (labels are the sorted folders: {shown}{more}; give labels in a file where the model counts otherwise)"


def one_class(labels: Sequence[np.ndarray], folders: Mapping[int, str] | None = None) -> list[Doubt]:
    """A doubt where all labels, of any shape, are of a single class, whose folder is named where it has one."""
    if len(labels) < LEAST or not all(label.size for label in labels):
        return []
    values = {value for label in labels for value in np.unique(label).tolist()}
    if len(values) > 1:
        return []
    value = next(iter(values))
    folder = (folders or {}).get(value)
    what = f"all {len(labels)} labels are {value!r}" + (f" (the folder {folder!r})" if folder is not None else "")
    mend = "add samples of other classes, since a model that always answers this one would have the best score"
    return [Doubt(what, mend, len(labels) >= LEAST_LABELS)]


# -- outputs -----------------------------------------------------------------------------------------------------------


def _still(model: ir.Model, outputs: Sequence[Mapping[str, Any]]) -> list[Doubt]:
    """Doubts where outputs do not follow the inputs."""
    if len(outputs) < LEAST:
        return []
    moving = {value.name or "" for value in model.graph.outputs if _follows(value)}
    changes = {name: change_of([each[name] for each in outputs]) for name in outputs[0] if name in moving}
    judged = {name: change for name, change in changes.items() if change is not None}
    floats = [name for name in judged if outputs[0][name].dtype.kind not in "iubOSU"]
    dead = all(not change >= STILL for change in judged.values())
    # A choice may be the same by chance: where there are scores, they tell more.
    found = []
    for name in floats or judged:
        change = judged[name]
        if math.isnan(change):
            found.append(f"output {name!r} of the original is NaN or infinite on all {len(outputs)} samples")
        elif change == 0:
            found.append(f"output {name!r} of the original does not change over {len(outputs)} samples")
        elif change < HARDLY:
            share = f"{100 * change:.1g} %" if change >= STILL else f"less than {100 * STILL:g} %"
            found.append(
                f"output {name!r} of the original changes by {share} of its magnitude over {len(outputs)} samples"
            )
    return [Doubt(what, CHECK_INPUTS, dead) for what in found]


def change_of(values: Sequence[Any]) -> float | None:
    """How far an output changes over samples: the deviation as a share of the magnitude.

    Of what is no float: 1 where any two differ, else 0. NaN where nothing is finite; None where there is nothing to
    compare.

    >>> [change_of([np.array([x]), np.array([y])]) for x, y in ((1.0, 1.0), (1.0, -1.0), (1, 2))]
    [0.0, 1.0, 1.0]
    """
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if len(arrays) < len(values) or not any(array.size for array in arrays):
        return None
    if len({array.shape for array in arrays}) > 1:
        return 1.0
    if arrays[0].dtype.kind in "iubOSU":
        return float(any(not np.array_equal(arrays[0], array) for array in arrays[1:]))
    total, squares, finite = np.zeros(arrays[0].shape), 0.0, False
    with np.errstate(over="ignore"):
        for array in arrays:
            wide = array.astype(np.float64)
            known = np.isfinite(wide)
            finite |= bool(known.any())
            total += np.where(known, wide, 0.0)
            squares += float(np.square(wide, where=known, out=np.zeros(wide.shape)).sum())
        kept = float(np.square(total).sum()) / len(arrays)
    if not finite:
        return math.nan
    if not math.isfinite(squares):
        return None  # doubles beyond what their squares can be held in
    return math.sqrt(max(0.0, 1 - kept / squares)) if squares else 0.0


def _follows(output: ir.Value) -> bool:
    """Whether an output is computed from values of inputs, and not from constants and shapes alone."""
    seen: set[ir.Value] = set()
    left = [output]
    while left:
        value = left.pop()
        node = value.producer()
        if node is None:
            if value.is_graph_input():
                return True
            continue
        if node.op_type in ("Shape", "Size") and node.domain in ("", "ai.onnx"):
            continue
        if holds_graphs(node):
            return True  # what a body reads is not followed up
        for each in node.inputs:
            if each is not None and each not in seen:
                seen.add(each)
                left.append(each)
    return False


def is_labelled(metric: Metric | str | None) -> bool:
    """Whether a metric counts hits among labels, by its name or itself."""
    return metric in LABELLED if isinstance(metric, str) else any(metric is each for each in LABELLED.values())


def named_metric(metric: Metric | str, model: ir.Model, threads: int) -> Metric:
    """The metric that a caller means, by a name or as a function.

    Raises:
        InputError: There is no such metric, or it cannot be imported.
    """
    relative = isinstance(metric, str) and metric in RELATIVE
    return load_metric(metric, reference=execution.open_session(model, threads=threads).run if relative else None)
