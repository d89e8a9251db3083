"""``onnxslim quantize``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options


@click.command("quantize", short_help="Quantize a model to int8 (static, QDQ) from sample inputs")
@options.model_argument
@options.output_options
@samples_options(required=True)
@options.stats_option
@options.metric_option
@options.min_sqnr_option
@options.max_drop_option
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
def quantize(**arguments: Any) -> int:
    """Quantize a model to int8 (static, QDQ) from sample inputs.

    What does not become an int8 kernel of onnxruntime stays in floating point. Where the result would be larger or
    slower, the slimmed model is written in floating point, and the report says so.
    """
    from onnxslim.api.quantize import quantize as run

    return carry_out(run, arguments, "quantize")
