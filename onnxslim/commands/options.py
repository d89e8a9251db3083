"""Options that several verbs share, and those made from the fields of passes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from onnxslim.converters.detect import is_foreign
from onnxslim.errors import InputError
from onnxslim.pipeline.config import RunConfig

if TYPE_CHECKING:
    from onnxslim.pipeline import Option, Pass

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


class Decorator(Protocol):
    """Adds options to a command's function and returns it."""

    def __call__(self, function: F, /) -> F:
        """The function itself."""
        ...


def byte_size(text: str | int) -> int:
    """A number of bytes: ``1GiB``, ``500 MB``, ``1048576``.

    >>> byte_size("1.5KiB")
    1536

    Raises:
        click.BadParameter: It is none.
    """
    if isinstance(text, int):  # the default
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    if match is None or match[2].lower() not in UNITS:
        raise click.BadParameter(f"{text!r} is not a size; write it like 1GiB, 500MB or 1048576")
    size = int(float(match[1]) * UNITS[match[2].lower()])
    if size <= 0:
        raise click.BadParameter("the size must be more than 0 bytes")
    return size


def finite(text: str) -> float:
    """A number that is neither NaN nor infinite.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        value = float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a number") from error
    if not math.isfinite(value):
        raise click.BadParameter(f"{text!r} is not finite")
    return value


def chain(*decorators: Callable[[Any], Any]) -> Decorator:
    """One decorator that adds the options of several, listed in ``--help`` in the order given."""

    def apply(function: F, /) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


model_argument = click.argument("model", metavar="IN", type=click.Path())

output_options = chain(
    click.option("-o", "--output", type=click.Path(), help="Where the model goes"),
    click.option("--in-place", is_flag=True, help="Allow the output to replace the input; without -o, it does"),
    click.option(
        "--external-data/--no-external-data",
        default=None,
        help="Put the weights into a file of their own, or not  [default: above 1 GiB]",
    ),
    click.option(
        "--strip",
        is_flag=True,
        help="Drop doc strings, metadata, types of inner values and default attributes; shorten inner names",
    ),
)

KINDS: dict[str, Any] = {
    "path": click.Path(),
    "text": str,
    "size": byte_size,
    "number": finite,
    "count": click.IntRange(min=1),
}
"""Kinds of run options that take a value; ``flag`` is there or not, ``switch`` is on or off."""


def run_options(*names: str) -> Decorator:
    """Adds fields of `RunConfig` as options, with their defaults; a number that is not given is None."""
    return chain(*map(_run_option, names))


def _run_option(name: str) -> Callable[[Any], Any]:
    field, flag = RunConfig.__dataclass_fields__[name], "--" + name.replace("_", "-")
    shown, kind = field.metadata, field.metadata["kind"]
    if kind == "flag":
        return click.option(flag, name, is_flag=True, help=shown["help"])
    if kind == "switch":
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=field.default, help=shown["help"])
    return click.option(
        flag,
        name,
        type=click.Choice(kind) if isinstance(kind, tuple) else KINDS[kind],
        multiple=shown.get("many", False),
        metavar=shown.get("metavar"),
        default=None if kind == "number" else field.default,
        show_default=kind == "count",
        help=shown["help"],
    )


def _load_operators(context: click.Context, _: click.Parameter, paths: tuple[str, ...]) -> None:
    """Sessions load the libraries until the command ends."""
    if paths and not context.resilient_parsing:
        from onnxslim.execution import operators_from

        context.with_resource(operators_from(paths))


custom_ops_option = click.option(
    "--custom-op-library",
    type=click.Path(),
    multiple=True,
    expose_value=False,
    callback=_load_operators,
    help="Shared library of custom operators that onnxruntime loads; may be repeated. It is code: it can do anything",
)

recipe_option = click.option("--recipe", type=click.Path(), help="TOML file of [[pass]] tables to run instead")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else")

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors")

report_options = chain(
    run_options("report"),
    json_option,
    click.option(
        "--explain",
        is_flag=True,
        help="Print every kind of rewrite and every reason for skipping one, with examples",
    ),
    quiet_option,
)


def output_path(model: str, output: str | None, in_place: bool) -> str:
    """Where the result goes.

    Raises:
        InputError: Neither ``-o`` nor ``--in-place`` was given, both name different files, the output is ``-``, or a
            framework's model would be replaced.
    """
    refuse_stdout(output)
    if in_place and is_foreign(model):
        raise InputError("a framework's model is not replaced", where=model, mend="name the ONNX file with -o")
    if in_place and output is not None and os.path.realpath(output) != os.path.realpath(model):
        raise InputError(
            "--in-place replaces the input, and -o names another file", where=output, mend="give one of the two"
        )
    if output is None and not in_place:
        raise InputError("no output was named", where="-o", mend="add -o OUT.onnx, or --in-place to replace the input")
    return model if output is None else output


def refuse_stdout(output: str | None) -> None:
    """Refuses ``-``, which elsewhere means standard output and would become a file of that name.

    Raises:
        InputError: It is ``-``.
    """
    if output == "-":
        raise InputError(
            "a model is not written to standard output", where="-", mend="name a file; ./- for one of that name"
        )


def pass_options(name: str) -> Decorator:
    """Adds the fields of a pass as options. None of them has a default here: what is not given is not passed on."""
    return chain(*(_click_option(name, option) for option in _options(name)))


def take_pass_options(arguments: dict[str, Any], name: str) -> dict[str, Any]:
    """Removes the options of the pass ``name`` from a command's arguments, and returns those that were given."""
    given = {option.name: arguments.pop(_parameter(name, option)) for option in _options(name)}
    return {key: value for key, value in given.items() if value is not None and value != ()}


