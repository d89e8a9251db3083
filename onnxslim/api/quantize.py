"""Run a model's contractions in int8, where that is faster and still right."""

from __future__ import annotations

import os
from typing import Any

from onnxslim.api.job import rewrite
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel
from onnxslim.api.task import divide
from onnxslim.pipeline import get_pass, make_pass


def quantize(model: AnyModel, output: str | os.PathLike[str] | None = None, **options: Any) -> Result:
    """Quantizes a model to static int8 in QDQ form, after slimming it.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        options: ``samples`` (needed: a path, ``module:function`` or an iterable of ``Sample``), the other fields of
            `onnxslim.pipeline.RunConfig`, and the fields of the ``quantize`` pass.

    Returns:
        The model and the report. Where int8 is wrong, larger or slower, the model is the slimmed float one and
        ``report.decision`` is ``kept float``.

    Raises:
        InputError: The model, the samples or an option cannot be used.
        CheckFailed: A check failed, and no rewrite could be found whose refusal mends it.
    """
    settings, (own,) = divide("quantize", options, "quantize")
    passes = [get_pass("slim")(), make_pass(get_pass("quantize"), own)]
    return rewrite("quantize", model, output, passes, settings)
