"""Reports in files: what is refused before the work, and what a page looks up in the models after it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim.errors import InputError, OnnxSlimError
from onnxslim.execution import Feed, random_feeds
from onnxslim.graph.atomic import check_writable
from onnxslim.pipeline import get_pass
from onnxslim.report import Report, describe, machine, versions
from onnxslim.report.layers import Layers
from onnxslim.report.report import form_of
from onnxslim.samples import typical

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.api.task import Task

NOT_RUN = "the models were not run: onnxruntime does not compare them"


def check_report(path: str | os.PathLike[str] | None, others: Mapping[str, Any], samples: object = None) -> None:
    """Refuses a report that could not be written: before the work, not after it.

    Args:
        path: Where it goes; None where none was asked for.
        others: What is read and written besides, by what it is called: the report must not replace it.
        samples: A folder of them takes no report, which would be a sample.

    Raises:
        InputError: The suffix is none of a report, or the path cannot be written or is taken.
        SetupError: A page needs jinja2.
    """
    if path is None:
        return
    where = os.fspath(path)
    if not isinstance(where, str) or where == "":
        raise InputError("report is no path", where=repr(where), mend="name a file")
    form_of(where)
    real = os.path.realpath(where)
    for name, other in others.items():
        if isinstance(other, str | os.PathLike) and os.path.realpath(other) == real:
            raise InputError(f"the report would replace the {name}", where=where, mend="name another file")
    folder = samples if isinstance(samples, str | os.PathLike) and os.path.isdir(samples) else None
    if folder is not None and Path(real).is_relative_to(os.path.realpath(folder)):
        raise InputError("the report would be a sample", where=where, mend="name a file outside the samples' folder")
    check_writable(where)


def layers_of(task: Task, model: ir.Model, *, runs: bool) -> Layers | None:
    """Both models layer by layer; None unless a report is to be written.

    Args:
        task: What the verb works on.
        model: The result.
        runs: Whether onnxruntime runs the models.
    """
    if task.config.report is None:
        return None
    task.config.progress("measure time and error layer by layer")
    strip = get_pass("strip")
    feeds: Sequence[Feed] = typical(task.evaluator.feeds, 8) if task.evaluator.feeds else []
    compare = bool(feeds) and not any(isinstance(each, strip) for each in task.passes)
    return _inside(task.source.model, model, feeds if runs else None, compare=compare, threads=task.config.threads)


def compared_report(
    command: str,
    decision: str,
    models: Sequence[tuple[str, ir.Model]],
    feeds: Sequence[Feed],
    *,
    compare: bool,
    threads: int,
    **found: Any,
) -> Report:
    """The report of a verb that only looks at two models.

    Args:
        command: The verb.
        decision: What came of it.
        models: Path and model of the reference and of the candidate.
        feeds: What both ran on.
        compare: Whether the feeds are samples.
        threads: Of the sessions.
        found: Further fields of the report.
    """
    (a, first), (b, second) = models
    return Report(
        command=command,
        decision=decision,
        input=describe(first, a),
        output=describe(second, b),
        layers=_inside(first, second, feeds, compare=compare, threads=threads),
        versions=versions(),
        machine=machine(),
        **found,
    )


def _inside(
    original: ir.Model, model: ir.Model, feeds: Sequence[Feed] | None, *, compare: bool, threads: int
) -> Layers:
    """Random inputs stand in for samples where there are none: they tell times, and no errors."""
    from onnxslim.report.gather import look_inside

    why = "" if feeds is not None else NOT_RUN
    if feeds is not None and not feeds:
        try:
            feeds = random_feeds(original, enough=1)
        except OnnxSlimError as error:
            why = f"the models were not run: {error}"
    layers = look_inside(original, model, feeds or [], compare=compare, threads=threads)
    return layers.noting(why) if why else layers
