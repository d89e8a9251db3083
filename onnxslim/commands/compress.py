"""``onnxslim compress``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.output import named, progress, show
from onnxslim.commands.samples import samples_options, take_metric, take_samples


@click.command("compress", short_help="Slim, quantize, verify and measure: the whole job")
@options.model_argument
@options.output_options
@samples_options(required=True)
@options.stats_option
@options.metric_option
@options.min_sqnr_option
@options.max_drop_option
@options.recipe_option
@options.record_option
@options.pass_options("quantize")
@options.verify_option
@options.bench_option
@options.target_option
@options.trust_option
@options.threads_option
@options.memory_option
@options.report_options
def compress(
    model: str,
    output: str | None,
    in_place: bool,
    recipe: str | None,
    as_json: bool,
    explain: bool,
    quiet: bool,
    **arguments: Any,
) -> int:
    """Slim, quantize, verify and measure: the whole job.

    Where the result would be larger or slower, a better one of the steps before it is written, and the report says so.
    """
    from onnxslim.api.compress import compress as run

    passes = {"slim": {}, "quantize": options.take_pass_options(arguments, "quantize")}
    options.drop_unset(arguments, "min_sqnr", "max_drop")
    target = options.output_path(model, output, in_place)
    name = arguments["metric"]
    samples, metric = take_samples(arguments, model), take_metric(arguments, model)
    with progress(quiet or as_json) as say:
        result = run(
            model,
            target,
            samples=samples,
            metric=metric,
            in_place=in_place,
            recipe=options.make_recipe(recipe, passes),
            recipe_path=recipe,
            progress=say,
            **arguments,
        )
    show(named(result.report, name), as_json=as_json, explain=explain, quiet=quiet)
    return 0
