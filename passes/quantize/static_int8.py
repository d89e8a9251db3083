"""Static int8 quantization: QDQ groups where onnxruntime has an int8 kernel that is faster, checked after building.

The source of the arithmetic: B. Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference (CVPR 2018), section 2.1. Which groups become kernels: onnxslim.ops.int8.

Long because the pass has three plans (kernels, migration, storage) under one set of options.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import onnx_ir as ir

from onnxslim.analysis import infer_shapes
from onnxslim.calibration import Histogram, Mean, Request, Statistics, collect, fingerprints, model_digest
from onnxslim.errors import InputError
from onnxslim.evaluation import Lengths, Tier
from onnxslim.execution import TARGETS, Target
from onnxslim.graph.edit import site
from onnxslim.graph.matcher import Matcher
from onnxslim.graph.walk import nodes
from onnxslim.ops.int8 import CONTRACTIONS, ELEMENTWISE, UNSUPPORTED, no_int8
from onnxslim.pipeline import Action, Context, Pass, PassResult
from onnxslim.pipeline.offer import Offer
from onnxslim.rewriter.opset import lift

from .adapt import adapted, lifted_of, with_migrations
from .bias import Means, mean_request
from .grid import Grid
from .group import OPERATORS, GroupNames, Int8Group, group_of, rebound
from .migrate import WORTH_DB, best_exponent, migrate, migrations_of
from .offers import offers_of
from .plan import Chosen, Migrated, QuantizePlan
from .qdq import Built, insert
from .quality import Quality
from .rounding import NEAREST, Rounded, Rounding, compensated
from .search import Int8Search
from .tensors import Span, centred, merged, span_of
from .weights_only import is_large, store_weights


@dataclass(frozen=True)
class QuantizeStatic(Pass):
    """Run nodes in int8, with activation ranges measured on samples, where that is measured to be faster and right.

    Every group that is inserted is looked up in the graph that onnxruntime makes of the result; what did not become an
    int8 kernel is taken out again, because it would only cost time and accuracy. Of what is left the search chooses by
    the error at the outputs and the time on this machine, both of single nodes and of whole candidates.
    """

    name: ClassVar[str] = "quantize"
    tier: ClassVar[Tier] = Tier.LOSSY
    needs_samples: ClassVar[bool] = True
    plan_types: ClassVar[tuple[type, ...]] = (QuantizePlan, Migrated, Chosen, GroupNames, Rounding, Rounded, Grid)

    ranges: Literal["auto", "min-max", "mse", "percentile", "entropy"] = field(
        default="auto",
        metadata={"help": "how the range of an activation is chosen; auto: each by the error at the outputs"},
    )
    percentile: float = field(
        default=99.99, metadata={"help": "share of values kept by --ranges percentile, in percent"}
    )
    operators: tuple[str, ...] = field(
        default=tuple(sorted(OPERATORS)),
        metadata={"help": "operators to quantize", "choices": tuple(sorted(OPERATORS))},
    )
    include: tuple[str, ...] = field(
        default=(), metadata={"help": 'nodes to choose from: names, or "re:PATTERN"; the others stay in float'}
    )
    exclude: tuple[str, ...] = field(
        default=(), metadata={"help": 'nodes to leave in float: names, or "re:PATTERN" for a regular expression'}
    )
    per_tensor: bool = field(default=False, metadata={"help": "one weight scale per tensor instead of per channel"})
    symmetric: bool = field(
        default=False, metadata={"help": "grids of activations that have negative values are centred on zero"}
    )
    rounding: Literal["nearest", "compensated"] = field(
        default="nearest",
        metadata={"help": "weights to the nearest integers, or to those that make up for each other's errors (GPTQ)"},
    )
    correct_bias: bool = field(
        default=True, metadata={"help": "correct biases for what rounding the weights does to the mean of an output"}
    )
    migrate: bool = field(
        default=True,
        metadata={"help": "even out the channels of activations by factors that weights take up, where that helps"},
    )
    search: bool = field(
        default=True,
        metadata={"help": "choose nodes by measured time and error; without, contractions are chosen by rule"},
    )
    weights_only: bool = field(
        default=False,
        metadata={"help": "compute in float, and only store weights in few bits: a smaller file at the same speed"},
    )
    weigh_bytes: bool = field(
        default=False,
        metadata={
            "help": "count the bytes that int8 saves as time, all as 7.5 %: for files whose other weights stay float"
        },
    )
    keep_slow: bool = field(
        default=False,
        metadata={"help": "quantize all that has a kernel, also where that is slower than float; no search"},
    )

    def plan(self, model: ir.Model, context: Context) -> QuantizePlan:
        """Measures, and decides what becomes int8.

        Raises:
            InputError: There are no samples, or an option is wrong.
        """
        self._check(context)
        migrated, model = self._migrated(model, context)
        return QuantizePlan(migrated, self.plan_int8(model, context))

    def _check(self, context: Context) -> None:
        if context.samples is None:
            raise InputError("static quantization needs samples", mend="give --samples, or samples= in Python")
        if not 50 < self.percentile <= 100:
            raise InputError(f"a percentile of {self.percentile} is no share to keep", mend="give one in (50, 100]")

    def _migrated(self, model: ir.Model, context: Context) -> tuple[Migrated, ir.Model]:
        """What migrates, and the model after it."""
        if not self.migrate or not self.search or self.weights_only or self.keep_slow:
            return Migrated(), model
        migrated = self.plan_migration(model, context)
        return migrated, with_migrations(model, migrated)

    def plan_int8(self, model: ir.Model, context: Context) -> Chosen:
        """What becomes int8 in a model whose scales are as they shall be."""
        if self.weights_only:
            candidates = self.candidates(model, context)
            return self.plan_storage(model, candidates, context) if candidates else Chosen()
        search = self._search(model, context)
        if search is None:
            return Chosen()
        chosen = search.run()
        for where, reason in chosen.declined:
            context.decline("quantize", where, reason)
        return chosen

    def _search(self, model: ir.Model, context: Context) -> Int8Search | None:
        """The search for the int8 form of a model whose scales are as they shall be; None where there is none."""
        candidates = self.candidates(model, context)
        lifted = lifted_of(model, context) if candidates else None
        if lifted is None:
            return None
        return Int8Search(self, lifted, candidates, self.measure(model, candidates, context), context)

    def offers(self, model: ir.Model, context: Context, known: Sequence[Offer] = ()) -> Iterator[Offer]:
        """Sets of nodes in int8, each built and measured; all at once, when the first is asked for.

        Where nothing may be timed, the time is that of a rule: the same model and samples give the same offers.
        """
        self._check(context)
        if self.weights_only:
            return
        migrated, migrated_model = self._migrated(model, context)
        search = self._search(migrated_model, context)
        if search is not None:
            yield from itertools.islice(offers_of(search, model, migrated, context), len(known), None)

    def adapt(self, decision: QuantizePlan, model: ir.Model, context: Context) -> QuantizePlan:
        """The decision for a model with fewer channels or other weights: ranges and means are measured again."""
        if self.weights_only or not decision.chosen.groups or decision.model == model_digest(model):
            return decision
        self._check(context)
        return adapted(self, decision, model, context)

    def apply(self, model: ir.Model, plan: QuantizePlan, context: Context) -> PassResult:
        """Does in place what was planned."""
        migrated, chosen = plan.migrated, plan.chosen
        for each in migrations_of(model, infer_shapes(model))[0] if migrated.factors else ():
            if each.key in migrated.factors and context.allow(migrated.action(each.key)):
                migrate(each, migrated.factors[each.key])
        # Only now, since a model in which nothing can be quantized shall keep its opset.
        if not chosen.groups or not (self.weights_only or lift(model, context)):
            return context.result()
        allowed = [
            group
            for group in rebound(model, chosen.groups)
            if context.allow(Action("quantize", (group.key,), site(group.node), chosen.details[group.key]))
        ]
        chosen.rounding.explain(allowed, context)
        if self.weights_only:
            store_weights(model, allowed, 8, not self.per_tensor, chosen.rounding)
        else:
            self.build(allowed, model, chosen.spans, chosen.means, chosen.rounding, TARGETS[chosen.target])
        return context.result()

    def plan_migration(self, model: ir.Model, context: Context) -> Migrated:
        """Which scales migrate: where the model that is quantized by rule is better for it, on the selection part."""
        if context.statistics:
            context.decline("migrate", "activations", "the statistics that are given are of the channels as they are")
            return Migrated()
        migrations, reasons = migrations_of(model, infer_shapes(model))
        for name, reason in reasons.items():
            context.decline("migrate", name, reason)
        refused = [each for each in migrations if Migrated().action(each.key).key in context.refused]
        for each in refused:
            context.decline("migrate", each.key, "a check failed with this rewrite")
        migrations = [each for each in migrations if each not in refused]
        if not migrations:
            return Migrated()
        assert context.samples is not None
        context.progress(f"try to migrate the scales of {len(migrations)} activations")
        requests = [each.request for each in migrations]
        ranges = collect(
            model,
            context.samples,
            requests,
            memory=context.memory,
            threads=context.threads,
            progress=context.progress,
        )
        by_rule = replace(self, migrate=False, search=False)
        quality = Quality(lambda trial, own: by_rule.apply(trial, by_rule.plan(trial, own), own), model, context)
        found = Migrated(*best_exponent(migrations, ranges, quality))
        if not found.factors and math.isfinite(found.before):
            reason = f"no exponent brings {WORTH_DB:g} dB over {found.before:.1f} dB"
            context.decline("migrate", "activations", reason)
        return found

    def plan_storage(self, model: ir.Model, groups: Sequence[Int8Group], context: Context) -> Chosen:
        """Which weights are stored in int8; nothing is computed in int8."""
        large, per_channel, rounding = [group for group in groups if is_large(group)], not self.per_tensor, NEAREST
        if self.rounding == "compensated":
            rounding = compensated(model, large, context, bits=8, per_channel=per_channel)
        lengths = Lengths(model, (context.samples, context.selection), context.threads)

        def build(some: Sequence[Int8Group]) -> ir.Model:
            trial = model.clone()
            store_weights(trial, rebound(trial, some), 8, per_channel, rounding)
            return trial

        kept, reason = lengths.kept(large, lambda each: each.node, build)
        for each in large:
            if each not in kept:
                context.decline("quantize", site(each.node), f"its values decide a length: {reason}")
        return Chosen(
            tuple(group.names for group in kept),
            rounding=rounding,
            details={group.key: rounding.detail(group, "weights only") for group in kept},
        )

    def candidates(self, model: ir.Model, context: Context) -> list[Int8Group]:
        """The groups worth trying, in graph order; what is left out is on record with its reason."""
        included, excluded = Matcher(self.include, "--include"), Matcher(self.exclude, "--exclude")
        facts = infer_shapes(model)
        found: list[Int8Group] = []
        for node in nodes(model):
            if not node.domain and node.op_type in UNSUPPORTED:
                context.decline(
                    "quantize", site(node), f"onnxruntime makes no int8 kernel of {node.op_type} and Q/DQ pairs"
                )
            if node.domain or node.op_type not in OPERATORS:
                continue
            group: str | Int8Group
            if node.graph is not model.graph:
                group = "it is in a subgraph or function"
            elif node.op_type not in self.operators:
                group = "its operator is not in --operators"
            elif excluded(node):
                group = "excluded"
            elif self.include and not included(node):
                group = "not included"
            else:
                group = group_of(node, facts)
            if not isinstance(group, str) and Action("quantize", (group.key,), site(node)).key in context.refused:
                group = "a check failed with this rewrite"
            if isinstance(group, Int8Group):
                found.append(group)
            elif node.op_type in CONTRACTIONS or node.op_type in ELEMENTWISE or no_int8(node):
                # Who moves integers expects nothing, and is not mentioned.
                context.decline("quantize", site(node), group)
        for matcher in (included, excluded):
            for pattern in matcher.check(model, _has_kernel):
                context.decline("quantize", matcher.option, f"{pattern!r} matches no node of the slimmed model")
        return found

    def measure(self, model: ir.Model, groups: Sequence[Int8Group], context: Context) -> Statistics:
        """Histograms of the values around the groups; one streaming run over the samples."""
        assert context.samples is not None
        requests = requests_of(groups, self.correct_bias)
        given = known(model, requests, context.statistics)
        requests = [each for each in requests if given.get(each) is None]
        if not requests:
            return given
        samples = context.samples

        def calibrate() -> Statistics:
            context.progress(f"calibrate {len({each.value for each in requests})} tensors")
            return collect(
                model,
                samples,
                requests,
                memory=context.memory,
                threads=context.threads,
                progress=context.progress,
            )

        measured = context.recall("statistics", model, calibrate, tuple(requests))
        entries, names_of = given.entries | measured.entries, given.names | measured.names
        return replace(measured, entries=entries, names=names_of)

    @classmethod
    def requests(cls, model: ir.Model) -> list[Request]:
        """What a model must be measured for, with the default options."""
        return requests_of(cls().candidates(model, Context()), means=True)

    def span(self, histogram: Histogram) -> Span:
        """The range that the rule of ``ranges`` gives; the full one where the search decides."""
        return span_of(histogram, "min-max" if self.ranges == "auto" else self.ranges, self.percentile)

    def build(
        self,
        groups: Sequence[Int8Group],
        model: ir.Model,
        spans: Mapping[str, Span],
        means: Means,
        rounding: Rounding,
        target: Target,
    ) -> Built:
        """Puts ``groups``, which are of ``model``, into int8, in the types that ``target`` wants."""
        bits = 7 if target.reduce_range else 8
        if self.symmetric:
            spans = {name: centred(span) for name, span in spans.items()}
        per_channel = not self.per_tensor
        return insert(
            model,
            groups,
            spans,
            activation=target.activation,
            bits=bits,
            per_channel=per_channel,
            means=means,
            rounding=rounding,
        )


def requests_of(groups: Sequence[Int8Group], means: bool) -> list[Request]:
    """A histogram of every value around the groups, and the means that correct biases."""
    names = dict.fromkeys(value.name or "" for group in groups for value in group.measured)
    wanted = [mean_request(group) for group in groups] if means else []
    return [*(Request(name, "histogram") for name in names), *dict.fromkeys(each for each in wanted if each)]


def known(model: ir.Model, requests: Sequence[Request], statistics: Sequence[Statistics]) -> Statistics:
    """What ``statistics`` hold of the requests, all that was measured of a value merged.

    Raises:
        InputError: Statistics were given and they hold none: they are of another model.
    """
    result = Statistics("given", 0, ())
    if not statistics or not requests:
        return result
    marks = {value.name: mark for value, mark in fingerprints(model).items()}
    for request in requests:
        key = (marks[request.value], request.what)
        found = [each for one in statistics if (each := one.entries.get(key)) is not None]
        histograms = [each for each in found if isinstance(each, Histogram)]
        means = [each for each in found if isinstance(each, Mean)]
        if histograms or means:
            result.entries[key] = merged(histograms) if histograms else Mean.pooled(means)
            result.names[request.value] = key[0]
    if not result.names:
        raise InputError(
            "the statistics are of another model",
            where="--stats",
            why=f"none of the {len({each.value for each in requests})} values that quantization needs is in them",
            mend="run `onnxslim calibrate` on this model, with this version of onnxslim",
        )
    return result


def _has_kernel(node: ir.Node) -> bool:
    return not node.domain and node.op_type in OPERATORS
