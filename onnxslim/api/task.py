"""What a verb works on: the model, the samples and the configuration, and the pipelines that are made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim.api.output import size_of, weigh
from onnxslim.api.source import AnyModel, Source, check_output, open_samples, open_source
from onnxslim.errors import InputError, did_you_mean
from onnxslim.evaluation.baseline import named_metric
from onnxslim.evaluation.evaluator import Evaluator
from onnxslim.graph.atomic import check_writable
from onnxslim.packing import decoded_values
from onnxslim.pipeline import RUN_OPTIONS, Context, Pass, Pipeline, RunConfig, Store, get_pass
from onnxslim.pipeline.config import MIN_SQNR
from onnxslim.report.words import Verb
from onnxslim.search.fallback import lossy_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.api.converting import Conversion
    from onnxslim.calibration import Statistics
    from onnxslim.report import ModelFacts
    from onnxslim.samples import Samples


@dataclass(frozen=True, eq=False)
class Task:
    """One call of a verb.

    Attributes:
        verb: Its words.
        passes: In their order.
        config: How it runs; the metric is a function.
        source: The model, with plain weights where the verb looks at weights.
        packed: The model as it came.
        facts: The model as it came, in numbers.
        evaluator: Measures against the model, on its samples.
        metric: The metric as it was named; empty where it was given as a function.
        converted: Compares with the model before its float type was converted; None where it was not.
    """

    verb: Verb
    passes: Sequence[Pass]
    config: RunConfig
    source: Source
    packed: ir.Model
    facts: ModelFacts
    evaluator: Evaluator
    metric: str = ""
    converted: Conversion | None = None
    store: Store = field(default_factory=Store)

    @property
    def samples(self) -> Samples | None:
        """All samples; None where there are none."""
        return self.evaluator.samples

    def pipeline(
        self,
        passes: Sequence[Pass],
        samples: Samples | None,
        selection: Samples | None = None,
        statistics: Sequence[Statistics] = (),
        store: Store | None = None,
    ) -> Pipeline:
        """Passes that run as the verb does."""
        return Pipeline(passes, self.config, samples, selection, statistics, store)


def open_task(
    verb: Verb, model: AnyModel, output: str | os.PathLike[str] | None, passes: Sequence[Pass], config: RunConfig
) -> Task:
    """Opens the model and the samples.

    Raises:
        InputError: The model, the samples, the output or a combination of options cannot be used.
    """
    passes = _complete(passes, config.checked())
    _refuse_after_packing(passes)
    source = open_source(
        model,
        trust_data_dir=config.trust_data_dir,
        freeze_initializers=config.freeze_initializers,
        samples=config.samples,
    )
    facts = source.facts
    given: dict[str, object] = {
        "samples": config.samples,
        "labels": config.labels,
        "recipe": config.recipe_path,
        "plan": config.plan,
    }
    given |= {f"statistics {each!r}": each for each in config.stats if isinstance(each, str | os.PathLike)}
    check_output(source, output, in_place=config.in_place, others=given)
    _check_plan(config)
    converted = None
    if config.prepare is not None:
        converted = config.prepare(source.model)
        source = replace(source, given=source.model, bytes=size_of(weigh(source.model)))
    packed = source.model
    if verb.unpacks:
        source = replace(source, model=_unpacked(packed, config))
    samples = open_samples(config.samples, source.model, config.labels)
    named = config.metric
    if named is not None:
        config = replace(config, metric=named_metric(named, source.model, config.threads))
    lossy = lossy_of(passes)
    if samples is None and lossy and (named is not None or any(each.needs_samples for each in lossy)):
        raise InputError(
            f"{verb.name} needs samples" if named is None else "a metric needs samples",
            mend="give --samples: a folder of .npz, a .npy, a folder of images, module:function",
        )
    if samples is None and config.min_sqnr != MIN_SQNR:
        raise InputError("min_sqnr needs samples", mend="give --samples too, or leave it out")
    evaluator = Evaluator(
        source.model,
        samples,
        metric=config.score,
        threads=config.threads,
        memory=config.memory,
        verify=config.verify,
        bench=config.timed,
        progress=config.progress,
    )
    return Task(
        verb.of([each.name for each in lossy]),
        passes,
        config,
        source,
        packed,
        facts,
        evaluator,
        named if isinstance(named, str) else "",
        converted,
        Store(config.plan),
    )


def divide(verb: str, given: Mapping[str, Any], *passes: str) -> tuple[RunConfig, list[dict[str, Any]]]:
    """The keyword arguments of a verb, by what they are of: the run, then each pass.

    Args:
        verb: Its name, for messages.
        given: The arguments.
        passes: Names of the passes whose fields are the verb's options too.

    Raises:
        InputError: A name is none of these; the message offers the nearest of all of them.
    """
    known = [{field.name for field in get_pass(name).options()} for name in passes]
    for name in given:
        if name not in RUN_OPTIONS.union(*known):
            raise InputError(f"{verb} has no option {name!r}", mend=did_you_mean(name, RUN_OPTIONS.union(*known)))
    config = RunConfig(**{name: value for name, value in given.items() if name in RUN_OPTIONS})
    own = [{name: value for name, value in given.items() if name in each - RUN_OPTIONS} for each in known]
    return config, own


def _check_plan(config: RunConfig) -> None:
    """Refuses a file of plans that could not be written: before the work, not after it.

    Raises:
        InputError: The path is none, lies in the folder of samples, or cannot be written.
    """
    path, samples = config.plan, config.samples
    if path is None:
        return
    where = os.fspath(path)
    if not isinstance(where, str) or where == "":
        raise InputError("plan is no path", where=repr(where), mend="name a file")
    folder = samples if isinstance(samples, str | os.PathLike) and os.path.isdir(samples) else None
    if folder is not None and Path(os.path.realpath(where)).is_relative_to(os.path.realpath(folder)):
        raise InputError("the plan would be a sample", where=where, mend="name a file outside the samples' folder")
    check_writable(where)


def _complete(passes: Sequence[Pass], config: RunConfig) -> list[Pass]:
    """The passes with what the configuration adds; those that pack stay the last ones, for they name what they pack."""
    found = list(passes)
    if not config.strip:
        return found
    strip = get_pass("strip")
    if not any(isinstance(each, strip) for each in found):
        at = next((i for i, each in enumerate(found) if each.packs), len(found))
        found.insert(at, strip())
    return found


def _refuse_after_packing(passes: Sequence[Pass]) -> None:
    """Refuses passes that change weights behind one that packs them: most see none then, and do nothing."""
    packed: Pass | None = None
    for each in passes:
        if each.packs:
            packed = each
        elif each.unpacks:
            packed = None
        elif packed is not None and lossy_of([each]):
            raise InputError(
                f"{each.name} comes after {packed.name}, which packs the weights that it would change",
                where="the passes",
                mend=f"let {packed.name} be the last one, or put decode between them",
            )


def _unpacked(model: ir.Model, config: RunConfig) -> ir.Model:
    """The model, or a copy with plain tensors where there are packed ones."""
    if not any(True for graph in model.graphs() for _ in decoded_values(graph)):
        return model
    plain = model.clone()
    get_pass("decode")().run(plain, Context(config))
    return plain
