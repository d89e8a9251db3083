"""Plain initializers again of what is stored sparse or packed."""

from __future__ import annotations

import os
from typing import Any

from onnxslim.api.job import rewrite
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel
from onnxslim.pipeline import RunConfig, get_pass


def decode(model: AnyModel, output: str | os.PathLike[str] | None = None, **settings: Any) -> Result:
    """Turns sparse tensors, and those that ``sparsify`` packed, into plain initializers, bit for bit.

    For tools that do not know them. The file grows by that.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        settings: Fields of `onnxslim.pipeline.RunConfig`.

    Returns:
        The model and the report.

    Raises:
        InputError: The model or an option cannot be used.
        CheckFailed: The outputs differ.
    """
    return rewrite("decode", model, output, [get_pass("decode")()], RunConfig.of(settings))
