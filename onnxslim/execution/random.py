"""Random feeds: structural evidence for models that came without samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.errors import CannotRun, Crashed, Hung, OnnxSlimError
from onnxslim.execution.clock import Clock
from onnxslim.execution.feeds import Feed
from onnxslim.execution.isolated import IsolatedSession, open_isolated
from onnxslim.execution.session import lean_config

SIZES = (1, 2, 7)
"""Sizes that symbolic dimensions are tried at."""
FALLBACK_SIZES = (8, 16, 32, 64, 128, 224, 512)
"""Sizes of all but the first axis, tried where a model refuses all of `SIZES`: strided nets want even images."""
ENOUGH = 3
"""Fallback feeds that are made; larger ones only cost time."""
SECONDS = 6.0
"""Time that is spent on finding out which feeds a model runs, once one is found."""
MAX_BYTES = 1 << 30
"""Bytes that one feed may have; a declared shape may be absurd."""


_BLOCK = 1 << 20
"""Numbers that are drawn at once."""


@dataclass(frozen=True, slots=True)
class TriedFeeds:
    """Random feeds that the model itself runs, and what became of the others."""

    feeds: list[Feed]
    dropped: list[str]
    """For each feed left out: its sizes and what onnxruntime said."""


def random_feeds(
    model: ir.Model, *, sizes: Sequence[int] = SIZES, seed: int = 0, enough: int | None = None
) -> list[Feed]:
    """Makes feeds for the model's declared inputs, leaving out those that the model itself does not run.

    Every symbolic dimension takes every size; a symbol has one size within a feed. With several symbols there are feeds
    where all have the same size and feeds where they differ. Unnamed dynamic dimensions share a symbol per axis.
    Floats are standard normal, 8-bit integers of full range, other integers 0 to 9. Where ``enough`` is given, no more
    feeds are made.

    Raises:
        CannotRun: An input's type, dtype or rank is unknown or cannot be made up, a feed would exceed `MAX_BYTES`, or
            the model runs at none of the sizes.
    """
    return try_random_feeds(model, sizes=sizes, seed=seed, enough=enough).feeds


def untried_feeds(model: ir.Model, *, sizes: Sequence[int] = SIZES, seed: int = 0) -> list[Feed]:
    """The first feeds that ``random_feeds`` would try, for who finds out by itself which of them the model runs.

    Raises:
        CannotRun: An input's type, dtype or rank is unknown or cannot be made up, or a feed would exceed `MAX_BYTES`.
    """
    generator = np.random.default_rng(seed)
    return [_feed(model, assigned, generator) for assigned in _assignments(_symbols(model), sizes)]


def try_random_feeds(
    model: ir.Model, *, sizes: Sequence[int] = SIZES, seed: int = 0, enough: int | None = None
) -> TriedFeeds:
    """`random_feeds`, and why others were left out: a model may declare sizes that it cannot compute.

    Where none of ``sizes`` runs, batch 1 and `FALLBACK_SIZES` elsewhere are tried. A model without symbolic dimensions
    has one feed, which is not tried. Sizes that would take more than `SECONDS` are left out.

    Raises:
        CannotRun: As `random_feeds`.
        Crashed: onnxruntime does not survive the model.
    """
    symbols, generator = _symbols(model), np.random.default_rng(seed)
    if not symbols:
        return TriedFeeds([_feed(model, {}, generator)], [])
    rounds = (_assignments(symbols, sizes), [_batch_of_one(symbols, size) for size in FALLBACK_SIZES])
    _feed(model, rounds[0][0], generator)  # says what is wrong with the inputs before a session is opened
    session, clock = _open(model), Clock(SECONDS)
    kept: list[Feed] = []
    dropped: list[str] = []
    for index, assigned in enumerate(itertools.chain.from_iterable(rounds)):
        fallback = index - len(rounds[0])
        if len(kept) == enough or (fallback >= 0 and len(kept) >= (ENOUGH if fallback else 1)):
            break
        feed = _feed(model, assigned, generator)
        text = ", ".join(f"{name}={size}" for name, size in assigned.items())
        if kept and not clock.has_time_for(feed):
            dropped.append(f"{text}: it would take too long")
            continue
        try:
            with clock.counting(feed):
                session.run(feed)
        except Hung as error:
            if not kept:
                raise  # larger ones take no less
            dropped.append(f"{text}: {error.what}")
        except OnnxSlimError as error:
            dropped.append(f"{text}: {error.why or error.what}")
        else:
            kept.append(feed)
    if not kept:
        raise CannotRun("the model runs at none of the sizes tried", why=dropped[-1], mend="give samples")
    return TriedFeeds(kept, dropped)


def _open(model: ir.Model) -> IsolatedSession:
    """A session that only finds out which sizes run: packing would copy every weight for it."""
    config = lean_config(model) | {"session.disable_prepacking": "1"}
    try:
        return open_isolated(model, optimize="basic", config=config)
    except Crashed:
        return open_isolated(model, optimize=False, config=config)


def _batch_of_one(symbols: Mapping[str, bool], size: int) -> dict[str, int]:
    return {symbol: 1 if only_first else size for symbol, only_first in symbols.items()}


def _symbols(model: ir.Model) -> dict[str, bool]:
    """Symbol -> whether it stands only on first axes (a batch), in order of appearance."""
    found: dict[str, bool] = {}
    for value in _inputs(model):
        for axis, symbol in enumerate(_dims(value)):
            if isinstance(symbol, str):
                found[symbol] = found.get(symbol, True) and axis == 0
    return found


def _inputs(model: ir.Model) -> list[ir.Value]:
    """Inputs that must be fed: old files list initializers as inputs too."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def _dims(value: ir.Value) -> list[int | str]:
    if value.shape is None:
        raise CannotRun("no random data for an input of unknown rank", where=value.name or "", mend="give samples")
    return [_size_or_symbol(dim, axis) for axis, dim in enumerate(value.shape)]


