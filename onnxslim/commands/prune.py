"""``onnxslim prune``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options


@click.command("prune", short_help="Remove channels and refit what reads them, from sample inputs")
@options.model_argument
@options.output_options
@samples_options(required=True)
@options.run_options("metric", "labels", "min_sqnr", "max_drop", "plan", "record")
@options.pass_options("prune")
@options.run_options("verify", "must_verify", "bench", "trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads", "memory")
@options.report_options
def prune(**arguments: Any) -> int:
    """Remove channels and refit what reads them, from sample inputs.

    How much goes: --ratio of each group of channels, --macs to keep, or --speedup to reach. Where the result does not
    hold on held-out samples, an earlier stage that does is written; where it would be larger or slower, the slimmed
    model with all its channels. The report says so.
    """
    from onnxslim.api.prune import prune as run

    return carry_out(run, arguments, "prune")
