"""Results as JSON that any parser reads: no NaN, no infinities, keys in a fixed order."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnxslim.report.record import Account

SCHEMA = 2
"""Raised when a key is renamed or removed, or changes its meaning. A new key does not raise it.

2: the decision ``kept fp32`` became ``kept float``."""


def to_json(report: Account) -> dict[str, Any]:
    """The report as plain dicts, lists, strings, numbers and None.

    Keys, in order: ``schema`` (2), then the fields of `Report` in order of declaration, each object within it with its
    own fields in order of declaration, or as its ``to_json`` says (parity has ``passed`` besides). Enumerations are
    their lower-case names. A float that is NaN or infinite is the string ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``,
    since JSON has no such numbers. Each entry of ``steps`` has ``name``, ``options``, ``result`` (``modified``,
    ``actions`` and ``declined``) and ``seconds``.
    """
    return {"schema": SCHEMA} | plain(report)  # type: ignore[no-any-return]


def envelope(command: str, **parts: Any) -> dict[str, Any]:
    """JSON of a command whose result is no `Report`: ``schema``, ``command``, then ``parts``."""
    return {"schema": SCHEMA, "command": command} | {name: plain(part) for name, part in parts.items()}


def dumps(data: Mapping[str, Any]) -> str:
    """``data`` as indented JSON text in ASCII, so that it passes through any terminal and any name survives.

    Raises:
        ValueError: It holds a NaN or an infinity; pass it through `plain` first.
    """
    return json.dumps(data, indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """``value`` in JSON's own types.

    >>> plain({"a": (1, float("nan")), "b": np.float32(0.5)})
    {'a': [1, 'NaN'], 'b': 0.5}

    Raises:
        TypeError: A type that has no honest form in JSON.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _number(float(value))
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, frozenset | set):
        return sorted(map(plain, value))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
