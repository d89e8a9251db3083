"""The local rules of slimming, by family. One rule one module; a new one is added here and in the registry."""

from __future__ import annotations

from onnxslim.rewriter.rule import Rule

from .constant_target import ConstantTarget
from .constant_where import ConstantWhere
from .drop_zero_state import DropZeroState
from .fold_into_consumer import FoldScaleIntoConsumer, FoldShiftIntoConsumer
from .fold_into_producer import FoldScaleIntoProducer, FoldShiftIntoProducer
from .fold_scaler import FoldScaler
from .fuse_activation import FuseClip, FuseLeakyRelu, FuseSigmoid
from .fuse_bias_gelu import FuseBiasGelu, FuseContribGelu
from .fuse_fused_conv import FuseFusedConv
from .fuse_fused_matmul import FuseFusedMatMul
from .fuse_gelu import FuseGelu, FuseMish
from .fuse_gemm import FuseGemmTranspose, FuseMatMulAdd
from .fuse_hard_swish import FuseHardSigmoid, FuseHardSwish
from .fuse_layer_normalization import FuseLayerNormalization, FuseNormalizationBias
from .fuse_pad import FusePad
from .fuse_quick_gelu import FuseQuickGelu
from .fuse_reciprocal import FuseReciprocal
from .fuse_reduce import FuseReduceSqueeze
from .fuse_reduce_mean import FuseReduceMean
from .fuse_reduce_transpose import FuseReduceTranspose
from .fuse_softmax import FuseSoftmax
from .fuse_square_root import FuseSquareRoot
from .gather_one_hot import GatherOneHot
from .merge_casts import MergeCasts
from .merge_clips import MergeClips
from .merge_concats import MergeConcats
from .merge_slices import MergeSlices
from .merge_transposes import MergeTransposes
from .merge_unary import MergeUnary
from .merge_views import MergeViews
from .merge_wheres import MergeWheres
from .plain_cast import PlainCast
from .plain_reshape import PlainReshape
from .sink_below_concat import SinkBelowConcat
from .sink_transposes import SinkTransposes
from .trim_trees import TrimTrees

RULES: tuple[Rule, ...] = (
    PlainReshape(),
    PlainCast(),
    ConstantTarget(),
    MergeViews(),
    MergeTransposes(),
    FuseHardSigmoid(),
    FuseSquareRoot(),
    FuseReciprocal(),
    FuseSigmoid(),
    FuseClip(),
    FuseLeakyRelu(),
    FuseReduceMean(),
    FuseSoftmax(),
    FuseLayerNormalization(),
    FuseNormalizationBias(),
    FuseGelu(),
    FuseMish(),
    FuseHardSwish(),
    MergeConcats(),
    MergeSlices(),
    SinkBelowConcat(),
    SinkTransposes(),
    MergeCasts(),
    MergeUnary(),
    MergeClips(),
    ConstantWhere(),
    MergeWheres(),
    FusePad(),
    FoldScaleIntoProducer(),
    FoldShiftIntoProducer(),
    FoldScaleIntoConsumer(),
    FoldShiftIntoConsumer(),
    FoldScaler(),
    GatherOneHot(),
    FuseMatMulAdd(),
    FuseGemmTranspose(),
    FuseReduceSqueeze(),
    FuseReduceTranspose(),
    DropZeroState(),
    TrimTrees(),
)

ONNXRUNTIME_RULES: tuple[Rule, ...] = (
    FuseContribGelu(),
    FuseBiasGelu(),
    FuseQuickGelu(),
    FuseFusedMatMul(),
    FuseFusedConv(),
)
"""Rules that yield operators which only onnxruntime knows; they come last, since nothing is inferred of these."""
