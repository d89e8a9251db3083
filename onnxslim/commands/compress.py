"""``onnxslim compress``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.lossy import carry_out
from onnxslim.commands.samples import samples_options
from onnxslim.errors import InputError
from onnxslim.search.config import SEARCH_OPTIONS, SECONDS
from onnxslim.search.goal import GOALS

if TYPE_CHECKING:
    from onnxslim.api.result import Result

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
@framework_options
@options.run_options("freeze_initializers", "threads", "memory")
@options.report_options
def compress(recipe: str | None, **arguments: Any) -> int:
    """Find the smallest and fastest model that keeps what it must.

    Pruned channels, int8 kernels and bits of weights are searched together. A first result is there within a minute and
    only gets better; Ctrl-C and the end of the time write the best one so far. What is reported was measured on samples
    that chose nothing. IN may be a folder of models, and -o one for the results: each model has its own search.
    """
    from onnxslim.api.compress import compress as run
    from onnxslim.converters.detect import is_foreign

    if os.path.isdir(arguments["model"]) and not is_foreign(arguments["model"]):
        return _folder(recipe, arguments)
    given = {name: options.take_pass_options(arguments, name) for name in ("quantize", "store")}
    search = {name: value for name in SEARCH_OPTIONS if (value := arguments.pop(name)) is not None}
    if recipe is not None:
        passes = options.make_recipe(recipe, given)
        return carry_out(run, arguments, recipe=passes, recipe_path=recipe, **search)
    return carry_out(run, arguments, search=True, **given["quantize"], **given["store"], **search)


def _folder(recipe: str | None, arguments: dict[str, Any]) -> int:
    """Compresses every model of a folder."""
    from onnxslim.api.compress import compress as run
    from onnxslim.api.many import compress_folder
    from onnxslim.commands.lossy import INTERRUPTED
    from onnxslim.commands.output import console, print_json
    from onnxslim.commands.samples import take_samples
    from onnxslim.commands.watching import watching
    from onnxslim.report import envelope
    from onnxslim.report.folder import document_of_folder
    from onnxslim.report.terminal import print_document

    folder, output, in_place = (arguments.pop(name) for name in ("model", "output", "in_place"))
    as_json, explain, quiet = (arguments.pop(name) for name in ("as_json", "explain", "quiet"))
    given = [options.take_pass_options(arguments, name) for name in ("quantize", "store")]
    for name in ("plan", "front", "report"):
        if arguments.pop(name) is not None:
            raise InputError(
                f"one {name} is of one model",
                where=f"--{name}",
                mend="leave it out, or name a model instead of a folder",
            )
    if output is None or in_place or recipe is not None or explain:
        raise InputError(
            "a folder of models needs -o, and takes no --in-place, --recipe or --explain",
            where=folder,
            mend="add -o FOLDER",
        )
    work, source = arguments.pop("work"), arguments["samples"]
    ended: list[bool] = []

    with watching(quiet) as watcher:

        def one(model: str, target: str, *, samples: Any, work: Any) -> Result:
            own = arguments | {"samples": samples}
            taken = take_samples(own, model)
            known: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
            known |= {"samples": taken, "work": work, "progress": watcher.say, "watch": watcher.see}
            return run(model, target, **known, **given[0], **given[1])

        def interrupted(result: Result) -> bool:
            ended.append(result.front is not None and result.front.interrupted)
            return ended[-1]

        report = compress_folder(
            folder,
            output,
            samples=source,
            run=one,
            work=work,
            settings=(arguments, *given),
            trust_data_dir=arguments["trust_data_dir"],
            interrupted=interrupted,
            progress=watcher.say,
        )
    if as_json:
        print_json(envelope("compress", **vars(report)))
    elif not quiet:
        print_document(document_of_folder(report), console())
    return INTERRUPTED if any(ended) else report.exit_code
