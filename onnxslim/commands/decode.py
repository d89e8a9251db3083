"""``onnxslim decode``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.output import progress, show


@click.command("decode", short_help="Store sparse and packed weights as plain ones again")
@options.model_argument
@options.output_options
@options.run_options("verify", "must_verify", "trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads")
@options.report_options
def decode(
    model: str, output: str | None, in_place: bool, as_json: bool, explain: bool, quiet: bool, **arguments: Any
) -> int:
    """Store sparse and packed weights as plain ones again, bit for bit, for tools that do not know them."""
    from onnxslim.api.decode import decode as run

    target = options.output_path(model, output, in_place)
    with progress(quiet or as_json) as say:
        result = run(model, target, in_place=in_place, progress=say, **arguments)
    show(result.report, as_json=as_json, explain=explain, quiet=quiet)
    return 0
