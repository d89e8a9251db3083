"""``onnxslim quantize``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options


@click.command("quantize", short_help="Quantize a model to int8 (static, QDQ) from sample inputs")
@options.model_argument
@options.output_options
@samples_options(required=True)
@options.run_options("stats", "metric", "labels", "min_sqnr", "max_drop", "plan", "record")
@options.pass_options("quantize")
@options.pass_options("store")
@options.run_options("verify", "must_verify", "bench", "target", "ops", "trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads", "memory")
@options.report_options
def quantize(**arguments: Any) -> int:
    """Quantize a model to int8 (static, QDQ) from sample inputs.

    What does not become an int8 kernel of onnxruntime is computed in floating point; its weights are stored in few bits
    as far as the outputs allow. Where int8 is wrong or slower, only weights are stored so, and the report says it.
    """
    from onnxslim.api.quantize import quantize as run

    return carry_out(run, arguments, "quantize", "store")
