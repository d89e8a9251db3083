"""``onnxslim slim``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.output import progress, show
from onnxslim.commands.samples import samples_options, take_samples


@click.command("slim", short_help="Make a graph smaller without changing what it computes")
@options.model_argument
@options.output_options
@samples_options()
@options.recipe_option
@options.pass_options("slim")
@options.run_options("verify", "must_verify", "ops", "trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads", "memory")
@options.report_options
def slim(
    model: str,
    output: str | None,
    in_place: bool,
    recipe: str | None,
    as_json: bool,
    explain: bool,
    quiet: bool,
    **arguments: Any,
) -> int:
    """Make a graph smaller without changing what it computes.

    Constants are folded where the file does not grow, repeated and unused nodes removed, BatchNormalization folded into
    Conv. The outputs are compared with the original's, on --samples or else on random inputs.
    """
    from onnxslim.api.slim import simplify as run

    given = options.take_pass_options(arguments, "slim")
    target = options.output_path(model, output, in_place)
    samples = take_samples(arguments, model)
    with progress(quiet or as_json) as say:
        result = run(
            model,
            target,
            samples=samples,
            in_place=in_place,
            recipe=options.make_recipe(recipe, {"slim": given}),
            recipe_path=recipe,
            time_sessions=arguments["verify"],
            progress=say,
            **arguments,
        )
    show(result.report, as_json=as_json, explain=explain, quiet=quiet)
    return 0
