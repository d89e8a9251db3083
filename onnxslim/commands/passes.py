"""``onnxslim passes``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.output import console, print_json


@click.command("passes", short_help="List the passes and their options")
@click.argument("name", required=False)
@options.json_option
def passes(name: str | None, as_json: bool) -> int:
    """List the passes and their options; with NAME, one of them with its full description.

    The options are the keys of a [[pass]] table in a recipe.
    """
    from onnxslim.pipeline import pass_table

    facts = [describe(name)] if name else [_describe_or_say_why_not(each) for each in pass_table()]
    if as_json:
        from onnxslim.report import envelope

        print_json(envelope("passes", passes=facts))
    else:
        _print(facts, full=name is not None)
    return 0


def describe(name: str) -> dict[str, Any]:
    """What a pass is and takes.

    Raises:
        InputError: There is no such pass.
    """
    import inspect

    from onnxslim.pipeline import get_pass, options_of

    cls = get_pass(name)
    return {
        "name": name,
        "summary": cls.summary(),
        "description": inspect.cleandoc(cls.__doc__ or ""),
        "tier": cls.tier,
        "needs_samples": cls.needs_samples,
        "options": [
            {
                "name": option.name,
                "type": option.kind.__name__,
                "many": option.many,
                "optional": option.optional,
                "default": option.default,
                "choices": option.choices,
                "least": option.least,
                "help": option.help,
            }
            for option in options_of(cls)
        ],
    }


def _describe_or_say_why_not(name: str) -> dict[str, Any]:
    """As ``describe``; one package that is broken must not hide the passes of the others."""
    from onnxslim.errors import SetupError

    try:
        return describe(name)
    except SetupError as error:
        return {"name": name, "error": str(error)}


def _print(passes: list[dict[str, Any]], *, full: bool) -> None:
    out = console()
    for facts in passes:
        if "error" in facts:
            out.print(f"{facts['name']} cannot be used: {facts['error']}", style="red", markup=False, highlight=False)
            continue
        needs = ", needs samples" if facts["needs_samples"] else ""
        out.print(f"{facts['name']} ({facts['tier'].name.lower()}{needs})", style="bold", markup=False, highlight=False)
        text = facts["description"] if full else facts["summary"]
        out.print("\n".join(f"  {line}".rstrip() for line in text.splitlines()), markup=False, highlight=False)
        for option in facts["options"]:
            kind = "|".join(map(str, option["choices"])) or option["type"]
            line = f"  - {option['name']} = {option['default']!r} ({kind}): {option['help']}"
            out.print(line, markup=False, highlight=False)
