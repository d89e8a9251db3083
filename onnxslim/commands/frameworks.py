"""Options of verbs whose model may be a framework's."""

from __future__ import annotations

import functools
from typing import Any

import click

from onnxslim.commands.options import F, chain

convert_options = chain(
    click.option(
        "--from", "source_kind", metavar="KIND", help="Converter of a framework's model  [default: by its form]"
    ),
    click.option(
        "--python",
        type=click.Path(),
        help="Python, or folder of a venv, that has the framework  [default: the one that runs onnxslim]",
    ),
    click.option("--trust-code", is_flag=True, help="Read forms that run code which the file brings, such as pickles"),
)


def framework_options(function: F, /) -> F:
    """Adds how a model is converted that is no ONNX file: for as long as the command runs."""

    @functools.wraps(function)
    def run(*args: Any, **arguments: Any) -> Any:
        from onnxslim.api.frameworks import frameworks

        how = {name: arguments.pop(name) for name in ("source_kind", "python", "trust_code")}
        silent = arguments.get("quiet") or arguments.get("as_json")
        with frameworks(**how, progress=(lambda _: None) if silent else _say):
            return function(*args, **arguments)

    return convert_options(run)  # type: ignore[return-value]


def _say(text: str) -> None:
    """Progress of a conversion, which comes before a verb's own."""
    click.echo(f"onnxslim: {text}", err=True)
