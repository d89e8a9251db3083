"""A pass's fields are its options: reading them, checking values against them, showing them."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from onnxslim.errors import InputError, did_you_mean
from onnxslim.pipeline.rewrite import Pass

P = TypeVar("P", bound=Pass)
Scalar = type[bool] | type[int] | type[float] | type[str]


@dataclass(frozen=True, slots=True)
class Option:
    """One field of a pass, as the command line and the recipes see it.

    ``kind`` is bool, int, float or str; ``many`` is whether it takes several of them; ``optional`` whether None is
    allowed; ``choices`` the allowed values, empty where any will do; ``least`` the smallest number allowed, None where
    any will do.
    """

    name: str
    kind: Scalar
    many: bool
    optional: bool
    default: Any
    choices: tuple[Any, ...]
    help: str
    least: float | None = None

    @property
    def flag(self) -> str:
        """The field as a command line flag: ``round_to`` -> ``--round-to``."""
        return "--" + self.name.replace("_", "-")


def options_of(cls: type[Pass]) -> Iterator[Option]:
    """The options of a pass class, in order of declaration.

    Raises:
        TypeError: A field has a type that neither a flag nor a recipe can carry; the pass's author has to fix it.
    """
    hints = typing.get_type_hints(cls)
    for field in cls.options():
        kind, many, optional, choices = _kind(hints[field.name], f"{cls.__name__}.{field.name}")
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        if default is MISSING:
            raise TypeError(f"{cls.__name__}.{field.name} needs a default: a pass must run without options")
        yield Option(
            field.name,
            kind,
            many,
            optional,
            default,
            tuple(field.metadata.get("choices", choices)),
            str(field.metadata.get("help", "")),
            field.metadata.get("least"),
        )


def _kind(hint: Any, where: str) -> tuple[Scalar, bool, bool, tuple[Any, ...]]:
    """(scalar type, many, optional, choices) of a field's annotation."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType) and type(None) in args and len(args) == 2:
        kind, many, _, choices = _kind(next(a for a in args if a is not type(None)), where)
        return kind, many, True, choices
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        kind, _, _, choices = _kind(args[0], where)
        return kind, True, False, choices
    if origin is Literal:
        return type(args[0]), False, False, args
    if hint in (bool, int, float, str):
        return hint, False, False, ()
    raise TypeError(f"{where}: a pass field is bool, int, float, str, a Literal, tuple[X, ...] or X | None, not {hint}")


def make_pass(cls: type[P], values: Mapping[str, Any], *, where: str = "") -> P:
    """An instance of ``cls`` with its fields set from untyped values (a recipe, a command line).

    Raises:
        InputError: An unknown name, a value of the wrong type, an invalid choice or a number that is too small; the
            message says which.
    """
    known = {option.name: option for option in options_of(cls)}
    checked = {}
    for raw, value in values.items():
        name = raw.replace("-", "_")
        if name not in known:
            raise InputError(
                f"the pass {cls.name!r} has no option {raw!r}",
                where=where,
                mend=did_you_mean(name, known) or "leave it out: the pass has no options",
            )
        checked[name] = _checked(known[name], value, f"{where}: " if where else "", cls.name)
    return cls(**checked)


def _checked(option: Option, value: Any, where: str, owner: str) -> Any:
    """``value`` as the field wants it."""
    place = f"{where}option {option.name!r} of {owner!r}"
    if value is None and option.optional:
        return None
    if option.many:
        items = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
        return tuple(_scalar(option, item, place) for item in items)
    return _scalar(option, value, place)


def _scalar(option: Option, value: Any, place: str) -> Any:
    if option.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    # bool is an int to isinstance, but `ratio = true` is a mistake.
    if not isinstance(value, option.kind) or (isinstance(value, bool) and option.kind is not bool):
        mend = _expected(option)
        raise InputError(f"{value!r} is not a {option.kind.__name__}", where=place, mend=mend)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{value!r} is not a finite number", where=place, mend=_expected(option))
    if option.choices and value not in option.choices:
        raise InputError(
            f"invalid choice {value!r}", where=place, mend=did_you_mean(str(value), map(str, option.choices))
        )
    if option.least is not None and isinstance(value, int | float) and value < option.least:
        raise InputError(f"{value!r} is too small", where=place, mend=_expected(option))
    return value


def _expected(option: Option) -> str:
    """What to write instead."""
    if option.choices:
        return f"give one of {', '.join(map(str, option.choices))}"
    kinds: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    kind = kinds[option.kind] + (f" from {option.least:g} up" if option.least is not None else "")
    return f"give {kind} ({option.help})" if option.help else f"give {kind}"


def values_of(instance: Pass) -> dict[str, Any]:
    """The fields of a pass with their values, resolved, in order of declaration."""
    return {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}
