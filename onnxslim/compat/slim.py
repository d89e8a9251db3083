"""OnnxSlim's function ``slim``, with its arguments and what it returns and prints."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import onnx

from onnxslim.api.result import Result
from onnxslim.api.slim import preparation, simplify
from onnxslim.api.source import AnyModel, AnySamples, open_source
from onnxslim.compat.arguments import (
    OPTIMIZATIONS,
    as_dtype,
    check_feed,
    edits,
    legacy_skips,
    own_patterns,
    skipped,
)
from onnxslim.compat.console import init_logging, show_models
from onnxslim.errors import InputError
from onnxslim.execution import operators_from
from onnxslim.execution.ort import Libraries
from onnxslim.graph import to_proto
from onnxslim.pipeline import RunConfig, get_pass, make_pass

Names = bool | str | Sequence[str] | None
Shapes = Mapping[str, Sequence[int] | str | int] | Sequence[str] | str | None


def slim(
    model: AnyModel | Sequence[AnyModel],
    output_model: str | os.PathLike[str] | None = None,
    *,
    model_check: bool = False,
    input_shapes: Shapes = None,
    inputs: Sequence[str] | str | None = None,
    outputs: Sequence[str] | str | None = None,
    no_shape_infer: bool = False,
    skip_optimizations: Names = None,
    dtype: Literal["fp16", "fp32", "float16", "float32"] | None = None,
    skip_fusion_patterns: Names = None,
    size_threshold: int | None = None,
    inspect: bool = False,
    dump_to_disk: bool = False,
    save_as_external_data: bool = False,
    model_check_inputs: Sequence[str] | str | None = None,
    verbose: bool = False,
    ops: Literal["standard", "onnxruntime"] = "standard",
    samples: AnySamples | None = None,
    verify: bool = True,
    external_data: bool | None = None,
    strip: bool = False,
    trust_data_dir: str | os.PathLike[str] | None = None,
    freeze_initializers: bool = False,
    threads: int = 1,
    memory: int = 1 << 30,
    must_verify: bool = False,
    custom_op_library: Libraries = (),
    **legacy: Any,
) -> onnx.ModelProto | None:
    """Simplifies a model, as OnnxSlim's ``slim`` is called.

    Args:
        model: A path, bytes, a ModelProto (not changed) or an ``onnx_ir.Model`` (not changed). A list of them is only
            shown: a table is printed.
        output_model: Where to write the result. It may be the input's own path. A table is printed then.
        model_check: Fail where outputs cannot be compared. That they are compared is the default.
        input_shapes: ``["NAME:1,3,224,224", ...]`` or ``{"NAME": [1, 3, 224, 224]}``; -1 leaves an axis dynamic.
        inputs: Names of values that become the inputs, each with ``:fp16``, ``:fp32``, ``:int32``, ``:int64`` or
            ``:bool`` where the dtype shall be another.
        outputs: Names of values that become the outputs, likewise.
        no_shape_infer: Has no effect: inferred shapes are used, and distrusted where they meet declared ones, but
            never written into the model.
        skip_optimizations: Names of OnnxSlim's optimizations (``constant_folding``, ``graph_fusion``,
            ``dead_node_elimination``, ``subexpression_elimination``, ``weight_tying``) or of passes to leave out. True
            means all, False and None none.
        dtype: ``fp16`` or ``fp32``: converts weights, inputs and outputs. The result is compared with the original
            at the precision of float16.
        skip_fusion_patterns: Names of OnnxSlim's patterns or of rules to leave out. True means all.
        size_threshold: Bytes; what would fold to more stays, but for the few numbers of a shape. The file never grows,
            with or without it.
        inspect: Print what the model is made of before it is slimmed. (OnnxSlim ignores it here; a list of models is
            what is only shown.)
        dump_to_disk: With ``inspect``, also write ``NAME_model_info.csv`` into the current folder.
        save_as_external_data: Put the weights into a file beside the model.
        model_check_inputs: ``NAME:1,3,224,224`` or ``NAME:FILE.npy`` each: what to compare outputs on.
        verbose: Log each step to stderr.
        ops: ``onnxruntime`` allows operators that only onnxruntime has (domain ``com.microsoft``).
        samples: Representative inputs to compare outputs on; random ones otherwise.
        verify: Whether to compare outputs before and after in onnxruntime.
        external_data: Whether weights go into a file beside the model; None means above 1 GiB.
        strip: Whether doc strings, metadata, types of inner values and defaults are dropped, inner names shortened.
        trust_data_dir: A folder outside the model's own in which its external data may lie.
        freeze_initializers: Whether initializers that are inputs too are constants, which no caller replaces. Up to IR
            version 3 they always are.
        threads: Threads of the sessions that verify.
        memory: Bytes; constants take half of them at most while they are folded.
        must_verify: Fail where outputs cannot be compared, since onnxruntime cannot run the model: ``model_check`` by
            its other name.
        custom_op_library: Path of a library of custom operators that onnxruntime loads, or several.
        legacy: Keywords of earlier versions of OnnxSlim (``no_constant_folding``), with a DeprecationWarning.

    Returns:
        An ordinary ModelProto; None where ``output_model`` is given, or a list of models was shown.

    Raises:
        TypeError: A keyword that neither this version nor an earlier one has.
        InputError: The model is broken, or an argument cannot be used.
        CheckFailed: The result is wrong and no rewrite could be found whose refusal mends it, or ``model_check`` could
            compare nothing. Nothing is written.
    """
    old = legacy_skips(legacy, slim.__kwdefaults__ or ())
    if isinstance(model, list | tuple):
        if output_model is not None:
            raise InputError("models that are only shown have no output", where="output_model", mend="leave it out")
        show_models(list(model), dump_to_disk=dump_to_disk, trust_data_dir=trust_data_dir)
        return None
    if inspect:
        show_models([cast(AnyModel, model)], dump_to_disk=dump_to_disk, trust_data_dir=trust_data_dir)
    elif dump_to_disk:
        raise InputError("dump_to_disk writes what inspect shows", mend="give inspect=True too, or a list of models")
    started = time.perf_counter()
    result = slim_result(
        cast(AnyModel, model),
        output_model,
        model_check=model_check,
        input_shapes=input_shapes,
        inputs=inputs,
        outputs=outputs,
        dtype=dtype,
        skip_optimizations=skip_optimizations,
        skip_fusion_patterns=skip_fusion_patterns,
        also_skip=old,
        size_threshold=size_threshold,
        ops=ops,
        model_check_inputs=model_check_inputs,
        samples=samples,
        verify=verify,
        in_place=True,
        external_data=True if save_as_external_data else external_data,
        strip=strip,
        trust_data_dir=trust_data_dir,
        freeze_initializers=freeze_initializers,
        threads=threads,
        memory=memory,
        must_verify=must_verify,
        custom_op_library=custom_op_library,
        time_sessions=verify and output_model is not None,
        progress=init_logging(verbose).debug,
    )
    report = result.report
    if output_model is not None:
        assert report.output is not None
        from onnxslim.report.side_by_side import column_of, print_side_by_side

        both = (("input", report.input), ("output", report.output))
        columns = [column_of(facts, session_seconds=report.session_seconds.get(which)) for which, facts in both]
        print_side_by_side(columns, time.perf_counter() - started)
        if len(report.files) > 1:
            print("Files: " + ", ".join(each.path for each in report.files))
        return None
    if report.decision == "unchanged":
        given = open_source(
            cast(AnyModel, model), trust_data_dir=trust_data_dir, freeze_initializers=freeze_initializers
        ).original()
        if given is not None:
            unchanged: onnx.ModelProto = onnx.ModelProto.FromString(given)
            return unchanged  # to the bit: even a rewritten proto may differ in its length
    return to_proto(result.model)


def slim_result(
    model: AnyModel,
    output: str | os.PathLike[str] | None = None,
    *,
    model_check: bool = False,
    input_shapes: Shapes = None,
    inputs: Sequence[str] | str | None = None,
    outputs: Sequence[str] | str | None = None,
    dtype: str | None = None,
    skip_optimizations: Names = None,
    skip_fusion_patterns: Names = None,
    also_skip: Sequence[str] = (),
    size_threshold: int | None = None,
    model_check_inputs: Sequence[str] | str | None = None,
    **settings: Any,
) -> Result:
    """Like ``slim``, but returns the model in its IR together with the report.

    Args:
        model: As for ``slim``, like the following ones.
        output: Where to write the result; the input's own path needs ``in_place=True``.
        model_check: Whether to fail where outputs cannot be compared.
        input_shapes: Other shapes of inputs.
        inputs: Other inputs.
        outputs: Other outputs.
        dtype: ``fp16`` or ``fp32``.
        skip_optimizations: Optimizations left out.
        skip_fusion_patterns: Patterns left out.
        also_skip: Further names of optimizations.
        size_threshold: Bytes of the largest value that is folded.
        model_check_inputs: What to compare outputs on.
        settings: Fields of `onnxslim.pipeline.RunConfig`.

    Raises:
        InputError: As ``slim``.
        CheckFailed: As ``slim``.
    """
    if isinstance(skip_optimizations, str):
        skip_optimizations = [skip_optimizations]
    chosen = list(OPTIMIZATIONS) if skip_optimizations is True else [*(skip_optimizations or ()), *also_skip]
    skips = skipped(skip_fusion_patterns, chosen)
    if size_threshold is not None and size_threshold < 0:
        raise InputError(f"size_threshold is {size_threshold}", mend="give 0 or more bytes; 0 is no limit")
    if model_check_inputs and settings.get("samples") is not None:
        raise InputError("samples and model_check_inputs were both given", mend="give one of the two")
    options = {"skip": skips, "fold_up_to": int(size_threshold) if size_threshold else None}
    recipe = [*own_patterns(skip_fusion_patterns, chosen), make_pass(get_pass("slim"), options)]
    wanted = as_dtype(dtype)
    asked = edits(inputs, input_shapes, outputs)
    made = RunConfig(**settings)
    settings |= {"verify": made.verify or model_check, "must_verify": model_check or made.must_verify}
    if model_check_inputs:
        with operators_from(made.custom_op_library):
            edited = open_source(
                model, trust_data_dir=made.trust_data_dir, freeze_initializers=made.freeze_initializers
            ).model
            prepare = preparation(asked, wanted, recipe, made)
            if prepare is not None:
                prepare(edited)
            settings["samples"] = [check_feed(edited, model_check_inputs)]
    return simplify(model, output, recipe=recipe, edits=asked, dtype=wanted, **settings)
