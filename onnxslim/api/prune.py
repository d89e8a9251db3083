"""Remove whole channels of a model, and keep what it computes."""

from __future__ import annotations

import os
from typing import Any

from onnxslim.api.job import rewrite
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel
from onnxslim.api.task import divide
from onnxslim.pipeline import get_pass, make_pass


def prune(model: AnyModel, output: str | os.PathLike[str] | None = None, **options: Any) -> Result:
    """Removes channels from a model, after slimming it, and refits what reads them to what the original computed.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        options: ``samples`` (needed: a path, ``module:function`` or an iterable of ``Sample``), the other fields of
            `onnxslim.pipeline.RunConfig`, and the fields of the ``prune`` pass: ``ratio``, ``macs`` or ``speedup``
            says how much goes.

    Returns:
        The model and the report. Where the pruned model does not hold on samples that nothing was chosen by, the model
        is an earlier stage that does, and ``report.reason`` says which. Where no stage holds, and where the pruned
        model is larger or slower, the model is the slimmed one and ``report.decision`` is ``kept all channels``.

    Raises:
        InputError: The model, the samples or an option cannot be used.
        CheckFailed: A check failed, and no rewrite could be found whose refusal mends it.
    """
    settings, (own,) = divide("prune", options, "prune")
    passes = [get_pass("slim")(), make_pass(get_pass("prune"), own)]
    return rewrite("prune", model, output, passes, settings)
