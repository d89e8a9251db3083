"""How good a model is that is quantized by rule, once some scales are migrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import onnx_ir as ir

from onnxslim.analysis import infer_shapes
from onnxslim.evaluation import Reference, Tier
from onnxslim.pipeline import Context
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import JUDGED

from .migrate import Factors, migrate, migrations_of


class Quality:
    """dB of the outputs of a model that is quantized after a migration.

    Args:
        quantize: Quantizes a model in place, without a search.
        model: The float model; not changed.
        context: Of the pass that asks.
    """

    def __init__(self, quantize: Callable[[ir.Model, Context], object], model: ir.Model, context: Context) -> None:
        self._quantize, self._model, self._context = quantize, model, context
        samples = context.selection if context.selection is not None else context.samples
        feeds = feeds_of(samples or (), JUDGED)
        self._reference = Reference(model, feeds, tier=Tier.LOSSY, threads=context.threads)

    def __call__(self, factors: Mapping[str, Factors]) -> float:
        """Of the worst part; minus infinity where the model fails."""
        model, given = self._model.clone(), self._context
        for each in migrations_of(model, infer_shapes(model))[0] if factors else ():
            if each.key in factors:
                migrate(each, factors[each.key])
        # The store and all conditions are shared: what is measured of the model as it is is not measured again.
        self._quantize(model, replace(given, config=replace(given.config, progress=lambda _: None), limit=None))
        return self._reference.check(model).worst_sqnr
