"""``onnxslim prune``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options


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
@options.must_verify_option
@options.bench_option
@options.trust_option
@options.custom_ops_option
@options.freeze_option
@options.threads_option
@options.memory_option
@options.report_options
def prune(**arguments: Any) -> int:
    """Remove channels and refit what reads them, from sample inputs.

    How much goes: --ratio of each group of channels, --macs to keep, or --speedup to reach. Where the result does not
    hold on held-out samples, an earlier stage that does is written; where it would be larger or slower, the slimmed
    model with all its channels. The report says so.
    """
    from onnxslim.api.prune import prune as run

    return carry_out(run, arguments, "prune")
