"""Two values of one output against each other: the bounds of the tiers, and what a difference is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal[
    "missing output",
    "extra output",
    "output order",
    "inputs",
    "declared type",
    "declared shape",
    "load",
    "run",
    "type",
    "shape",
    "NaN/Inf",
    "value",
    "limit",
    "random",
]

ABSOLUTE, RELATIVE = 1e-5, 1e-4
"""The numeric tier's bound for float32: ``ABSOLUTE + RELATIVE * |a|``."""
OWN_FACTOR = 4.0
"""The bound is never tighter than so many times the original's own difference under onnxruntime's optimizations."""
OWN_SHARE = 4e-3
"""That difference widens the bound up to this share of the output's largest value, for float32: where an optimizer
changes more, it is wrong. Coarser types may have `COARSER` times as much, and what lies behind a step all of it."""
COARSER = 10.0
CHUNK = 1 << 20
"""Elements that are compared at a time, since they are widened to float64 for it."""
SCALE: dict[str, float] = {
    "float64": 1e-4,
    "float32": 1.0,
    "float16": 100.0,
    "bfloat16": 800.0,
}
"""Both terms of the bound are multiplied by this: a few units in the last place after a chain of operations."""
SCALE_FLOAT8 = 2000.0


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the candidate is not the original."""

    kind: Kind
    output: str
    """Name of the output, or of an input for ``inputs``; empty for the whole model."""
    detail: str
    feed: int | None = None
    """Index of the feed, among those the original runs on; None for what is seen without running."""
    error: float = 0.0
    """Largest absolute difference, for ``value``."""

    def __str__(self) -> str:
        where = f" of {self.output!r}" if self.output else ""
        when = f" on feed {self.feed}" if self.feed is not None else ""
        return f"{self.kind}{where}{when}: {self.detail}"


def dtype_scale(names: set[str]) -> float:
    """The scale of the coarsest of these float types: what passes through float16 is no better than float16.

    >>> dtype_scale({"float32", "float16"}), dtype_scale({"float64"}), dtype_scale(set())
    (100.0, 0.0001, 1.0)
    """
    known = [SCALE_FLOAT8 if name.startswith("float8") else SCALE[name] for name in names if is_float_name(name)]
    return max(known, default=1.0)


def is_float_name(name: str) -> bool:
    """Whether a dtype's name is one that has a scale."""
    return name in SCALE or name.startswith("float8")


def is_float(array: np.ndarray) -> bool:
    """Whether the elements are floating point, ml_dtypes' included."""
    return is_float_name(array.dtype.name)


def flatten(value: Any, name: str) -> list[tuple[str, Any]]:
    """A value of any ONNX type as named arrays (None for an absent optional), in order.

    >>> [(n, np.asarray(a).tolist()) for n, a in flatten([np.array([1]), {"k": 2.0}], "y")]
    [('y', 2), ('y[0]', [1]), ('y[1].keys', ['k']), ('y[1].values', [2.0])]
    """
    found: list[tuple[str, Any]] = []
    queue = [(name, value)]
    while queue:
        label, item = queue.pop()
        if isinstance(item, list | tuple):
            found.append((label, np.asarray(len(item))))
            queue.extend((f"{label}[{index}]", inner) for index, inner in reversed(list(enumerate(item))))
        elif isinstance(item, dict):
            found.append((f"{label}.keys", np.array(list(item.keys()))))
            queue.extend([(f"{label}.values", np.array(list(item.values())))])
        else:
            found.append((label, None if item is None else np.asarray(item)))
    return found


def same_form(a: Any, b: Any, name: str, feed: int) -> Difference | None:
    """Whether two arrays agree in presence, dtype and shape."""
    if (a is None) != (b is None):
        return Difference("type", name, f"{'absent' if a is None else 'present'} before, not so after", feed)
    if a is None:
        return None
    if a.dtype != b.dtype and not (a.dtype.kind in "OUS" and b.dtype.kind in "OUS"):
        return Difference("type", name, f"{a.dtype} before, {b.dtype} after", feed)
    if a.shape != b.shape:
        return Difference("shape", name, f"{list(a.shape)} before, {list(b.shape)} after", feed)
    return None


def exact(a: np.ndarray, b: np.ndarray, name: str, feed: int) -> tuple[Difference | None, float]:
    """Same bits? Also the worst absolute error."""
    if a.dtype.kind in "OUS":
        return _discrete(a, b, name, feed)
    differ = sum(int((_bits(x) != _bits(y)).any(axis=1).sum()) for _, x, y in _chunks(a, b))
    if not differ:
        return None, 0.0
    if not is_float(a):
        return _discrete(a, b, name, feed)
    error = max_error(a, b)
    detail = f"{differ:,} of {a.size:,} elements differ in their bits, by up to {error:.3g}"
    return Difference("value", name, detail, feed, error), error