def _size_or_symbol(dim: int | ir.SymbolicDim, axis: int) -> int | str:
    """Some exporters write -1 for an unknown size."""
    if isinstance(dim, int):
        return dim if dim >= 0 else f"?{axis}"
    return str(dim.value) if dim.value is not None else f"?{axis}"


def _assignments(symbols: Mapping[str, bool], sizes: Sequence[int]) -> list[dict[str, int]]:
    """All symbols alike, at each size; then, with several symbols, each at another size than its neighbour."""
    if not symbols:
        return [{}]
    count = len(sizes)
    alike = [dict.fromkeys(symbols, size) for size in sizes]
    if len(symbols) == 1 or count == 1:
        return alike
    mixed = [{s: sizes[(k + j) % count] for j, s in enumerate(symbols)} for k in range(count)]
    return alike + mixed


def _feed(model: ir.Model, assigned: Mapping[str, int], generator: np.random.Generator) -> Feed:
    shapes = {
        value.name or "": tuple(dim if isinstance(dim, int) else assigned[dim] for dim in _dims(value))
        for value in _inputs(model)
    }
    total = sum(math.prod(shape) for shape in shapes.values()) * 4
    if total > MAX_BYTES:
        raise CannotRun(f"the declared inputs have {total:,} bytes", why=f"a random feed has at most {MAX_BYTES:,}")
    return {value.name or "": _array(value, shapes[value.name or ""], generator) for value in _inputs(model)}


def _array(value: ir.Value, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    if value.dtype is None or isinstance(value.type, ir.SequenceType):
        raise CannotRun(
            f"no random data for an input of type {value.type}", where=value.name or "", mend="give samples"
        )
    if value.dtype == ir.DataType.STRING:
        return np.array([f"s{i}" for i in generator.integers(0, 10, math.prod(shape))], dtype=object).reshape(shape)
    if value.dtype == ir.DataType.BOOL:
        return generator.integers(0, 2, shape).astype(bool)
    dtype = value.dtype.numpy()
    if value.dtype.is_floating_point():
        return _normal(shape, dtype, generator)
    if dtype.kind == "c":
        return np.asarray(generator.standard_normal(shape) + 1j * generator.standard_normal(shape)).astype(dtype)
    if dtype in (np.uint8, np.int8):
        return generator.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
    return generator.integers(0, 10, shape).astype(dtype)


def _normal(shape: tuple[int, ...], dtype: np.dtype[Any], generator: np.random.Generator) -> np.ndarray:
    """What ``generator.standard_normal(shape).astype(dtype)`` gives, without as many doubles at once."""
    array = np.empty(shape, dtype)
    flat = array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        flat[start : start + _BLOCK] = generator.standard_normal(min(_BLOCK, flat.size - start)).astype(dtype)
    return array
