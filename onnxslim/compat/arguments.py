"""What the arguments of OnnxSlim's ``slim`` mean here: names of its optimizations, shapes, dtypes, legacy keywords."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim import execution
from onnxslim.compat.patterns import pattern_names, registered_passes
from onnxslim.errors import InputError, did_you_mean
from onnxslim.graph.regular import check_regular
from onnxslim.pipeline import Context, Pass, get_pass, make_pass, pass_table

_SCALE = ("fold-scale-into-producer", "fold-scale-into-consumer")
_SHIFT = ("fold-shift-into-producer", "fold-shift-into-consumer")

PATTERNS: dict[str, tuple[str, ...]] = {
    "EliminationConcat": ("merge-concats",),
    "EliminationReshape": ("merge-views",),
    "EliminationReshapeAs": ("constant-target", "plain-reshape"),
    "EliminationSlice": ("merge-slices",),
    "EliminationTranspose": ("merge-transposes",),
    "EliminationTransposeViewTranspose": ("merge-transposes",),
    "EliminationUnsqueeze": ("merge-views",),
    "EliminationTransposeAsReshape": ("merge-transposes",),
    "FusionConcatReshape": ("constant-target",),
    "FusionConvAdd": _SHIFT,
    "FusionConvTransposeAdd": _SHIFT,
    "FusionConvBN": ("fuse-conv-batchnorm",),
    "FusionConvTransposeBN": ("fuse-conv-batchnorm",),
    "FusionConvMul": _SCALE,
    "FusionConvTransposeMul": _SCALE,
    "FusionGelu": ("fuse-gelu",),
    "FusionGemm": ("fuse-matmul-add", "fuse-gemm-transpose"),
    "FusionGemmMul": _SCALE,
    "FusionGemmAdd": ("fuse-matmul-add", *_SHIFT),
    "FusionPadConv": ("fuse-pad",),
    "FusionReduce": ("fuse-reduce-squeeze",),
}
"""Names of ``skip_fusion_patterns`` -> passes and rules here that do the like, and somewhat more."""

_CORE = (
    "slim",
    "lift-constants",
    "fold-constants",
    "remove-identity",
    "remove-unused",
    "common-subexpressions",
    "inline-functions",
    "inline-if",
    "unfold-constants",
    "strip",
)
OPTIMIZATIONS: dict[str, tuple[str, ...]] = {
    "constant_folding": ("fold-constants", "inline-if"),
    "graph_fusion": (),  # every rule, and the fusions that are passes: see `_fusions`
    "dead_node_elimination": ("remove-identity",),
    "subexpression_elimination": ("merge-nodes",),
    "weight_tying": ("tie-initializers",),
}
"""Names of ``skip_optimizations`` -> passes and their parts."""
_SLIM, _CONVERT = "onnxslim.passes.slim.", "onnxslim.passes.convert."

LEGACY = {
    "no_constant_folding": "skip_optimizations=['constant_folding']",
    "no_graph_fusion": "skip_optimizations=['graph_fusion']",
    "no_dead_node_elimination": "skip_optimizations=['dead_node_elimination']",
    "no_subexpression_elimination": "skip_optimizations=['subexpression_elimination']",
}
"""Keywords of earlier versions of OnnxSlim -> what says the same today."""


def skipped(patterns: bool | str | Iterable[str] | None, optimizations: bool | str | Iterable[str] | None) -> list[str]:
    """Passes and rules that the two arguments leave out. True means all of them, None and False none.

    Names of this project's own passes and rules are understood too.

    Raises:
        InputError: A name that neither OnnxSlim nor this project has.
    """
    own: dict[str, tuple[str, ...]] = {
        name: (name,) for name, place in pass_table().items() if place.startswith((_SLIM, _CONVERT)) and name != "slim"
    }
    own |= dict.fromkeys(pattern_names(), ())
    fusions = _fusions()
    found = dict.fromkeys(_looked_up(patterns, PATTERNS | own, "skip_fusion_patterns", fusions))
    steps: dict[str, tuple[str, ...]] = OPTIMIZATIONS | {"graph_fusion": fusions}
    everything = [name for names in steps.values() for name in names]
    found |= dict.fromkeys(_looked_up(optimizations, steps | own, "skip_optimizations", everything))
    parts = ("merge-nodes", "tie-initializers")
    return [name for name in found if name in own or name in parts]


def own_patterns(patterns: bool | str | Iterable[str] | None, optimizations: Iterable[str]) -> list[Pass]:
    """The caller's registered patterns that the two arguments do not leave out."""
    if patterns is True or "graph_fusion" in optimizations:
        return []
    return registered_passes([patterns] if isinstance(patterns, str) else patterns or ())


def _fusions() -> tuple[str, ...]:
    """What is neither a step of every slimmer nor an edit that is asked for."""
    return tuple(n for n, place in pass_table().items() if place.startswith(_SLIM) and n not in _CORE)


