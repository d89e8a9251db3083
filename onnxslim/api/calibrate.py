"""Measure once what quantization needs to know of a model on samples, and keep it in a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from onnxslim import calibration
from onnxslim.api.source import AnyModel, AnySamples, Source, check_output, open_samples, open_source
from onnxslim.api.widening import widened
from onnxslim.calibration import Statistics
from onnxslim.errors import InputError
from onnxslim.execution import operators_from
from onnxslim.execution.ort import Libraries
from onnxslim.pipeline import Pipeline, RunConfig, get_pass
from onnxslim.samples import split


def calibrate(
    model: AnyModel,
    output: str | os.PathLike[str] | None = None,
    *,
    samples: AnySamples,
    all_samples: bool = False,
    memory: int = 1 << 30,
    threads: int = 1,
    trust_data_dir: str | os.PathLike[str] | None = None,
    custom_op_library: Libraries = (),
    freeze_initializers: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Statistics:
    """Measures the ranges of the activations of a model, as it is after slimming.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; it is not changed.
        output: Where to write the statistics, an ``.npz``.
        samples: A path, ``module:function`` or an iterable of ``Sample``.
        all_samples: Whether to measure on all of them. Otherwise the half is measured that `quantize` calibrates on,
            so that the other half can judge the result.
        memory: Bytes that statistics and exposed activations may take.
        threads: Threads of onnxruntime.
        trust_data_dir: A folder outside the model's own in which its external data may lie.
        custom_op_library: Path of a library of custom operators, or several.
        freeze_initializers: Whether initializers that are inputs too are constants, which no caller replaces. Up to IR
            version 3 they always are.
        progress: Called with a short text before a long step.

    Returns:
        The statistics, by fingerprint: they hold for every model in which the same subgraph makes a value.

    Raises:
        InputError: The model, the samples or the output cannot be used, or there is nothing to measure.
        CheckFailed: The model fails on a sample.
    """
    with operators_from(custom_op_library):
        how: dict[str, Any] = {"trust_data_dir": trust_data_dir, "freeze_initializers": freeze_initializers}
        source = open_source(model, samples=samples, **how)
        return _calibrate(source, output, samples, all_samples, memory, threads, progress)


def _calibrate(
    source: Source,
    output: str | os.PathLike[str] | None,
    samples: AnySamples,
    all_samples: bool,
    memory: int,
    threads: int,
    progress: Callable[[str], None],
) -> Statistics:
    check_output(source, output, in_place=False, others={"samples": samples})
    found = open_samples(samples, source.model)
    assert found is not None
    part = found if all_samples else split(found).calibration
    progress("slim")
    slimming = Pipeline([get_pass("slim")()], RunConfig(threads=threads), found)
    slimmed, _ = widened(slimming.run(source.model).model, slimming.run)
    requests = get_pass("quantize").requests(slimmed)
    if not requests:
        raise InputError(
            "there is nothing to calibrate",
            where=source.facts.path or "model",
            why="no node of it has an int8 kernel",
            mend="`onnxslim quantize --explain` lists the reasons",
        )
    statistics = calibration.collect(slimmed, part, requests, memory=memory, threads=threads, progress=progress)
    if output is not None:
        progress(f"write {os.fspath(output)}")
        statistics.save(output)
    return statistics
