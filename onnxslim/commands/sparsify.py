"""``onnxslim sparsify``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options


@click.command("sparsify", short_help="Zeros and few values in the weights, for a smaller file")
@options.model_argument
@options.output_options
@samples_options(required=False)
@options.run_options("metric", "labels", "min_sqnr", "max_drop", "plan", "record")
@options.pass_options("sparsify")
@options.pass_options("encode")
@options.run_options("verify", "must_verify", "bench", "ops", "trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads", "memory")
@options.report_options
def sparsify(**arguments: Any) -> int:
    """Zeros and few values in the weights, for a smaller file.

    --sparsity, --pattern and --values say what becomes of the weights; with --metric alone, as many become zero as
    --max-drop allows. Without any of them no weight changes. --encoding says how the file holds them, always exactly.
    onnxruntime makes all weights dense when it loads the file: its size gains, memory and latency do not.
    """
    from onnxslim.api.sparsify import sparsify as run

    return carry_out(run, arguments, "sparsify", "encode")
