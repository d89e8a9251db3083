"""What callers have in memory as samples: arrays, tensors, dicts, pairs with a label, data sets and loaders.

Tensors and loaders are known by what they can do, so that no framework is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxslim.errors import InputError
from onnxslim.samples.arrays import with_batch_axis
from onnxslim.samples.check import PortLike
from onnxslim.samples.identity import content_hash
from onnxslim.samples.sample import Sample

LABEL_KEYS = ("__label__", "label", "labels")
"""Keys of a dict that hold its label, where the model has no such input."""
FORMS = "onnxslim.samples.Sample, arrays or tensors, dicts from input name to array, or pairs (input, label)"


def as_array(value: Any) -> np.ndarray | None:
    """An array, or a tensor of torch, TensorFlow, jax and the like as one; None where it is neither."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach"):
        return np.asarray(value.detach().cpu().numpy())
    if callable(getattr(value, "numpy", None)):
        return np.asarray(value.numpy())
    if hasattr(value, "__array__") and hasattr(value, "dtype") and hasattr(value, "shape"):
        return np.asarray(value)
    return None


def as_sample(item: Any, index: int, inputs: Sequence[PortLike] | None, where: str) -> Sample:
    """One item as a sample, its id the index.

    Args:
        item: A `Sample`, an array or tensor for the only input, a dict by name, a tuple with one for each input, each
            of these but the first also in a pair with its label. A missing batch axis of 1 is added.
        index: Its place among the items.
        inputs: Of the model, where known.
        where: What it comes from, for messages.

    Raises:
        InputError: It is none of these, or does not suit the inputs.
    """
    if isinstance(item, Sample):
        return item
    found, label = _parts(item, inputs)
    return Sample(f"{index:06d}", with_batch_axis(_feed(found, inputs, where), inputs), as_label(label))


def as_label(value: Any) -> Any:
    """A label; arrays and tensors of one element become plain numbers."""
    array = as_array(value)
    if array is None:
        return value.item() if isinstance(value, np.generic) else value
    return array.item() if array.ndim == 0 else array


def _parts(item: Any, inputs: Sequence[PortLike] | None) -> tuple[Any, Any]:
    """What is for the model, and the label."""
    names = [port.name for port in inputs or ()]
    if isinstance(item, Mapping):
        key = next((key for key in LABEL_KEYS if key in item and key not in names), None)
        return ({name: each for name, each in item.items() if name != key}, None if key is None else item[key])
    if isinstance(item, tuple | list):
        if len(item) == 2 and (len(names) < 2 or isinstance(item[0], Mapping | tuple | list)):
            return item[0], item[1]
        if len(item) == len(names) + 1 and names:
            return item[:-1], item[-1]
    return item, None


def _feed(item: Any, inputs: Sequence[PortLike] | None, where: str) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return {str(name): each if (array := as_array(each)) is None else array for name, each in item.items()}
    parts = list(item) if isinstance(item, tuple | list) else [item]
    arrays = [as_array(part) for part in parts]
    if not parts or any(array is None for array in arrays):
        kind = type(next((part for part, array in zip(parts, arrays, strict=True) if array is None), item)).__name__
        raise InputError(f"the function yields a {kind}", where=where, mend=f"yield {FORMS}")
    if inputs is None or len(inputs) != len(parts):
        state = "not known here" if inputs is None else f"{len(inputs)}"
        raise InputError(
            "the function yields bare arrays",
            where=where,
            why=f"{len(parts)} suit a model of so many inputs; the number of inputs is {state}",
            mend="yield dicts from input name to array",
        )
    return {port.name: array for port, array in zip(inputs, arrays, strict=True)}


def is_loader(source: Any) -> bool:
    """Whether it looks like a DataLoader: it gives batches of a data set."""
    return hasattr(source, "dataset") and hasattr(source, "batch_size") and hasattr(source, "__iter__")


class LoaderSamples:
    """The rows of a loader's batches, one sample each; whole batches where the model takes batches of one size.

    Args:
        loader: Gives the same batches in the same order in each reading.
        inputs: Of the model, where known.

    Raises:
        InputError: The loader shuffles. When it is read: its batches are no inputs, or not those of the first reading.
    """

    def __init__(self, loader: Any, inputs: Sequence[PortLike] | None) -> None:
        self.loader, self.inputs, self.name = loader, inputs, type(loader).__name__
        self._first: bytes | None = None
        batches = getattr(loader, "batch_sampler", None)
        self._batched = loader.batch_size is not None or batches is not None
        samplers = (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
        if any("Random" in type(each).__name__ for each in samplers):
            raise self._unstable("it shuffles")

    def __iter__(self) -> Iterator[Sample]:
        count = 0
        for batch in self.loader:
            for item in self._items(batch):
                sample = as_sample(item, count, self.inputs, self.name)
                if count == 0:
                    first = content_hash(sample)
                    if self._first not in (None, first):
                        raise self._unstable("its first sample is another one now")
                    self._first = first
                count += 1
                yield sample
        if count == 0:
            raise InputError("there are no samples", where=self.name, mend="give a loader of some")

    def _unstable(self, why: str) -> InputError:
        return InputError(
            "the loader does not give the same samples in each reading",
            where=self.name,
            why=f"{why}, and samples are read several times, some to calibrate and others to judge",
            mend="give it shuffle=False, and a data set without random transforms",
        )

    def _items(self, batch: Any) -> Iterator[Any]:
        fixed = any(isinstance(port.shape[0], int) and port.shape[0] != 1 for port in self.inputs or () if port.shape)
        if not self._batched or fixed:
            yield batch
            return
        found, label = _parts(batch, self.inputs)
        feed = _feed(found, self.inputs, self.name)
        rows = {len(array) for array in feed.values() if isinstance(array, np.ndarray) and array.ndim}
        labels = as_label(label)
        if len(rows) != 1 or (labels is not None and (np.ndim(labels) == 0 or len(labels) not in rows)):
            raise InputError(
                "the arrays of a batch do not have one length",
                where=self.name,
                why="axis 0 of each, and of the labels, counts the samples of a batch",
                mend="let the loader collate samples on axis 0, or give a list of samples",
            )
        for row in range(rows.pop()):
            one = {name: array[row : row + 1] if np.ndim(array) else array for name, array in feed.items()}
            yield one, None if labels is None else labels[row]


class DatasetSamples:
    """The items of a data set that can be read one by one, as torch's are: ``len`` and an index."""

    def __init__(self, items: Any, inputs: Sequence[PortLike] | None) -> None:
        self.items, self.inputs, self.name = items, inputs, type(items).__name__

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        return as_sample(self.items[index], index, self.inputs, self.name)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))
