"""Rewrites that keep what the model computes and make it smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from .common_subexpressions import CommonSubexpressions
    from .fold_constants import FoldConstants
    from .fuse_conv_batchnorm import FuseConvBatchNorm
    from .hoist_invariants import HoistInvariants
    from .inline_functions import InlineFunctions
    from .inline_if import InlineIf
    from .inline_loop import InlineLoop
    from .lift_constants import LiftConstants
    from .remove_identity import RemoveIdentity
    from .remove_unused import RemoveUnused
    from .same_numbers import SameNumbers
    from .slim import Slim, slim_passes
    from .unfold_constants import UnfoldConstants

__all__ = [
    "CommonSubexpressions",
    "FoldConstants",
    "FuseConvBatchNorm",
    "HoistInvariants",
    "InlineFunctions",
    "InlineIf",
    "InlineLoop",
    "LiftConstants",
    "RemoveIdentity",
    "RemoveUnused",
    "SameNumbers",
    "Slim",
    "UnfoldConstants",
    "slim_passes",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "CommonSubexpressions": ".common_subexpressions",
        "FoldConstants": ".fold_constants",
        "FuseConvBatchNorm": ".fuse_conv_batchnorm",
        "HoistInvariants": ".hoist_invariants",
        "InlineFunctions": ".inline_functions",
        "InlineIf": ".inline_if",
        "InlineLoop": ".inline_loop",
        "LiftConstants": ".lift_constants",
        "RemoveIdentity": ".remove_identity",
        "RemoveUnused": ".remove_unused",
        "SameNumbers": ".same_numbers",
        "Slim": ".slim",
        "UnfoldConstants": ".unfold_constants",
        "slim_passes": ".slim",
    },
)
