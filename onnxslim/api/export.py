"""The step of an export script: from a model in its framework to a small ONNX file that was checked all the way."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from onnxslim.api.compress import compress
from onnxslim.api.convert import ConvertedFile, ConvertOptions, Folder
from onnxslim.api.result import Result
from onnxslim.api.slim import simplify
from onnxslim.api.source import given_as
from onnxslim.converters.checked import checked, first_of, inputs_for, report_on
from onnxslim.converters.local import LocalFramework, module_of
from onnxslim.errors import InputError
from onnxslim.graph.atomic import check_writable
from onnxslim.search.config import SEARCH_OPTIONS

if TYPE_CHECKING:
    from onnxslim.samples.sources import SampleSource

OF_EXPORT = frozenset({"opset", "dynamic", "exporter"})
"""Fields of `ConvertOptions` that say how a model in this process is exported."""


def export(
    model: Any,
    args: Any = None,
    output: str | os.PathLike[str] | None = None,
    *,
    samples: SampleSource | None = None,
    **options: Any,
) -> Result:
    """Exports a model of this process, compares the outputs, and makes the file small and fast.

    The framework's own exporter makes the graph, and its outputs are compared with onnxruntime's. Then the file is
    compressed where there are samples (`onnxslim.compress`), else slimmed. Nothing is written where a step fails. The
    model is left as it was.

    Args:
        model: A ``torch.nn.Module``, a fitted scikit-learn, LightGBM, XGBoost or CatBoost estimator, a Keras model.
        args: Example arguments: a tensor, a tuple of them, or a dict of keyword arguments. PyTorch needs them, unless
            there are samples.
        output: Where to write the result.
        samples: Representative inputs: whatever ``onnxslim.compress`` takes, a DataLoader say, or what
            ``onnxslim.record`` recorded.
        options: ``opset``, ``dynamic`` and ``exporter`` (see `onnxslim.api.convert.ConvertOptions`), and the options of
            ``onnxslim.compress`` where there are samples, else of ``onnxslim.api.slim.simplify``.

    Returns:
        The model and the report.

    Raises:
        InputError: The model, the samples or an option cannot be used.
        CheckFailed: The exporter failed, the file computes something else, or the result does not keep what it must.
        SetupError: A package is missing.
    """
    how = ConvertOptions.of({name: options.pop(name) for name in OF_EXPORT & options.keys()})
    searched = SEARCH_OPTIONS & options.keys()
    if samples is None and searched:
        raise InputError(
            f"{sorted(searched)[0]} needs samples",
            where="export",
            mend="give samples=: a loader, arrays, a folder, or what onnxslim.record recorded",
        )
    if output is not None:
        check_writable(output)
    made = exported_file(model, args, samples, how)
    with given_as(made):
        if samples is None:
            return simplify(made.path, output, **options)
        return compress(made.path, output, samples=samples, **options)


def exported_file(model: Any, args: Any, samples: SampleSource | None, how: ConvertOptions) -> ConvertedFile:
    """The exported file, compared with the framework."""
    started = time.perf_counter()
    kept = getattr(module_of(model), "kept", contextlib.nullcontext)
    folder = Folder()
    path = folder.model
    with kept(model):
        framework = LocalFramework(model, args, None if samples is None else first_of(samples))
        exporter, notes = framework.export(path, opset=how.opset, dynamic=how.axes, exporter=how.exporter)
        feeds, evidence = inputs_for(path, samples, framework.example)
        parity = checked(framework, path, feeds, evidence, how.axes, source=framework.source)
    report = report_on(
        framework, framework.source, exporter, parity, path, feeds, notes, seconds=time.perf_counter() - started
    )
    return ConvertedFile(folder, report)
