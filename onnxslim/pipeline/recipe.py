"""Recipes: a pipeline as a TOML file, ``[[pass]]`` tables whose fields are the passes' fields."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from onnxslim.errors import InputError
from onnxslim.graph.regular import check_regular
from onnxslim.pipeline.options import make_pass, values_of
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.rewrite import Pass

EXAMPLE = 'write tables like [[pass]], then name = "slim" on the next line'


def load_recipe(path: str | os.PathLike[str]) -> list[Pass]:
    """Reads a recipe file.

    Raises:
        InputError: The file cannot be read, is no TOML, or names a pass, option or value that does not exist.
    """
    try:
        check_regular(path, "the recipe")
        text = Path(path).read_text(encoding="utf-8")
    except InputError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        mend = "name a TOML file with [[pass]] tables"
        raise InputError("the recipe cannot be read", where=os.fspath(path), why=why, mend=mend) from error
    return parse_recipe(text, where=os.fspath(path))


def parse_recipe(text: str, *, where: str = "recipe") -> list[Pass]:
    """The passes that a recipe's text asks for, in order.

    Raises:
        InputError: As ``load_recipe`` does.
    """
    import tomllib  # most runs read no recipe

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError("the recipe is not valid TOML", where=where, why=str(error), mend=EXAMPLE) from error
    entries = table.pop("pass", [])
    if table:
        raise InputError(f"unknown top-level key {sorted(table)[0]!r}", where=where, mend="use [[pass]] tables only")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("'pass' is not a list of tables", where=where, mend="write [[pass]], with two brackets")
    if not entries:
        raise InputError("the recipe has no pass", where=where, mend='add a table: [[pass]] name = "slim"')
    return [_read_entry(entry, f"{where}, pass {number}") for number, entry in enumerate(entries, 1)]


def _read_entry(entry: dict[str, Any], where: str) -> Pass:
    options = dict(entry)
    name = options.pop("name", None)
    if not isinstance(name, str):
        what = "the pass has no name" if name is None else f"a pass's name is text, not {name!r}"
        raise InputError(what, where=where, mend='add name = "..."; `onnxslim passes` lists them')
    return make_pass(get_pass(name), options, where=where)


def dump_recipe(passes: Iterable[Pass]) -> str:
    """The recipe that gives these passes, with every field resolved; ``parse_recipe`` reads it back."""
    tables = []
    for instance in passes:
        lines = ["[[pass]]", f"name = {json.dumps(instance.name)}"]
        # TOML has no null: a field that is None is left out, and its default is None.
        lines += [f"{key} = {_toml(value)}" for key, value in values_of(instance).items() if value is not None]
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, integers and booleans are JSON's
