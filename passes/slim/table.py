"""The local rules of slimming, by family. One rule one module; a new one is added here and in the registry."""

from __future__ import annotations

from .constant_target import ConstantTarget
from .fuse_gelu import FuseGelu, FuseMish
from .fuse_hard_swish import FuseHardSigmoid, FuseHardSwish
from .merge_transposes import MergeTransposes
from .merge_views import MergeViews
from .plain_reshape import PlainReshape
from .rewriting import Rule

RULES: tuple[Rule, ...] = (
    PlainReshape(),
    ConstantTarget(),
    MergeViews(),
    MergeTransposes(),
    FuseHardSigmoid(),
    FuseGelu(),
    FuseMish(),
    FuseHardSwish(),
)
