"""Do two models compute the same?"""

from __future__ import annotations

import itertools
import math
import os

import onnx_ir as ir

from onnxslim.api.quality import MIN_SQNR, hold_to
from onnxslim.api.source import AnyModel, AnySamples, open_samples, open_source
from onnxslim.errors import InputError, did_you_mean
from onnxslim.runtime import Feed, Parity, Reference, Tier, random_feeds
from onnxslim.runtime.findings import Evidence

MAX_SAMPLES = 64


def verify(
    reference: AnyModel,
    candidate: AnyModel,
    *,
    samples: AnySamples | None = None,
    tier: Tier | str | None = None,
    min_sqnr: float = MIN_SQNR,
    threads: int = 1,
    trust_data_dir: str | os.PathLike[str] | None = None,
) -> Parity:
    """Compares interfaces and outputs of two models.

    Args:
        reference: The model that is right.
        candidate: The model to judge.
        samples: Representative inputs; without them random ones give structural evidence.
        tier: ``exact``, ``numeric`` or ``lossy``. None means lossy where the candidate has quantized nodes that the
            reference has not, else numeric.
        min_sqnr: dB that every float output must keep at the lossy tier, on samples; on random inputs it is not asked.
        threads: Threads of the sessions.
        trust_data_dir: A folder outside the models' own in which their external data may lie.

    Returns:
        What was found; ``parity.passed`` says whether the candidate may stand for the reference.

    Raises:
        InputError: A model, the samples or the tier cannot be used.
    """
    if math.isnan(min_sqnr):
        raise InputError("min_sqnr is not a number", mend=f"give dB, {MIN_SQNR:g} by default")
    first = open_source(reference, trust_data_dir=trust_data_dir)
    second = open_source(candidate, trust_data_dir=trust_data_dir)
    if isinstance(tier, str):
        names = {t.name.lower(): t for t in Tier}
        if tier not in names:
            raise InputError(f"there is no tier {tier!r}", mend=did_you_mean(tier, names))
        tier = names[tier]
    if tier is None:
        quantized = [any("Quantize" in op for op in source.facts.ops) for source in (first, second)]
        tier = Tier.LOSSY if quantized == [False, True] else Tier.NUMERIC
    feeds = feeds_of(first.model, samples)
    evidence: Evidence = "random inputs" if samples is None else "samples"
    parity = Reference(first.model, feeds, tier=tier, threads=threads, evidence=evidence).check(second.model)
    return parity if evidence == "random inputs" else hold_to(parity, min_sqnr)


def feeds_of(model: ir.Model, samples: AnySamples | None) -> list[Feed]:
    """The inputs that two models are compared on: the first samples, or random ones of several sizes."""
    found = open_samples(samples, model)
    if found is None:
        return random_feeds(model)
    return [sample.feed for sample in itertools.islice(found, MAX_SAMPLES)]
