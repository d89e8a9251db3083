"""Samples from numpy's files, read lazily and never through pickle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.errors import InputError
from onnxslim.graph.regular import check_regular, check_written
from onnxslim.samples.check import PortLike, check_names
from onnxslim.samples.npz import FAILURES, Archive
from onnxslim.samples.sample import Sample

LABEL = "__label__"
"""Reserved key: what a metric compares with."""
UNNAMED = "arr_0"
"""Key that numpy gives to an array saved without a name."""
MAX_SAMPLES = 1_000_000
"""Samples of one file: each costs time in every reading, whatever its size."""


class ArrayFolder:
    """A folder of ``.npz``, their keys the inputs' names, or of ``.npy`` for the only input: one file a sample.

    The batch axis is kept; a ``.npy`` may lack one of 1. Sorted by name.
    """

    def __init__(self, root: Path, files: Sequence[str], inputs: Sequence[PortLike] | None) -> None:
        self.root, self.files, self.inputs = root, sorted(files), inputs

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        name = self.files[index]
        path = self.root / name
        if path.suffix.lower() == ".npy":
            array = np.array(read_npy(path))
            return Sample(name, with_batch_axis(_named({UNNAMED: array}, self.inputs, str(path)), self.inputs))
        arrays = read_npz(path, self.inputs, name)
        label = _label(arrays.pop(LABEL, None))
        return Sample(name, _named(arrays, self.inputs, str(path)), label)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


class Stacked:
    """One ``.npy`` or ``.npz``: axis 0 of every array counts the samples, and stays in each sample as a batch of 1.

    Where an array has one axis more than its input, axis 0 is taken off instead: the samples bring their batch axis.
    A ``.npy`` is mapped, not read, and so is a ``.npz`` that is not compressed; another is held in memory while it is
    iterated. Ids are the index.
    """

    def __init__(self, path: Path, inputs: Sequence[PortLike] | None) -> None:
        self.path, self.inputs = path, inputs
        arrays = self._arrays()
        labels = arrays.pop(LABEL, None)
        self._names = list(_named(arrays, inputs, str(path)))
        lengths = {name: len(array) if array.ndim else -1 for name, array in arrays.items()}
        if labels is not None:
            lengths[LABEL] = len(labels) if labels.ndim else -1
        if len(set(lengths.values())) != 1 or -1 in lengths.values():
            sizes = ", ".join(f"{name!r}: {'a scalar' if n < 0 else n}" for name, n in lengths.items())
            raise InputError(
                "axis 0 of every array must count the samples",
                where=str(path),
                why=sizes,
                mend="stack the samples on axis 0, or use a folder with one .npz for each",
            )
        self._length = next(iter(lengths.values()))
        if self._length > MAX_SAMPLES:
            raise InputError(
                f"the file holds {self._length:,} samples",
                where=str(path),
                why=f"axis 0 counts them, and at most {MAX_SAMPLES:,} are read",
                mend="give fewer of them, or put the samples on axis 0",
            )
        if self._length == 0:
            raise InputError(
                "the file holds no samples", where=str(path), why="axis 0 has size 0", mend="save at least one sample"
            )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        return self._sample(self._arrays(), index)

    def __iter__(self) -> Iterator[Sample]:
        arrays = self._arrays()
        return (self._sample(arrays, index) for index in range(self._length))

    def _arrays(self) -> dict[str, np.ndarray]:
        if self.path.suffix.lower() == ".npz":
            return map_npz(self.path)
        return {UNNAMED: read_npy(self.path)}

    def _sample(self, arrays: dict[str, np.ndarray], index: int) -> Sample:
        feed = {}
        ranks = {port.name: len(port.shape) for port in self.inputs or ()}
        keys = [key for key in arrays if key != LABEL]
        for key, name in zip(keys, self._names, strict=True):
            array = arrays[key]
            whole = array.ndim == ranks.get(name, 0) + 1 and ranks.get(name, 0) > 0
            feed[name] = np.array(array[index] if whole else array[index : index + 1])
        labels = arrays.get(LABEL)
        return Sample(f"{index:06d}", feed, None if labels is None else _label(labels[index]))


def read_npz(path: Path, inputs: Sequence[PortLike] | None = None, sample: str = "") -> dict[str, np.ndarray]:
    """All arrays of a ``.npz``. What it declares is checked first: names, shapes and sizes.

    Args:
        path: The file.
        inputs: The inputs that arrays may be for; None means any.
        sample: Id of the sample, for messages.

    Raises:
        InputError: The file cannot be read, is no ``.npz``, holds nothing, another array, too much, or pickled objects.
    """
    try:
        with Archive(path) as archive:
            _check_held(archive)
            if inputs is not None and list(archive.members) != [UNNAMED]:
                check_names(sample, [name for name in archive.members if name != LABEL], [p.name for p in inputs])
            archive.check_size()
            return {name: archive.read(name) for name in archive.members}
    except InputError:
        raise
    except FAILURES as error:
        raise _unreadable(path, error) from error


def map_npz(path: Path) -> dict[str, np.ndarray]:
    """`read_npz`, but arrays that are not compressed are memory-mapped, whatever their size.

    Raises:
        InputError: As `read_npz`.
    """
    try:
        with Archive(path) as archive:
            _check_held(archive)
            arrays = {name: archive.map(name) for name in archive.members}
            if any(array is None for array in arrays.values()):
                archive.check_size("save it with numpy.savez, which does not compress, or one .npz for each sample")
            return {name: archive.read(name) if array is None else array for name, array in arrays.items()}
    except InputError:
        raise
    except FAILURES as error:
        raise _unreadable(path, error) from error


def _check_held(archive: Archive) -> None:
    if not any(name != LABEL for name in archive.members):
        raise InputError(
            "the file holds no arrays",
            where=str(archive.path),
            mend="save them with numpy.savez(path, input_name=array)",
        )


def read_npy(path: Path) -> np.ndarray:
    """A ``.npy``, memory-mapped.

    Raises:
        InputError: As `read_npz`.
    """
    try:
        check_regular(path, "the sample file")
        check_written(path, 0, path.stat().st_size, "the sample file")
        return np.lib.format.open_memmap(path, mode="r")
    except InputError:
        raise
    except FAILURES as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        return InputError("the file cannot be read", where=str(path), why=error.strerror)
    if "pickle" in text or "Python objects" in text or "Object arrays" in text:
        return InputError(
            "the file holds pickled objects, or is no numpy file",
            where=str(path),
            why="unpickling can run any code, so it is never done",
            mend="save plain numeric arrays with numpy.savez",
        )
    suffix = path.suffix.lower()
    return InputError(f"the file is no valid {suffix}", where=str(path), why=f"{type(error).__name__}: {text}")


def _named(arrays: dict[str, np.ndarray], inputs: Sequence[PortLike] | None, where: str) -> dict[str, np.ndarray]:
    """``arrays`` under the names of inputs: an unnamed array goes to the only input."""
    if list(arrays) != [UNNAMED] or any(port.name == UNNAMED for port in inputs or ()):
        return arrays
    if inputs is None or len(inputs) != 1:
        names = "the model's inputs are not known here" if inputs is None else f"the model has {len(inputs)} inputs"
        raise InputError(
            "an array has no name", where=where, why=names, mend="save it with numpy.savez(path, input_name=array)"
        )
    return {inputs[0].name: arrays[UNNAMED]}


def with_batch_axis(feed: dict[str, Any], inputs: Sequence[PortLike] | None) -> dict[str, Any]:
    """Arrays of one axis less than their input with a first one of 1, unless the model wants another size there."""
    feed = dict(feed)
    for port in inputs or ():
        array = feed.get(port.name)
        lacking = isinstance(array, np.ndarray) and array.ndim == len(port.shape) - 1
        if lacking and not (isinstance(port.shape[0], int) and port.shape[0] != 1):
            feed[port.name] = array[np.newaxis]  # type: ignore[index]
    return feed


def _label(value: Any) -> Any:
    if value is None:
        return None
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array
