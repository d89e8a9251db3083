"""Do two models compute the same?"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.api.source import AnyModel, AnySamples, Source, open_samples, open_source
from onnxslim.errors import CannotRun, Crashed, InputError, did_you_mean
from onnxslim.evaluation import Parity, Reference, Tier
from onnxslim.evaluation.measurement import hold_to
from onnxslim.execution import Feed, operators_from, random_feeds, untried_feeds
from onnxslim.execution.ort import Libraries
from onnxslim.graph.edit import constant_tensor
from onnxslim.pipeline.config import MIN_SQNR
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import HELD_OUT


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found, and the inputs that it was found on."""

    parity: Parity
    feeds: tuple[Feed, ...]


def verify(
    reference: AnyModel,
    candidate: AnyModel,
    *,
    samples: AnySamples | None = None,
    tier: Tier | str | None = None,
    min_sqnr: float | None = None,
    threads: int = 1,
    trust_data_dir: str | os.PathLike[str] | None = None,
    custom_op_library: Libraries = (),
    freeze_initializers: bool = False,
) -> Parity:
    """Compares interfaces and outputs of two models.

    Args:
        reference: The model that is right.
        candidate: The model to judge.
        samples: Representative inputs; without them random ones give structural evidence.
        tier: ``exact``, ``numeric`` or ``lossy``. None means lossy where the candidate has quantized nodes or weights
            that the reference has not, else numeric.
        min_sqnr: dB that every float output must keep at the lossy tier, on samples; None means `MIN_SQNR`.
        threads: Threads of the sessions.
        trust_data_dir: A folder outside the models' own in which their external data may lie.
        custom_op_library: Path of a library of custom operators, or several.
        freeze_initializers: Whether initializers that are inputs too are constants, which no caller replaces. Up to IR
            version 3 they always are.

    Returns:
        What was found; ``parity.passed`` says whether the candidate may stand for the reference.

    Raises:
        InputError: A model, the samples or the tier cannot be used, or ``min_sqnr`` is given without samples.
        Crashed: onnxruntime does not survive the reference.
    """
    with operators_from(custom_op_library):
        return find_parity(
            reference,
            candidate,
            samples=samples,
            tier=tier,
            min_sqnr=min_sqnr,
            threads=threads,
            trust_data_dir=trust_data_dir,
            freeze_initializers=freeze_initializers,
        ).parity


def find_parity(
    reference: AnyModel,
    candidate: AnyModel,
    *,
    samples: AnySamples | None = None,
    tier: Tier | str | None = None,
    min_sqnr: float | None = None,
    threads: int = 1,
    trust_data_dir: str | os.PathLike[str] | None = None,
    freeze_initializers: bool = False,
) -> Verified:
    """`verify`, with the inputs that the models were compared on."""
    if min_sqnr is not None and math.isnan(min_sqnr):
        raise InputError("min_sqnr is not a number", mend=f"give dB, {MIN_SQNR:g} by default")
    if min_sqnr is not None and samples is None:
        raise InputError(
            "min_sqnr needs samples",
            why="what a lossy model does on random inputs says nothing of its quality",
            mend="give samples, or leave min_sqnr out",
        )
    first = open_source(reference, trust_data_dir=trust_data_dir, freeze_initializers=freeze_initializers)
    second = open_source(candidate, trust_data_dir=trust_data_dir, freeze_initializers=freeze_initializers)
    if isinstance(tier, str):
        names = {t.name.lower(): t for t in Tier}
        if tier not in names:
            raise InputError(f"there is no tier {tier!r}", mend=did_you_mean(tier, names))
        tier = names[tier]
    if tier is None:
        quantized = [_is_quantized(source) for source in (first, second)]
        tier = Tier.LOSSY if quantized == [False, True] else Tier.NUMERIC
    side = _reference(first.model, samples, tier, threads)
    parity = side.check(second.model)
    if side.evidence == "samples":
        parity = hold_to(parity, MIN_SQNR if min_sqnr is None else min_sqnr)
    return Verified(parity, tuple(side.feeds))


def _is_quantized(source: Source) -> bool:
    """Whether it computes in integers, or keeps weights in them that it casts to floats."""
    if any("Quantize" in op for op in source.facts.ops):
        return True
    for node in source.model.graph:
        tensor = constant_tensor(node.inputs[0]) if node.op_type == "Cast" and node.inputs else None
        if tensor is not None and tensor.dtype in (ir.DataType.INT8, ir.DataType.UINT8) and len(tensor.shape) > 1:
            return True
    return False


def _reference(model: ir.Model, samples: AnySamples | None, tier: Tier, threads: int) -> Reference:
    """The side that is right, on the first samples, or on random inputs of several sizes."""
    found = open_samples(samples, model)
    if found is not None:
        feeds = feeds_of(found, HELD_OUT)
        return Reference(model, feeds, tier=tier, threads=threads, evidence="samples")
    try:
        return Reference(model, untried_feeds(model), tier=tier, threads=threads)
    except Crashed:
        raise
    except CannotRun:  # perhaps it runs at other sizes
        return Reference(model, random_feeds(model), tier=tier, threads=threads)
