"""How far values inside a model moved: noise over signal of every value that two models compute under one name.

The signal is what varies in the value over the samples (`onnxslim.evaluation.signal`), as it is for outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.evaluation.compare import is_float
from onnxslim.evaluation.signal import Signal
from onnxslim.execution import Feed, OnnxRuntime, Session
from onnxslim.graph.edit import constant_tensor

Array = npt.NDArray[Any]

MOST = 400
"""Values that are compared; of more, every so manieth."""
FITTED = 10.0
"""dB by which factors of the channels must shrink an error to be its cause: those of noise shrink it by up to 3."""
ENTRIES = 4
"""Of a channel, at least, to fit a factor to them."""
RECOVERY = 20.0
"""dB that noise does not lose in one node: a mean over 49 entries takes 17."""
MEMORY = 256 << 20
"""Bytes of values that are held at once."""


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far one inner value moved.

    Attributes:
        name: Of the value, in both models.
        sqnr_db: Signal to noise ratio in dB; infinite where nothing moved.
        rescaled: Whether its channels have other factors, which what reads them takes back; the ratio is that behind
            these factors.
    """

    name: str
    sqnr_db: float
    rescaled: bool = False


def layer_errors(
    original: ir.Model, result: ir.Model, feeds: Sequence[Feed], *, threads: int = 1, memory: int = MEMORY
) -> tuple[list[LayerError], int]:
    """Compares the float values that both models compute in their main graphs under the same name.

    Both run without onnxruntime's optimizations, so that every value is there. What cannot be compared is left out: a
    value whose shape differs, as behind pruned channels, and one that stands for something else, such as the output of
    a Conv that a BatchNormalization or a scale was folded into. That is so where a node that read the value is gone, or
    where all that is computed from it is right by `RECOVERY` more. A value whose channels were scaled on purpose, to be
    even for int8, is compared behind the best factors of its channels (see `_rescaled`).

    Args:
        original: The model compared with; not changed once this returns.
        result: What was made of it; likewise.
        feeds: Inputs that both take.
        threads: Of the sessions.
        memory: Bytes of values that may be held at once, but for those of one value.

    Returns:
        The errors in the order of the result's nodes, and how many values of the same name could not be compared.

    Raises:
        InputError, CannotRun, CheckFailed: onnxruntime does not run a model.
    """
    before, after = _computed(original), _computed(result)
    common = [name for name in after if name in before]
    names = [name for name in common if _read_alike(before[name], after)]
    gone = len(common) - len(names)
    names = names[:: math.ceil(len(names) / MOST) or 1] if names else []
    if not names or not feeds:
        return [], gone
    runtime = OnnxRuntime(threads, optimize=False)
    pairs = ((original, before), (result, after))
    sides = [_open(runtime, model, [some[name] for name in names]) for model, some in pairs]
    found: dict[str, float] = {}
    fits: dict[str, float] = {}
    for some, arrays in _in_parts(sides, names, feeds, memory):
        for name, both in zip(some, arrays, strict=True):
            error = _error(both)
            if error is not None:
                found[name], fits[name] = error
    known = _rescaled(before, found, fits)
    errors = [
        LayerError(name, error, rescaled=error != found[name])
        for name, error in known.items()
        if not _recovers(before[name], error, known)
    ]
    return errors, gone + len(names) - len(errors)


def _rescaled(
    values: Mapping[str, ir.Value], found: Mapping[str, float], fits: Mapping[str, float]
) -> dict[str, float]:
    """The errors, those behind the factors of the channels where the factors are meant.

    They are meant where they shrink the error by `FITTED` and where all that is computed from the value is right by as
    much: a factor that nothing takes back is an error.

    Args:
        values: By name, of the original.
        found: Errors in dB, in an order in which the nodes can run.
        fits: Errors behind the best factors.
    """
    known = dict(found)
    for name in reversed(list(found)):
        behind = _behind(values[name], known)
        if behind and min(fits[name], *behind) > found[name] + FITTED:
            known[name] = fits[name]
    return known


