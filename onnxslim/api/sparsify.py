"""Zeros and few values in the weights, and files that are smaller by them."""

from __future__ import annotations

import os
from typing import Any

from onnxslim.api.job import rewrite
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel
from onnxslim.api.task import divide
from onnxslim.errors import InputError
from onnxslim.pipeline import Pass, get_pass, make_pass


def sparsify(model: AnyModel, output: str | os.PathLike[str] | None = None, **options: Any) -> Result:
    """Makes weights zero or lets them have few values, after slimming the model, and stores them in fewer bytes.

    Without ``sparsity``, ``pattern``, ``values`` and ``metric`` no weight changes: what zeros and few values there are
    is stored in fewer bytes, exactly. onnxruntime makes all of it dense when it loads the file: neither memory nor
    latency is gained.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        options: ``encoding`` (``auto``, ``standard``, ``strict``, ``folded`` or ``dense``), ``samples`` (a path,
            ``module:function`` or an iterable of ``Sample``), the other fields of `onnxslim.pipeline.RunConfig`, and
            the fields of the ``sparsify`` pass.

    Returns:
        The model and the report. Where the sparse model is wrong or slower, the model is the slimmed one, encoded, and
        ``report.decision`` is ``kept all weights``.

    Raises:
        InputError: The model, the samples or an option cannot be used.
        CheckFailed: A check failed, and no rewrite could be found whose refusal mends it.
    """
    settings, (options, of_encode) = divide("sparsify", options, "sparsify", "encode")
    encode = make_pass(get_pass("encode"), of_encode)
    lossy = make_pass(get_pass("sparsify"), options)
    asked = any(getattr(lossy, name) != getattr(type(lossy)(), name) for name in ("sparsity", "pattern", "values"))
    if options and not asked and settings.metric is None:
        raise InputError(
            f"{', '.join(sorted(options))} alone changes no weight",
            mend="say what the weights shall become, with sparsity, pattern or values, or give a metric",
        )
    if "entries" in options and options.get("values") != "codebook":
        raise InputError("entries requires values=codebook", mend="give values=codebook too, or leave entries out")
    if options.get("by") in ("compensated", "activation") and settings.samples is None:
        raise InputError(f"by {options['by']} needs samples", mend="give samples, or leave it out: the smallest go")
    passes: list[Pass] = [get_pass("slim")()]
    if asked or settings.metric is not None:
        passes.append(lossy)
    return rewrite("sparsify", model, output, [*passes, encode], settings)
