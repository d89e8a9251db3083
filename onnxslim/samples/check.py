"""Samples held against the inputs of a model: what does not fit is refused by name, what can be mended safely is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from onnxslim.errors import MAX_NAMES, InputError, did_you_mean
from onnxslim.samples.sample import Indexed, Sample, Samples


class PortLike(Protocol):
    """An input of a model, as `onnxslim.execution` describes it."""

    @property
    def name(self) -> str:
        """As the feed names it."""

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """None where the input is no tensor."""

    @property
    def shape(self) -> tuple[int | str | None, ...]:
        """Empty where the rank is unknown, or the input is a scalar."""


def check_samples(samples: Samples, inputs: Sequence[PortLike]) -> Iterator[Sample]:
    """Yields each sample, its arrays in the dtypes of ``inputs``.

    Converted are: float64 to float32 (rounded to nearest, what numpy makes by default against what models take), and
    whatever loses nothing: int32 to int64, uint8 to float32, int64 to int32 where every value fits. Nothing else.

    Raises:
        InputError: A sample lacks an input, has one too many, is of another rank, size or dtype, or holds NaN or Inf.
            The message names the sample, the input, what was expected and what came.
    """
    for sample in samples:
        yield check_sample(sample, inputs)


def check_sample(sample: Sample, inputs: Sequence[PortLike]) -> Sample:
    """One sample, as `check_samples` yields it."""
    names = [port.name for port in inputs]
    check_names(sample.id, sample.feed, names)
    feed = {}
    for port in inputs:
        if port.name not in sample.feed:
            if port.dtype is None:  # optional inputs may be left out; the runtime knows
                continue
            raise InputError(
                f"sample {sample.id!r} has no array for input {port.name!r}",
                why=f"it holds {_listed(list(sample.feed))}",
                mend=f"add an array {_expected(port)} under the name {port.name!r}",
            )
        value = sample.feed[port.name]
        feed[port.name] = value if port.dtype is None else _fit(np.asarray(value), port, sample.id)
    return Sample(sample.id, feed, sample.label)


def check_names(sample: str, given: Iterable[str], names: Sequence[str]) -> None:
    """Refuses an array that is for no input.

    Args:
        sample: Id of the sample.
        given: Names of its arrays.
        names: Names of the inputs.

    Raises:
        InputError: One of the arrays has another name.
    """
    for name in given:
        if name not in names:
            raise InputError(
                f"sample {sample!r} has an array {name!r}, which is no input of the model",
                why=f"the inputs are {_listed(names)}",
                mend=did_you_mean(name, names),
            )


def checked(samples: Samples, inputs: Sequence[PortLike]) -> Samples:
    """A re-iterable view of ``samples`` that checks each as it is read."""
    return _IndexedChecked(samples, inputs) if isinstance(samples, Indexed) else _Checked(samples, inputs)


class _Checked:
    def __init__(self, samples: Any, inputs: Sequence[PortLike]) -> None:
        self.samples, self.inputs = samples, inputs

    def __iter__(self) -> Iterator[Sample]:
        return check_samples(self.samples, self.inputs)


class _IndexedChecked(_Checked):
    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return check_sample(self.samples[index], self.inputs)


def _fit(array: np.ndarray, port: PortLike, sample: str) -> np.ndarray:
    where = f"sample {sample!r}, input {port.name!r}"
    _check_shape(array, port, where)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        first = tuple(int(i) for i in bad[0])
        raise InputError(
            "a sample holds NaN or Inf",
            where=where,
            why=f"{len(bad):,} of {array.size:,} values, the first at {first}",
            mend="repair or remove the sample",
        )
    assert port.dtype is not None
    return _convert(array, port.dtype, where)


def _check_shape(array: np.ndarray, port: PortLike, where: str) -> None:
    expected, came = _expected(port), f"came {array.dtype}{list(array.shape)}"
    if port.shape and array.ndim != len(port.shape):
        mend = "keep the batch axis: array[np.newaxis]" if array.ndim == len(port.shape) - 1 else ""
        raise InputError("an array has the wrong rank", where=where, why=f"expected {expected}, {came}", mend=mend)
    for axis, (size, want) in enumerate(zip(array.shape, port.shape, strict=False)):
        if isinstance(want, int) and size != want:
            mend = "give samples that were made for this model"
            if axis == 0 and size == 1:
                mend = f"the model takes batches of {want}: stack whole batches, [samples, {want}, ...]"
            elif sorted(array.shape) == sorted(s for s in port.shape if isinstance(s, int)):
                mend = "the same sizes in another order: transpose it"
            raise InputError(
                f"an array has the wrong size on axis {axis}",
                where=where,
                why=f"expected {expected}, {came}",
                mend=mend,
            )


def _convert(array: np.ndarray, dtype: np.dtype[Any], where: str) -> np.ndarray:
    if array.dtype == dtype:
        return array
    if dtype.kind == "O" and array.dtype.kind in "UO":
        return array.astype(object)
    source = array.dtype
    numbers = source.kind in "biufV" and dtype.kind in "biufV"
    if numbers and not (source.kind == "f" and dtype.kind in "biu"):
        with np.errstate(all="ignore"):
            result = array.astype(dtype)
            rounded = source == np.float64 and dtype == np.float32 and bool(np.isfinite(result).all())
            if rounded or (result.astype(source) == array).all():
                return result
        why = "the values do not survive the conversion"
    else:
        why = "there is no conversion without loss"
    raise InputError(f"an array is {source}, the model takes {dtype}", where=where, why=why, mend=f"save it as {dtype}")


def _expected(port: PortLike) -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in port.shape)
    return f"{port.dtype}[{sizes}]" if port.shape else f"{port.dtype}"


def _listed(names: Sequence[str]) -> str:
    shown = [repr(name) for name in names[:MAX_NAMES]]
    if len(names) > MAX_NAMES:
        shown.append(f"... ({len(names) - MAX_NAMES:,} more)")
    return ", ".join(shown) or "nothing"
