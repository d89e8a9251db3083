"""Reports in files: what is refused before the work, and what a page looks up in the models after it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim.api.convert import ConvertResult
from onnxslim.api.source import AnyModel, AnySamples, open_samples, open_source
from onnxslim.errors import InputError, OnnxSlimError
from onnxslim.execution import Feed, random_feeds
from onnxslim.graph.atomic import check_writable
from onnxslim.pipeline import get_pass
from onnxslim.report import Report, describe, machine
from onnxslim.report.layers import Layers
from onnxslim.report.report import form_of
from onnxslim.samples import feeds_of, typical
from onnxslim.version import versions

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.api.task import Task

FEEDS = 8
"""Inputs that are looked at, the most."""
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
    feeds: Sequence[Feed] = typical(task.evaluator.feeds, FEEDS) if task.evaluator.feeds else []
    compare = bool(feeds) and not any(isinstance(each, strip) for each in task.passes)
    return _inside(task.source.model, model, feeds if runs else None, compare=compare, threads=task.config.threads)


def save_conversion(path: str | os.PathLike[str], found: ConvertResult) -> None:
    """Writes the report of a conversion.

    Args:
        path: Where it goes.
        found: What `onnxslim.api.convert.convert` returned.
    """
    report = found.report
    Report(
        command="convert",
        decision="converted",
        input=describe(found.model, report.output or report.source, report.size),
        converted=report,
        parity=report.parity,
        evidence=report.parity.evidence,
        seconds=report.seconds,
        versions=versions(),
        machine=machine(),
    ).save(path)


def save_comparison(
    path: str | os.PathLike[str],
    command: str,
    decision: str,
    models: tuple[AnyModel, AnyModel],
    samples: AnySamples | None,
    *,
    threads: int,
    trust_data_dir: str | os.PathLike[str] | None = None,
    freeze_initializers: bool = False,
    **found: Any,
) -> None:
    """Writes the report of a verb that only looks at two models.

    Args:
        path: Where it goes.
        command: The verb.
        decision: What came of it.
        models: The reference, and the candidate.
        samples: Inputs; without them random ones tell the times.
        threads: Of the sessions.
        trust_data_dir: A folder outside the models' own in which their external data may lie.
        freeze_initializers: Whether initializers that are inputs too are constants.
        found: Further fields of the report.
    """
    how: dict[str, Any] = {"trust_data_dir": trust_data_dir, "freeze_initializers": freeze_initializers}
    first, second = (open_source(model, samples=samples, **how) for model in models)
    given = open_samples(samples, first.model)
    feeds = [] if given is None else typical(feeds_of(given, FEEDS), FEEDS)
    Report(
        command=command,
        decision=decision,
        input=first.facts,
        output=second.facts,
        layers=_inside(first.model, second.model, feeds, compare=bool(feeds), threads=threads),
        versions=versions(),
        machine=machine(),
        **found,
    ).save(path)


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
