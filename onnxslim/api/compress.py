"""Convert-then-optimize in one call: slim, quantize, verify, bench."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from onnxslim.api.job import rewrite
from onnxslim.api.quantize import int8_passes
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel
from onnxslim.api.task import divide
from onnxslim.pipeline import Pass, RunConfig, get_pass, load_recipe


def compress(
    model: AnyModel,
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: str | os.PathLike[str] | Sequence[Pass] | None = None,
    **settings: Any,
) -> Result:
    """Makes a model smaller and faster, measures what came of it, and keeps only what is right.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        recipe: A TOML file or a list of passes to run instead of slim and quantize.
        settings: Fields of `onnxslim.pipeline.RunConfig`; ``samples`` is needed where a pass needs them. Without a
            recipe also the fields of the passes ``quantize`` and ``store``.

    Returns:
        The model and the report. Where the result is wrong, larger or slower, the lossy passes are given up from the
        last on: of prune and quantize, the pruned model is left, and ``report.reason`` says why.

    Raises:
        InputError: The model, the samples, the recipe or an option cannot be used.
        CheckFailed: A check failed, and no rewrite could be found whose refusal mends it.
    """
    if recipe is None:
        made, (of_quantize, of_store) = divide("compress", settings, "quantize", "store")
        passes: list[Pass] = [get_pass("slim")(), *int8_passes(of_quantize, of_store, made.ops)]
        return rewrite("compress", model, output, passes, made)
    if isinstance(recipe, str | os.PathLike):
        passes = load_recipe(recipe)
        settings["recipe_path"] = recipe
    else:
        passes = list(recipe)
    return rewrite("compress", model, output, passes, RunConfig.of(settings))