def _behind(value: ir.Value, known: Mapping[str, float]) -> list[float]:
    """Errors of the next values that are known on all ways from a value."""
    found, seen, left = list[float](), {value}, [value]
    while left:
        for use in left.pop().uses():
            for output in use.node.outputs:
                if output in seen:
                    continue
                seen.add(output)
                if (name := output.name or "") in known:
                    found.append(known[name])
                else:
                    left.append(output)
    return found


def _read_alike(value: ir.Value, after: Mapping[str, ir.Value]) -> bool:
    """Whether all nodes that read a value of the original are still there, by what they compute."""
    return all(any(output.name in after for output in use.node.outputs) for use in value.uses())


def _recovers(value: ir.Value, error: float, known: Mapping[str, float]) -> bool:
    """Whether all that is known of what reads a value is so much better that the value must mean something else."""
    behind = [known[name] for use in value.uses() for each in use.node.outputs if (name := each.name or "") in known]
    return bool(behind) and min(behind) > error + RECOVERY


def _computed(model: ir.Model) -> dict[str, ir.Value]:
    """Values that nodes of the main graph compute, by name."""
    return {
        value.name: value
        for node in model.graph
        for value in node.outputs
        if value.name and constant_tensor(value) is None
    }


def _open(runtime: OnnxRuntime, model: ir.Model, values: Sequence[ir.Value]) -> Session:
    outputs = set(model.graph.outputs)
    return runtime.open(model, [value for value in values if value not in outputs])


def _in_parts(
    sides: Sequence[Session], names: Sequence[str], feeds: Sequence[Feed], memory: int
) -> Iterator[tuple[Sequence[str], list[list[tuple[object, object]]]]]:
    """Some names at a time, as many as fit into memory, and for each the pairs of values, one a feed."""
    start, count = 0, 1
    while start < len(names):
        some = names[start : start + count]
        runs: list[list[Mapping[str, object]]] = [[side.run(feed, some) for feed in feeds] for side in sides]
        held = sum(getattr(value, "nbytes", 0) for side in runs for each in side for value in each.values())
        yield some, [[(a[name], b[name]) for a, b in zip(*runs, strict=True)] for name in some]
        start += count
        count = max(1, min(2 * count, int(count * memory / max(held, 1))))


def _error(pairs: Sequence[tuple[object, object]]) -> tuple[float, float] | None:
    """SQNR in dB, and that behind the best factors; None where it is no float, has another shape, or does not vary."""
    signal, arrays = Signal(), list[tuple[Array, Array]]()
    noise = 0.0
    for a, b in pairs:
        if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray) or a.shape != b.shape or not is_float(a):
            return None
        signal.add(a)
        difference = np.nan_to_num(a.astype(np.float64) - b.astype(np.float64), posinf=0.0, neginf=0.0)
        noise += float(np.square(difference).sum())
        arrays.append((a, b))
    energy = sum(each.energy for each in signal.slices(divide=False))
    if not energy > 0:
        return None
    return _decibels(energy, noise), _decibels(energy, min(noise, *(_residual(arrays, axis) for axis in (1, -1))))


def _decibels(energy: float, noise: float) -> float:
    return math.inf if noise <= 0 else 10 * math.log10(energy / noise)


def _residual(pairs: Sequence[tuple[Array, Array]], axis: int) -> float:
    """What is left of the noise where each entry of an axis has the factor that fits best; infinite where none fits."""
    if any(a.ndim < 2 or a.shape[axis] != pairs[0][0].shape[axis] for a, _ in pairs):
        return math.inf
    count = pairs[0][0].shape[axis]
    if sum(a.size for a, _ in pairs) < ENTRIES * count:
        return math.inf
    aa, ab, bb = (np.zeros(count) for _ in range(3))
    for pair in pairs:
        a, b = (np.nan_to_num(np.moveaxis(each, axis, 0).reshape(count, -1).astype(np.float64)) for each in pair)
        aa += np.square(a).sum(1)
        ab += (a * b).sum(1)
        bb += np.square(b).sum(1)
    return float(np.maximum(aa - np.divide(ab * ab, bb, out=np.zeros(count), where=bb > 0), 0.0).sum())
