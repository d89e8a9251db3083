"""The verbs: a static table, so that listing them imports none of them."""

from __future__ import annotations

import importlib
from typing import Any

import click

from onnxslim.errors import InputError, did_you_mean
from onnxslim.version import __version__

VERBS: dict[str, str] = {
    "convert": "Make an ONNX file of a framework's model, and compare their outputs",
    "slim": "Make a graph smaller without changing what it computes",
    "prune": "Remove channels and refit what reads them, from sample inputs",
    "quantize": "Quantize a model to int8 (static, QDQ) from sample inputs",
    "sparsify": "Zeros and few values in the weights, for a smaller file",
    "decode": "Store sparse and packed weights as plain ones again",
    "calibrate": "Measure ranges on samples once, for quantize --stats",
    "compress": "Find the smallest and fastest model that keeps what it must",
    "verify": "Compare the outputs of two models",
    "score": "Take a metric of a model on samples, with its interval",
    "bench": "Measure the latency of a model, or of two against each other",
    "inspect": "Show what a model is made of",
    "passes": "List the passes and their options",
    "doctor": "Check the environment",
}
"""Verb -> one line of help. Its command is what the module of that name in this package holds under that name."""

EPILOG = """\b
onnxslim IN OUT         the same as: onnxslim slim IN -o OUT --in-place
onnxslim ./slim OUT     a file with the name of a verb needs ./

\b
Exit codes: 0 done; 1 a check failed; 2 usage or bad input; 3 environment; 130 interrupted; 143 terminated."""


class VerbGroup(click.Group):
    """Imports the module of a verb when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb; None where there is no such verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"onnxslim.commands.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the verb that ``args`` begin with.

        Raises:
            InputError: There is none; the message lists near names.
        """
        if args[0] not in VERBS:
            raise InputError(f"there is no verb {args[0]!r}", mend=did_you_mean(args[0], VERBS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the table."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(__version__)
        ctx.exit()


@click.group(
    cls=VerbGroup,
    name="onnxslim",
    epilog=EPILOG,
    subcommand_metavar="VERB [OPTIONS] ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "-v",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version",
)
def group(**_: Any) -> None:
    """Make trained ONNX models smaller and faster on CPUs, and prove what was done."""
