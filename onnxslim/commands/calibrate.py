"""``onnxslim calibrate``."""

from __future__ import annotations

import os
from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.output import console, print_json, progress
from onnxslim.commands.samples import samples_options, take_samples


@click.command("calibrate", short_help="Measure ranges on samples once, for quantize --stats")
@options.model_argument
@click.option("-o", "--output", type=click.Path(), required=True, metavar="STATS", help="Where the statistics go")
@samples_options(required=True)
@click.option(
    "--all-samples",
    is_flag=True,
    help="Measure on all samples, not only on the half that quantize would not judge the result by",
)
@options.run_options("trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads", "memory")
@options.json_option
@options.quiet_option
def calibrate(model: str, output: str, as_json: bool, quiet: bool, **arguments: Any) -> int:
    """Measure the ranges of activations on samples, and keep them in a file for quantize --stats.

    The statistics know values by what computes them: they hold for every model that computes the same there. Files
    that were made on other samples of the same model, on whatever machine, may be given to quantize together.
    """
    from onnxslim.api.calibrate import calibrate as run

    options.refuse_stdout(output)
    samples = take_samples(arguments, model)
    assert samples is not None
    with progress(quiet or as_json) as say:
        statistics = run(model, output, samples=samples, progress=say, **arguments)
    size, declined = os.path.getsize(output), {each.value: why for each, why in statistics.declined.items()}
    if as_json:
        from onnxslim.report import envelope

        print_json(
            envelope(
                "calibrate",
                model=model,
                output=output,
                tensors=len(statistics.entries),
                samples=statistics.samples,
                declined=declined,
                bytes=size,
            )
        )
    elif not quiet:
        from onnxslim.report.wording import size as shown

        left = f"; {len(declined)} could not be measured" if declined else ""
        line = f"calibrate: {len(statistics.entries)} tensors measured{left}; {output}: {shown(size)}"
        console().print(line, highlight=False, markup=False, soft_wrap=True)
    return 0