def drop_unset(arguments: dict[str, Any], *names: str) -> None:
    """Removes the arguments of these names where they were not given, so that the API's defaults hold."""
    for name in names:
        if arguments[name] is None:
            del arguments[name]


def _options(name: str) -> Iterator[Option]:
    from onnxslim.pipeline import get_pass, options_of

    yield from options_of(get_pass(name))


def _parameter(name: str, option: Option) -> str:
    return f"{name}__{option.name}".replace("-", "_")


def _click_option(name: str, option: Option) -> Callable[[Any], Any]:
    shown = f"{option.help}  [{name}; default: {_show(option.default)}]"
    if option.kind is bool:
        flags = f"{option.flag}/--no-{option.flag[2:]}"
        return click.option(flags, _parameter(name, option), default=None, help=shown)
    kind: Any = click.Choice([str(choice) for choice in option.choices]) if option.choices else option.kind
    return click.option(
        option.flag,
        _parameter(name, option),
        type=kind,
        multiple=option.many,
        default=None,
        callback=_retyped(option) if option.choices else None,
        help=shown,
    )


def _retyped(option: Option) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """click.Choice yields strings; the pass wants its own type."""
    back = {str(choice): choice for choice in option.choices}

    def callback(_ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(back[item] for item in value)
        return None if value is None else back[value]

    return callback


def _show(default: Any) -> str:
    if isinstance(default, tuple):
        return ", ".join(map(str, default)) or "none"
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def make_recipe(recipe: str | None, passes: Mapping[str, Mapping[str, Any]]) -> list[Pass] | None:
    """What the API runs: a recipe's passes, passes with the options given, or None for the verb's own.

    Args:
        recipe: ``--recipe``.
        passes: The passes that the verb runs, in order, with the options that were given.

    Raises:
        InputError: The recipe is bad, both a recipe and options of a pass were given, or an option has a bad value.
    """
    given = {name: values for name, values in passes.items() if values}
    if recipe is not None:
        if given:
            name, values = next(iter(given.items()))
            raise InputError(
                "a recipe and options of a pass were both given",
                where=f"--recipe, --{next(iter(values)).replace('_', '-')}",
                mend=f"write the option into the recipe's table of {name!r}",
            )
        from onnxslim.pipeline import load_recipe

        return load_recipe(recipe)
    if not given:
        return None
    from onnxslim.pipeline import get_pass, make_pass

    return [make_pass(get_pass(name), values, where="command line") for name, values in passes.items()]
