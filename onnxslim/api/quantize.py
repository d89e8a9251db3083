"""Run a model's contractions in int8, where that is faster and still right."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from onnxslim.api.job import rewrite
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel
from onnxslim.api.task import divide
from onnxslim.errors import InputError
from onnxslim.pipeline import Pass, get_pass, make_pass
from onnxslim.pipeline.config import Ops


def quantize(model: AnyModel, output: str | os.PathLike[str] | None = None, **options: Any) -> Result:
    """Quantizes a model to static int8 in QDQ form, after slimming it.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        options: ``samples`` (needed: a path, ``module:function`` or an iterable of ``Sample``), the other fields of
            `onnxslim.pipeline.RunConfig`, and the fields of the passes ``quantize`` and ``store``.

    Returns:
        The model and the report. Where int8 is wrong, larger or slower, the weights alone are stored in few bits and
        ``report.decision`` is ``weights in few bits``; where that does not hold either, the model is the slimmed float
        one and ``report.decision`` is ``kept float``.

    Raises:
        InputError: The model, the samples or an option cannot be used.
        CheckFailed: A check failed, and no rewrite could be found whose refusal mends it.
    """
    settings, (of_quantize, of_store) = divide("quantize", options, "quantize", "store")
    return rewrite(
        "quantize", model, output, [get_pass("slim")(), *int8_passes(of_quantize, of_store, settings.ops)], settings
    )


def int8_passes(of_quantize: Mapping[str, Any], of_store: Mapping[str, Any], ops: Ops) -> list[Pass]:
    """What puts a slimmed model into int8: kernels, then the weights that no kernel reads.

    Args:
        of_quantize: Options of the pass ``quantize``.
        of_store: Options of the pass ``store``.
        ops: Operators that the result may have.
    """
    if of_quantize.get("weights_only") and of_store.get("rest") == "float":
        raise InputError("weights_only and rest=float leave nothing to do", mend="give one of the two")
    store = make_pass(get_pass("store"), of_store)
    floats = of_store.get("rest") == "float"
    quantize = make_pass(get_pass("quantize"), {"weigh_bytes": floats} | dict(of_quantize))
    if dict(of_quantize) == {"weights_only": True}:
        return [store, make_pass(get_pass("encode"), {"encoding": "folded"})]
    kernels = [quantize, get_pass("quantize-lstm")(), get_pass("choose-forms")()]
    # It hides weights from store, and comes before strip, whose names are too short for it to take fewer bytes.
    fused = [get_pass("fuse-onnxruntime")()] if ops == "onnxruntime" else []
    if floats:
        return [*kernels, *fused]
    return [*kernels, store, *fused, make_pass(get_pass("encode"), {"encoding": "folded"})]
