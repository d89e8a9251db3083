"""``onnxslim sparsify``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options


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
@options.must_verify_option
@options.bench_option
@options.trust_option
@options.custom_ops_option
@options.freeze_option
@options.threads_option
@options.memory_option
@options.report_options
def sparsify(**arguments: Any) -> int:
    """Zeros and few values in the weights, for a smaller file.

    --sparsity, --pattern and --values say what becomes of the weights; with --metric alone, as many become zero as
    --max-drop allows. Without any of them no weight changes. --encoding says how the file holds them, always exactly.
    onnxruntime makes all weights dense when it loads the file: its size gains, memory and latency do not.
    """
    from onnxslim.api.sparsify import sparsify as run

    return carry_out(run, arguments, "sparsify", "encode")
