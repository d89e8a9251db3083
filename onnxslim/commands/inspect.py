"""``onnxslim inspect``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.output import console, print_json


@click.command("inspect", short_help="Show what a model is made of")
@options.model_argument
@click.option("--text", is_flag=True, help="Print the graph as text instead")
@click.option("--weights", is_flag=True, help="Read the weights: zeros, values, and bytes by encoding")
@options.run_options("trust_data_dir", "freeze_initializers")
@framework_options
@options.json_option
def inspect(model: str, text: bool, weights: bool, as_json: bool, **how: Any) -> int:
    """Show what a model is made of: size, inputs and outputs, opsets, operators, weights.

    Subgraphs are counted, a function's body once for each call, Constant nodes as weights.
    """
    from onnxslim.api.inspect import inspect as run
    from onnxslim.errors import InputError

    for flag, given in (("--json", as_json), ("--weights", weights)):
        if text and given:
            raise InputError(f"--text and {flag} exclude each other", mend="leave one out")
    if text:
        from onnxslim.graph import load
        from onnxslim.graph import show as as_text

        click.echo(as_text(load(model, **how)))
        return 0
    facts = run(model, weights=weights, **how)
    if as_json:
        from onnxslim.report import envelope

        print_json(envelope("inspect", model=facts))
    else:
        from onnxslim.report.document import document_of_facts
        from onnxslim.report.terminal import print_document

        print_document(document_of_facts(facts), console())
    return 0
