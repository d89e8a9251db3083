"""The best model under a budget, found by one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

from onnxslim.api.job import rewrite
from onnxslim.api.keywords import CompressOptions
from onnxslim.api.quantize import int8_passes
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel
from onnxslim.api.task import divide
from onnxslim.errors import InputError, did_you_mean
from onnxslim.pipeline import RUN_OPTIONS, Pass, RunConfig, get_pass, load_recipe
from onnxslim.pipeline.registry import joining_passes
from onnxslim.search.config import SEARCH_OPTIONS, SearchConfig


def compress(
    model: AnyModel,
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: str | os.PathLike[str] | Sequence[Pass] | None = None,
    **options: Unpack[CompressOptions],
) -> Result:
    """Finds the smallest and fastest model that keeps what it must, and measures it.

    Channels, int8 kernels and bits of weights are searched together: what single choices do is measured once, the best
    combination is proposed, built and measured as a whole, and corrects what is predicted of the others. The result is
    judged on samples that chose nothing.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        recipe: A TOML file or a list of passes to run instead of a search.
        options: See `CompressOptions`: what the result must keep (``max_drop`` of a ``metric``, or ``min_sqnr``,
            ``max_size`` and ``min_speedup``), the ``goal``, the ``time``, fields of `onnxslim.pipeline.RunConfig`, and
            fields of the passes ``quantize`` and ``store``.

    Returns:
        The model, the report, and with ``result.front`` all that was tried. Where nothing keeps what it must, the model
        is the slimmed one and ``report.decision`` is ``kept float``.

    Raises:
        InputError: The model, the samples, the recipe or an option cannot be used.
        CheckFailed: No result keeps ``max_size`` and ``min_speedup``, or a check failed and no rewrite could be found
            whose refusal mends it. Nothing is written.
    """
    given: dict[str, Any] = dict(options)
    asked = {name: given.pop(name) for name in SEARCH_OPTIONS & given.keys()}
    known = RUN_OPTIONS.union(SEARCH_OPTIONS, *(_fields(name) for name in ("quantize", "store")))
    for name in given:
        if recipe is None and name not in known:
            raise InputError(f"compress has no option {name!r}", mend=did_you_mean(name, known))
    if recipe is None:
        made, (of_quantize, of_store) = divide("compress", given, "quantize", "store")
        passes = [get_pass("slim")(), get_pass("prune")(), *int8_passes(of_quantize, of_store, made.ops)]
        before = next((place for place, each in enumerate(passes) if each.only_stores), len(passes))
        passes[before:before] = [each() for each in joining_passes()]
        return rewrite("compress", model, output, passes, made, SearchConfig(**asked))
    if asked:
        raise InputError(
            f"a recipe is not searched, and {next(iter(asked))} was given",
            where="recipe",
            mend="leave one of the two out",
        )
    if isinstance(recipe, str | os.PathLike):
        passes = load_recipe(recipe)
        given["recipe_path"] = recipe
    else:
        passes = list(recipe)
    return rewrite("compress", model, output, passes, RunConfig.of(given))


def _fields(name: str) -> set[str]:
    return {each.name for each in get_pass(name).options()}
