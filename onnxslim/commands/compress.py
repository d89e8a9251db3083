"""``onnxslim compress``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options


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
@options.must_verify_option
@options.bench_option
@options.target_option
@options.trust_option
@options.custom_ops_option
@options.freeze_option
@options.threads_option
@options.memory_option
@options.report_options
def compress(recipe: str | None, **arguments: Any) -> int:
    """Slim, quantize, verify and measure: the whole job.

    Where the result would be larger or slower, a better one of the steps before it is written, and the report says so.
    """
    from onnxslim.api.compress import compress as run

    passes = {"slim": {}, "quantize": options.take_pass_options(arguments, "quantize")}
    return carry_out(run, arguments, recipe=options.make_recipe(recipe, passes), recipe_path=recipe)
