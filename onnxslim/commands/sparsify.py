"""``onnxslim sparsify``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.output import named, progress, show
from onnxslim.commands.samples import samples_options, take_metric, take_samples


@click.command("sparsify", short_help="Zeros and few values in the weights, for a smaller file")
@options.model_argument
@options.output_options
@samples_options(required=False)
@options.metric_option
@options.min_sqnr_option
@options.max_drop_option
@options.record_option
@options.pass_options("sparsify")
@options.pass_options("encode")
@options.verify_option
@options.bench_option
@options.trust_option
@options.threads_option
@options.memory_option
@options.report_options
def sparsify(
    model: str, output: str | None, in_place: bool, as_json: bool, explain: bool, quiet: bool, **arguments: Any
) -> int:
    """Zeros and few values in the weights, for a smaller file.

    --sparsity, --pattern and --values say what becomes of the weights; with --metric alone, as many become zero as
    --max-drop allows. Without any of them no weight changes. --encoding says how the file holds them, always exactly.
    onnxruntime makes all weights dense when it loads the file: its size gains, memory and latency do not.
    """
    from onnxslim.api.sparsify import sparsify as run

    given = options.take_pass_options(arguments, "sparsify") | options.take_pass_options(arguments, "encode")
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
