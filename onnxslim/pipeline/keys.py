"""Keys of what is kept: one hash over all that a result depends on."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

PLAIN = (bool, int, float, str)


class Keys:
    """Hashes values by their content.

    Numbers, texts, arrays, lists of numbers or texts, and tuples, sets, maps and dataclasses of such have the same key
    in every process. Whatever else there is, such as a function or a list of samples, is equal to itself alone: it gets
    a number, and is kept alive, so that no other object takes its identity.

    >>> keys = Keys()
    >>> keys.of("a", (1, 2.0)) == Keys().of("a", (1, 2.0)), keys.of("ab", "c") == keys.of("a", "bc")
    (True, False)
    >>> first, second = [object()], [object()]
    >>> keys.of(first) == keys.of(first), keys.of(first) == keys.of(second)
    (True, False)
    """

    def __init__(self) -> None:
        self._objects: dict[int, tuple[Any, int]] = {}

    def of(self, *parts: Any) -> str:
        """The key of values together: 32 hexadecimal digits."""
        made = hashlib.blake2b(digest_size=16)
        for piece in self._pieces(parts):
            made.update(len(piece).to_bytes(8, "little") + piece)
        return made.hexdigest()

    def _pieces(self, value: Any) -> Iterator[bytes]:
        if value is None or isinstance(value, bool | int | float | str | bytes | enum.Enum):
            yield f"{type(value).__name__} {value!r}".encode(errors="surrogatepass")
        elif isinstance(value, np.ndarray) and value.dtype != object:
            yield f"array {value.dtype.str} {value.shape}".encode()
            yield np.ascontiguousarray(value).tobytes()
        elif _is_record(value):
            yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
            for field in dataclasses.fields(value):
                yield field.name.encode()
                yield from self._pieces(getattr(value, field.name))
        elif isinstance(value, tuple) or (isinstance(value, list) and all(isinstance(each, PLAIN) for each in value)):
            yield f"{type(value).__name__} {len(value)}".encode()
            for each in value:
                yield from self._pieces(each)
        elif isinstance(value, frozenset | set):
            yield f"set {len(value)}".encode()
            yield from sorted(b"".join(self._pieces(each)) for each in value)
        elif isinstance(value, Mapping):
            yield f"map {len(value)}".encode()
            for item in value.items():
                yield from self._pieces(item)
        else:
            _, number = self._objects.setdefault(id(value), (value, len(self._objects)))
            yield f"object {number}".encode()


def _is_record(value: Any) -> bool:
    """Whether a value is a dataclass that compares by its fields."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    return type(value).__eq__ is not object.__eq__
