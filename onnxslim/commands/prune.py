"""``onnxslim prune``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.output import named, progress, show
from onnxslim.commands.samples import samples_options, take_metric, take_samples


@click.command("prune", short_help="Remove channels and refit what reads them, from sample inputs")
@options.model_argument
@options.output_options
@samples_options(required=True)
@options.metric_option
@options.min_sqnr_option
@options.max_drop_option
@options.record_option
@options.pass_options("prune")
@options.verify_option
@options.bench_option
@options.trust_option
@options.threads_option
@options.memory_option
@options.report_options
def prune(
    model: str, output: str | None, in_place: bool, as_json: bool, explain: bool, quiet: bool, **arguments: Any
) -> int:
    """Remove channels and refit what reads them, from sample inputs.

    How much goes: --ratio of each group of channels, --macs to keep, or --speedup to reach. Where the result would be
    larger or slower, the slimmed model is written with all its channels, and the report says so.
    """
    from onnxslim.api.prune import prune as run

    given = options.take_pass_options(arguments, "prune")
    options.drop_unset(arguments, "min_sqnr", "max_drop")
    target = options.output_path(model, output, in_place)
    name = arguments["metric"]
    samples, metric = take_samples(arguments, model), take_metric(arguments, model)
    with progress(quiet or as_json) as say:
        result = run(
            model, target, samples=samples, metric=metric, in_place=in_place, progress=say, **arguments, **given
        )
    show(named(result.report, name), as_json=as_json, explain=explain, quiet=quiet)
    return 0
