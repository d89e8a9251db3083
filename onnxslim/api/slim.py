"""Make a model smaller without changing what it computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from onnxslim.api.job import rewrite
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel
from onnxslim.errors import InputError
from onnxslim.pipeline import Context, Pass, RunConfig, get_pass, make_pass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.api.converting import Conversion


def simplify(
    model: AnyModel,
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: Sequence[Pass] | None = None,
    edits: Sequence[Pass] = (),
    dtype: str | None = None,
    **settings: Any,
) -> Result:
    """Slims a model, and returns it in its IR together with the report.

    Args:
        model: A path, bytes, a ModelProto (not changed) or an ``onnx_ir.Model`` (not changed).
        output: Where to write the result; the input's own path needs ``in_place=True``.
        recipe: Lossless passes to run; None means the pass ``slim``.
        edits: Passes that change the interface first; the result is compared with what they leave.
        dtype: ``fp16`` or ``fp32``: the type that floats are converted to, after ``edits``.
        settings: Fields of `onnxslim.pipeline.RunConfig`.

    Raises:
        InputError: The model is broken, a pass is lossy, or a setting cannot be used.
        CheckFailed: The result is wrong and no rewrite could be found whose refusal mends it, or ``must_verify`` could
            compare nothing. Nothing is written.
    """
    passes = [get_pass("slim")()] if recipe is None else list(recipe)
    for each in passes:
        if each.needs_samples:
            raise InputError(f"the pass {each.name!r} does not belong in slim", mend="use compress with this recipe")
    if settings.get("ops") == "onnxruntime":
        skip = tuple(name for each in passes for name in getattr(each, "skip", ()))
        passes.append(make_pass(get_pass("fuse-onnxruntime"), {"skip": skip}))
    prepare = preparation(edits, dtype, passes, RunConfig(**settings))
    return rewrite("slim", model, output, passes, RunConfig(**settings | {"prepare": prepare}))


def preparation(
    edits: Sequence[Pass], dtype: str | None, passes: Sequence[Pass], settings: RunConfig
) -> Callable[[ir.Model], Conversion | None] | None:
    """What is done to a loaded model, in place, before ``passes`` run; None where nothing is asked for."""
    if not edits and dtype is None:
        return None

    def prepare(loaded: ir.Model) -> Conversion | None:
        for each in edits:
            each.run(loaded, Context())
        if dtype is None:
            return None
        from onnxslim.api.converting import convert

        conversion = convert(loaded, dtype, before=passes, threads=settings.threads)
        return conversion if settings.verify else None

    return prepare