def _looked_up(
    given: bool | str | Iterable[str] | None,
    known: Mapping[str, Sequence[str]],
    where: str,
    everything: Iterable[str],
) -> list[str]:
    if given is None or given is False:
        return []
    if given is True:
        return list(everything)
    found: list[str] = []
    for name in [given] if isinstance(given, str) else given:
        if name not in known:
            raise InputError(f"{where} has no {name!r}", where=where, mend=did_you_mean(str(name), known))
        found += known[name]
    return found


def legacy_skips(keywords: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    """What keywords of earlier versions leave out; each is answered with a DeprecationWarning.

    Raises:
        TypeError: A keyword that never existed; the message names the nearest.
    """
    for name in keywords:
        if name not in LEGACY:
            near = did_you_mean(name, [*known, *LEGACY])
            raise TypeError(f"slim() got an unexpected keyword argument {name!r}; {near}")
    skips = []
    for name, value in keywords.items():
        warnings.warn(f"{name} is a keyword of old; use {LEGACY[name]}", DeprecationWarning, stacklevel=3)
        if value:
            skips.append(name.removeprefix("no_"))
    return skips


def as_dtype(dtype: str | None) -> str | None:
    """``fp16`` or ``fp32``, however it is written.

    Raises:
        InputError: It is another type.
    """
    if dtype is None:
        return None
    known = {"fp16": "fp16", "float16": "fp16", "fp32": "fp32", "float32": "fp32"}
    if dtype not in known:
        mend = f"{did_you_mean(str(dtype), known)}; int8 is the verb quantize"
        raise InputError(f"{dtype!r} is no dtype to convert to", where="dtype", mend=mend)
    return known[dtype]


def shape_texts(
    shapes: Mapping[str, Sequence[int] | str | int] | Sequence[str] | str | None, where: str = "input_shapes"
) -> tuple[str, ...]:
    """Input shapes as ``NAME:DIM,DIM``, from a list of such texts or a dict of names.

    Raises:
        InputError: It is neither.
    """
    if not shapes:
        return ()
    if isinstance(shapes, str):
        return (shapes,)
    if isinstance(shapes, Mapping):
        return tuple(f"{name}:{_joined(dims)}" for name, dims in shapes.items())
    if not all(isinstance(text, str) for text in shapes):
        raise InputError(
            "shapes are texts", where=where, mend="write ['images:1,3,224,224'] or {'images': [1, 3, 224, 224]}"
        )
    return tuple(shapes)


def _joined(dims: Sequence[int] | str | int) -> str:
    if isinstance(dims, str | int):
        return str(dims)
    return ",".join(str(dim) for dim in dims)


def edits(
    inputs: Sequence[str] | str | None,
    input_shapes: Mapping[str, Sequence[int] | str | int] | Sequence[str] | str | None,
    outputs: Sequence[str] | str | None,
) -> list[Pass]:
    """The passes that change the interface as asked, in OnnxSlim's order."""
    made: list[Pass] = []
    if inputs:
        made.append(make_pass(get_pass("extract"), {"inputs": inputs}, where="inputs"))
    if input_shapes:
        made.append(make_pass(get_pass("set-input-shapes"), {"shapes": shape_texts(input_shapes)}))
    if outputs:
        made.append(make_pass(get_pass("extract"), {"outputs": outputs}, where="outputs"))
    return made


def check_feed(model: ir.Model, given: Sequence[str]) -> dict[str, np.ndarray]:
    """A feed of what ``model_check_inputs`` says; other inputs are random, dynamic axes 1.

    Args:
        model: Is not changed.
        given: ``NAME:DIM,DIM,...`` or ``NAME:FILE.npy`` each.

    Raises:
        InputError: An unknown name, a file that is no array, or a shape that is none.
    """
    texts = [given] if isinstance(given, str) else list(given)
    files = {name: path for name, _, path in (text.rpartition(":") for text in texts) if path.endswith(".npy")}
    names = [value.name or "" for value in model.graph.inputs]
    arrays: dict[str, np.ndarray] = {}
    for name, path in files.items():
        if name not in names:
            raise InputError(
                f"input {name!r} not found in model", where="model_check_inputs", mend=did_you_mean(name, names)
            )
        try:
            check_regular(path, "the array")
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise InputError("the file is no array", where=path, why=str(error)) from error
    clone = model.clone()
    shapes = [text for text in texts if not text.endswith(".npy")]
    shapes += [f"{name}:{_joined(array.shape)}" for name, array in arrays.items()]
    if shapes:
        make_pass(get_pass("set-input-shapes"), {"shapes": shapes}).run(clone, Context())
    return {**execution.random_feeds(clone, sizes=(1,), enough=1)[0], **arrays}
