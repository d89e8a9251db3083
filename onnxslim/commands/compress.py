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
@options.run_options("stats", "metric", "labels", "min_sqnr", "max_drop", "plan")
@options.recipe_option
@options.run_options("record")
@options.pass_options("quantize")
@options.pass_options("store")
@options.run_options("verify", "must_verify", "bench", "target", "ops", "trust_data_dir")
@options.custom_ops_option
@options.run_options("freeze_initializers", "threads", "memory")
@options.report_options
def compress(recipe: str | None, **arguments: Any) -> int:
    """Slim, quantize, verify and measure: the whole job.

    Where the result would be larger or slower, a better one of the steps before it is written, and the report says so.
    """
    from onnxslim.api.compress import compress as run

    given = {name: options.take_pass_options(arguments, name) for name in ("quantize", "store")}
    if recipe is not None:
        return carry_out(run, arguments, recipe=options.make_recipe(recipe, given), recipe_path=recipe)
    return carry_out(run, arguments, **given["quantize"], **given["store"])
