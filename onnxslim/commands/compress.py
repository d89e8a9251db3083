"""``onnxslim compress``."""

from __future__ import annotations

import re
from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options
from onnxslim.search.config import SEARCH_OPTIONS, SECONDS
from onnxslim.search.goal import GOALS

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(text: str | float) -> float:
    """A time: ``90``, ``90s``, ``10m``, ``1.5h``.

    >>> seconds("10m"), seconds("1.5h")
    (600.0, 5400.0)

    Raises:
        click.BadParameter: It is none.
    """
    if isinstance(text, float):  # the default
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    if match is None or match[2].lower() not in UNITS or not float(match[1]):
        raise click.BadParameter(f"{text!r} is not a time; write it like 90s, 10m or 1h")
    return float(match[1]) * UNITS[match[2].lower()]


search_options = options.chain(
    click.option(
        "--goal",
        type=click.Choice(GOALS),
        help="What is to be best: size times speed (balanced), size, or speed  [default: balanced]",
    ),
    click.option("--max-size", type=options.byte_size, metavar="SIZE", help="The file takes at most so much"),
    click.option(
        "--min-speedup", type=options.finite, metavar="X", help="The result is at least X times as fast as IN"
    ),
    click.option(
        "--time", type=seconds, metavar="TIME", help=f"Time for the search, such as 90s  [default: {SECONDS / 60:g}m]"
    ),
    click.option(
        "--work",
        type=click.Path(),
        metavar="DIR",
        help="Folder of the journal: the same command goes on where it was ended",
    ),
    click.option(
        "--front", type=click.Path(), metavar="DIR", help="Write each model of which no other is smaller and faster"
    ),
    click.option("--workers", type=click.IntRange(min=1), help="Processes of the search  [default: one for each CPU]"),
    click.option("--engine", metavar="URL", help="Where models are built: dask://HOST:PORT, or in-process"),
    click.option(
        "--keep-nearest", is_flag=True, default=None, help="Write the nearest result where none keeps size and speed"
    ),
)


@click.command("compress", short_help="Find the smallest and fastest model that keeps what it must")
@options.model_argument
@options.output_options
@samples_options(required=True)
@options.run_options("stats", "metric", "labels", "min_sqnr", "max_drop")
@search_options
@options.run_options("plan")
@options.recipe_option
@options.run_options("record")
@options.pass_options("quantize")
@options.pass_options("store")
@options.run_options("verify", "must_verify", "bench", "target", "ops", "trust_data_dir")
@options.custom_ops_option
@options.run_options("freeze_initializers", "threads", "memory")
@options.report_options
def compress(recipe: str | None, **arguments: Any) -> int:
    """Find the smallest and fastest model that keeps what it must.

    Pruned channels, int8 kernels and bits of weights are searched together. A first result is there within a minute and
    only gets better; Ctrl-C and the end of the time write the best one so far. What is reported was measured on samples
    that chose nothing.
    """
    from onnxslim.api.compress import compress as run

    given = {name: options.take_pass_options(arguments, name) for name in ("quantize", "store")}
    search = {name: value for name in SEARCH_OPTIONS if (value := arguments.pop(name)) is not None}
    if recipe is not None:
        passes = options.make_recipe(recipe, given)
        return carry_out(run, arguments, recipe=passes, recipe_path=recipe, **search)
    return carry_out(run, arguments, search=True, **given["quantize"], **given["store"], **search)