def numeric(
    a: np.ndarray, b: np.ndarray, name: str, feed: int, *, own: float, scale: float, stepped: bool = False
) -> tuple[Difference | None, float]:
    """Within the bound? Also the worst ratio of error to bound.

    Args:
        a: The original's output.
        b: The candidate's.
        name: Of the output.
        feed: Its index.
        own: Largest absolute difference of the original with itself, optimized.
        scale: See `dtype_scale`.
        stepped: Whether the output lies behind a step, where a difference of rounding becomes a large one.
    """
    if not is_float(a) and a.dtype.kind != "c":
        return _discrete(a, b, name, feed)
    pattern = non_finite(a, b, name, feed)
    if pattern is not None:
        return pattern, float("inf")
    least = own_bound(a, own, scale, stepped=stepped)
    over, most, largest = 0, 0.0, 0.0
    worst = ""
    for _, chunk, other in _chunks(a, b):
        x, y = _wide(chunk), _wide(other)
        finite = np.isfinite(x)
        x, y = x[finite], y[finite]
        if not x.size:
            continue
        errors, bounds = np.abs(x - y), bound(x, least, scale)
        ratios = errors / bounds
        over += int((ratios > 1).sum())
        largest = max(largest, float(errors.max()))
        at = int(ratios.argmax())
        if ratios[at] > most:
            most = float(ratios[at])
            worst = f"worst {x[at]:.6g} before, {y[at]:.6g} after, allowed {bounds[at]:.3g}"
    if most <= 1:
        return None, most
    detail = f"{over:,} of {a.size:,} elements beyond the bound; {worst}"
    return Difference("value", name, detail, feed, largest), most


def own_bound(a: np.ndarray, own: float, scale: float, *, stepped: bool = False) -> float:
    """What the bound is at least, for the original differs from itself by ``own`` under onnxruntime's optimizations.

    >>> a = np.array([1.0, -2.0], np.float32)
    >>> [round(own_bound(a, own, 1.0), 6) for own in (0.0, 1e-4, 0.1)], own_bound(a, 0.1, 1.0, stepped=True)
    ([0.0, 0.0004, 0.008], 0.4)
    """
    if own == 0:
        return 0.0
    largest = peak(a)
    return min(OWN_FACTOR * own, max(largest if stepped else 0.0, own_limit(largest, scale)))


def own_limit(largest: float, scale: float) -> float:
    """What `own_bound` is at most, where no step is behind it, for an output whose largest magnitude is ``largest``."""
    return max(OWN_SHARE * min(scale, COARSER) * largest, scale * (ABSOLUTE + RELATIVE * largest))


def bound(a: np.ndarray, least: float, scale: float) -> np.ndarray:
    """The numeric tier's bound for every element of ``a`` (float64, complex128); ``least`` is `own_bound`'s."""
    limits: np.ndarray = np.maximum(scale * (ABSOLUTE + RELATIVE * np.abs(a)), least)
    return limits


def peak(a: np.ndarray) -> float:
    """The largest magnitude of a finite element; 0 where there is none."""
    found = 0.0
    for _, chunk, _ in _chunks(a, a):
        x = np.abs(_wide(chunk))
        found = max(found, float(x[np.isfinite(x)].max(initial=0.0)))
    return found


def non_finite(a: np.ndarray, b: np.ndarray, name: str, feed: int) -> Difference | None:
    """Whether NaN and infinities stand at the same places."""
    count, first = 0, -1
    for start, chunk, other in _chunks(a, b):
        x, y = _wide(chunk), _wide(other)
        bad = (np.isnan(x) != np.isnan(y)) | (np.isinf(x) != np.isinf(y)) | (np.isinf(x) & np.isinf(y) & (x != y))
        found = int(bad.sum())
        if found and not count:
            first = start + int(bad.argmax())
        count += found
    if not count:
        return None
    place = _place(first, a.shape)
    return Difference("NaN/Inf", name, f"{count:,} elements; at {place}: {a[place]} before, {b[place]} after", feed)


def max_error(a: np.ndarray, b: np.ndarray) -> float:
    """Largest absolute difference of finite elements; 0 for what has no difference."""
    if a.shape != b.shape or not (is_float(a) or a.dtype.kind in "iub"):
        return 0.0
    found = 0.0
    for _, chunk, other in _chunks(a, b):
        x, y = chunk.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(x) & np.isfinite(y)
        found = max(found, float(np.abs(x[finite] - y[finite]).max(initial=0.0)))
    return found


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _chunks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Two arrays of one shape in flat pieces: the index of the first element of each, and the pieces."""
    x, y = a.reshape(-1), b.reshape(-1)
    for start in range(0, x.size, CHUNK):
        yield start, x[start : start + CHUNK], y[start : start + CHUNK]


def _place(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(index, shape))


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, array.dtype.itemsize)


def _discrete(a: np.ndarray, b: np.ndarray, name: str, feed: int) -> tuple[Difference | None, float]:
    count, first = 0, -1
    for start, x, y in _chunks(a, b):
        differ = x != y
        found = int(differ.sum())
        if found and not count:
            first = start + int(differ.argmax())
        count += found
    if not count:
        return None, 0.0
    place = _place(first, a.shape)
    error = max_error(a, b)
    detail = f"{count:,} of {a.size:,} elements differ; at {place}: {a[place]} before, {b[place]} after"
    return Difference("value", name, detail, feed, error), error
