"""Where passes are found by name. This table is the only way from the core to the passes.

Third parties add theirs with an entry point of the group ``onnxslim.passes``; the entry's name is the pass's name.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points

from onnxslim.errors import InputError, SetupError, did_you_mean
from onnxslim.pipeline.rewrite import Pass

GROUP = "onnxslim.passes"

BUILT_IN: dict[str, str] = {
    "store": "onnxslim.passes.sparse.store_weights:StoreWeights",
    "slim": "onnxslim.passes.slim.slim:Slim",
    "fuse-onnxruntime": "onnxslim.passes.slim.fuse_onnxruntime:FuseOnnxruntime",
    "lift-constants": "onnxslim.passes.slim.lift_constants:LiftConstants",
    "fold-constants": "onnxslim.passes.slim.fold_constants:FoldConstants",
    "remove-identity": "onnxslim.passes.slim.remove_identity:RemoveIdentity",
    "common-subexpressions": "onnxslim.passes.slim.common_subexpressions:CommonSubexpressions",
    "fuse-conv-batchnorm": "onnxslim.passes.slim.fuse_conv_batchnorm:FuseConvBatchNorm",
    "fold-scaler": "onnxslim.passes.slim.fold_scaler:FoldScaler",
    "trim-trees": "onnxslim.passes.slim.trim_trees:TrimTrees",
    "lift-trees": "onnxslim.passes.slim.lift_trees:LiftTrees",
    "unfold-constants": "onnxslim.passes.slim.unfold_constants:UnfoldConstants",
    "inline-functions": "onnxslim.passes.slim.inline_functions:InlineFunctions",
    "inline-if": "onnxslim.passes.slim.inline_if:InlineIf",
    "inline-loop": "onnxslim.passes.slim.inline_loop:InlineLoop",
    "hoist-invariants": "onnxslim.passes.slim.hoist_invariants:HoistInvariants",
    "plain-cast": "onnxslim.passes.slim.plain_cast:PlainCast",
    "plain-reshape": "onnxslim.passes.slim.plain_reshape:PlainReshape",
    "constant-target": "onnxslim.passes.slim.constant_target:ConstantTarget",
    "merge-views": "onnxslim.passes.slim.merge_views:MergeViews",
    "merge-transposes": "onnxslim.passes.slim.merge_transposes:MergeTransposes",
    "fuse-gelu": "onnxslim.passes.slim.fuse_gelu:FuseGelu",
    "fuse-mish": "onnxslim.passes.slim.fuse_gelu:FuseMish",
    "fuse-layer-normalization": "onnxslim.passes.slim.fuse_layer_normalization:FuseLayerNormalization",
    "fuse-normalization-bias": "onnxslim.passes.slim.fuse_layer_normalization:FuseNormalizationBias",
    "fuse-softmax": "onnxslim.passes.slim.fuse_softmax:FuseSoftmax",
    "fuse-reduce-mean": "onnxslim.passes.slim.fuse_reduce_mean:FuseReduceMean",
    "fuse-sigmoid": "onnxslim.passes.slim.fuse_activation:FuseSigmoid",
    "fuse-clip": "onnxslim.passes.slim.fuse_activation:FuseClip",
    "fuse-leaky-relu": "onnxslim.passes.slim.fuse_activation:FuseLeakyRelu",
    "fuse-reciprocal": "onnxslim.passes.slim.fuse_reciprocal:FuseReciprocal",
    "fuse-square-root": "onnxslim.passes.slim.fuse_square_root:FuseSquareRoot",
    "fuse-hard-sigmoid": "onnxslim.passes.slim.fuse_hard_swish:FuseHardSigmoid",
    "fuse-hard-swish": "onnxslim.passes.slim.fuse_hard_swish:FuseHardSwish",
    "merge-concats": "onnxslim.passes.slim.merge_concats:MergeConcats",
    "merge-slices": "onnxslim.passes.slim.merge_slices:MergeSlices",
    "sink-below-concat": "onnxslim.passes.slim.sink_below_concat:SinkBelowConcat",
    "move-transposes": "onnxslim.passes.slim.move_transposes:MoveTransposes",
    "sink-transposes": "onnxslim.passes.slim.sink_transposes:SinkTransposes",
    "merge-casts": "onnxslim.passes.slim.merge_casts:MergeCasts",
    "merge-unary": "onnxslim.passes.slim.merge_unary:MergeUnary",
    "merge-clips": "onnxslim.passes.slim.merge_clips:MergeClips",
    "gather-one-hot": "onnxslim.passes.slim.gather_one_hot:GatherOneHot",
    "constant-where": "onnxslim.passes.slim.constant_where:ConstantWhere",
    "same-numbers": "onnxslim.passes.slim.same_numbers:SameNumbers",
    "merge-wheres": "onnxslim.passes.slim.merge_wheres:MergeWheres",
    "fuse-pad": "onnxslim.passes.slim.fuse_pad:FusePad",
    "fold-scale-into-producer": "onnxslim.passes.slim.fold_into_producer:FoldScaleIntoProducer",
    "fold-shift-into-producer": "onnxslim.passes.slim.fold_into_producer:FoldShiftIntoProducer",
    "fold-scale-into-consumer": "onnxslim.passes.slim.fold_into_consumer:FoldScaleIntoConsumer",
    "fold-shift-into-consumer": "onnxslim.passes.slim.fold_into_consumer:FoldShiftIntoConsumer",
    "fuse-matmul-add": "onnxslim.passes.slim.fuse_gemm:FuseMatMulAdd",
    "fuse-gemm-transpose": "onnxslim.passes.slim.fuse_gemm:FuseGemmTranspose",
    "fuse-reduce-squeeze": "onnxslim.passes.slim.fuse_reduce:FuseReduceSqueeze",
    "fuse-reduce-transpose": "onnxslim.passes.slim.fuse_reduce_transpose:FuseReduceTranspose",
    "drop-zero-state": "onnxslim.passes.slim.drop_zero_state:DropZeroState",
    "fuse-contrib-gelu": "onnxslim.passes.slim.fuse_bias_gelu:FuseContribGelu",
    "fuse-bias-gelu": "onnxslim.passes.slim.fuse_bias_gelu:FuseBiasGelu",
    "fuse-quick-gelu": "onnxslim.passes.slim.fuse_quick_gelu:FuseQuickGelu",
    "fuse-fused-matmul": "onnxslim.passes.slim.fuse_fused_matmul:FuseFusedMatMul",
    "fuse-fused-conv": "onnxslim.passes.slim.fuse_fused_conv:FuseFusedConv",
    "remove-unused": "onnxslim.passes.slim.remove_unused:RemoveUnused",
    "strip": "onnxslim.passes.slim.strip:Strip",
    "extract": "onnxslim.passes.convert.extract:Extract",
    "set-input-shapes": "onnxslim.passes.convert.set_input_shapes:SetInputShapes",
    "convert-float": "onnxslim.passes.convert.convert_float:ConvertFloat",
    "lift-opset": "onnxslim.passes.convert.lift_opset:LiftOpset",
    "prune": "onnxslim.passes.prune.prune_channels:PruneChannels",
    "quantize": "onnxslim.passes.quantize.static_int8:QuantizeStatic",
    "quantize-lstm": "onnxslim.passes.quantize.quantize_lstm:QuantizeLstm",
    "choose-forms": "onnxslim.passes.quantize.choose_forms:ChooseForms",
    "sparsify": "onnxslim.passes.sparse.sparsify:Sparsify",
    "encode": "onnxslim.passes.sparse.encode:Encode",
    "decode": "onnxslim.passes.sparse.decode:Decode",
}


def pass_table() -> dict[str, str]:
    """Pass name -> ``module:Class`` of every pass that is installed, built-in ones first.

    Raises:
        SetupError: Two passes claim one name; the message names both.
    """
    table = dict(BUILT_IN)
    owner = dict.fromkeys(BUILT_IN, "onnxslim itself")
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        who = f"the distribution {_distribution(entry)}"
        if entry.name in table:
            raise SetupError(
                f"two passes are named {entry.name!r}",
                where=f"{table[entry.name]} of {owner[entry.name]}, {entry.value} of {who}",
                mend="uninstall one of them, or rename its entry point",
            )
        table[entry.name], owner[entry.name] = entry.value, who
    return table


def joining_passes() -> list[type[Pass]]:
    """The passes of third parties that offer something to a search across passes, by their names.

    Raises:
        SetupError: See `pass_table` and `get_pass`.
    """
    found = [get_pass(name) for name in sorted(pass_table().keys() - BUILT_IN.keys())]
    return [each for each in found if each.offers is not Pass.offers]


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "(unknown)"


def get_pass(name: str) -> type[Pass]:
    """The pass class of that name.

    Raises:
        InputError: No such pass; the message lists near names.
        SetupError: The entry does not import, is no pass, or bears another name.
    """
    table = BUILT_IN if name in BUILT_IN else pass_table()
    if name not in table:
        raise InputError(f"there is no pass {name!r}", mend=did_you_mean(name, table))
    module, _, attribute = table[name].partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SetupError(
            f"the pass {name!r} cannot be imported",
            where=table[name],
            why=str(error),
            mend="install what it needs, or uninstall the package that registers it",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise SetupError(f"the entry {name!r} is not a Pass", where=table[name])
    if found.name != name:
        raise SetupError(f"the entry {name!r} holds a pass that calls itself {found.name!r}", where=table[name])
    return found
