"""Make a model smaller without changing what it computes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import onnx

from onnxslim.api.result import Result
from onnxslim.api.rewriting import Settings, rewrite
from onnxslim.api.source import AnyModel, AnySamples, open_source
from onnxslim.errors import InputError
from onnxslim.graph import to_proto
from onnxslim.pipeline import Pass, get_pass


def slim(
    model: AnyModel,
    output_model: str | os.PathLike[str] | None = None,
    *,
    samples: AnySamples | None = None,
    verify: bool = True,
    external_data: bool | None = None,
    trust_data_dir: str | os.PathLike[str] | None = None,
    threads: int = 1,
) -> onnx.ModelProto | None:
    """Simplifies a model, as ``onnxslim.slim`` has always been called.

    Args:
        model: A path, bytes, a ModelProto (not changed) or an ``onnx_ir.Model`` (not changed).
        output_model: Where to write the result. It may be the input's own path.
        samples: Representative inputs to verify with; random ones otherwise.
        verify: Whether to compare outputs before and after in onnxruntime.
        external_data: Whether weights go into a file beside the model; None means only above 2 GB.
        trust_data_dir: A folder outside the model's own in which its external data may lie.
        threads: Threads of the sessions that verify.

    Returns:
        An ordinary ModelProto; None where ``output_model`` is given.

    Raises:
        InputError: The model cannot be used, or is over 2 GB and no ``output_model`` is given.
        CheckFailed: The result is wrong and no rewrite could be found whose refusal mends it.
    """
    result = simplify(
        model,
        output_model,
        samples=samples,
        verify=verify,
        in_place=True,
        external_data=external_data,
        trust_data_dir=trust_data_dir,
        threads=threads,
    )
    if output_model is not None:
        return None
    if result.report.decision == "unchanged":
        given = open_source(model, trust_data_dir=trust_data_dir).original()
        if given is not None:
            unchanged: onnx.ModelProto = onnx.ModelProto.FromString(given)
            return unchanged  # to the bit: even a rewritten proto may differ in its length
    return to_proto(result.model)


def simplify(
    model: AnyModel,
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: Sequence[Pass] | None = None,
    **settings: Any,
) -> Result:
    """Like ``slim``, but returns the model in its IR together with the report.

    Args:
        model: As for ``slim``.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        recipe: Lossless passes to run instead of the ``slim`` pass.
        settings: Fields of `onnxslim.api.rewriting.Settings`.
    """
    passes = list(recipe) if recipe is not None else [get_pass("slim")()]
    for each in passes:
        if each.needs_samples:
            raise InputError(f"the pass {each.name!r} does not belong into slim", mend="use compress with this recipe")
    return rewrite("slim", model, output, passes, Settings(**settings))
