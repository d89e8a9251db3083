"""What callers have in memory: tensors, pairs, data sets and loaders, of frameworks that are not installed here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import InputError
from onnxslim.samples import Sample, load_samples
from tests.calibration.nets import Port, port

ONE = [port()]
TWO = [port("a"), port("b")]
X = np.arange(15, dtype=np.float32).reshape(5, 3)


class Tensor:
    """As torch's: numpy only behind ``detach`` and ``cpu``."""

    def __init__(self, array: Any, detached: bool = False) -> None:
        self.array, self.detached = np.asarray(array), detached

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Tensor:
        return Tensor(self.array[index])

    def detach(self) -> Tensor:
        return Tensor(self.array, detached=True)

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        assert self.detached
        return self.array


class RandomSampler:
    """Bears the name of torch's."""


class Loader:
    """As torch's DataLoader: batches of a data set."""

    def __init__(self, dataset: list[Any], batch_size: int = 2, sampler: Any = None, noise: bool = False) -> None:
        self.dataset, self.batch_size, self.sampler, self.noise = dataset, batch_size, sampler, noise

    def __iter__(self) -> Iterator[Any]:
        self.dataset = [(x + 1, y) for x, y in self.dataset] if self.noise else self.dataset
        for at in range(0, len(self.dataset), self.batch_size):
            xs, ys = zip(*self.dataset[at : at + self.batch_size], strict=True)
            yield [Tensor(np.stack(xs)), Tensor(np.array(ys))]


class Dataset:
    """As torch's: an index and a length, items without a batch axis."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return Tensor(X[index]), index * 10


def read(source: Any, inputs: list[Port] = ONE) -> list[Sample]:
    samples = load_samples(source, inputs=inputs)
    first, second = list(samples), list(samples)
    assert [sample.id for sample in first] == [sample.id for sample in second]
    return first


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        (X, None),
        (Tensor(X), None),
        ((X, np.arange(5) * 10), [0, 10, 20, 30, 40]),
        ((Tensor(X), Tensor(np.arange(5) * 10)), [0, 10, 20, 30, 40]),
        ((X, [0, 10, 20, 30, 40]), [0, 10, 20, 30, 40]),
        ([Tensor(row[np.newaxis]) for row in X], None),
        ([(row, at * 10) for at, row in enumerate(X)], [0, 10, 20, 30, 40]),
        ([{"x": Tensor(row), "label": Tensor(at * 10)} for at, row in enumerate(X)], [0, 10, 20, 30, 40]),
        (Dataset(), [0, 10, 20, 30, 40]),
        (Loader([(row, at * 10) for at, row in enumerate(X)]), [0, 10, 20, 30, 40]),
    ],
    ids=["array", "tensor", "arrays", "tensors", "array and list", "list", "pairs", "dicts", "data set", "loader"],
)
def test_rows_become_samples_with_their_labels(source: Any, labels: list[int] | None) -> None:
    found = read(source)
    assert np.array_equal(np.stack([sample.feed["x"] for sample in found]), X[:, np.newaxis])
    assert [sample.label for sample in found] == (labels if labels is not None else [None] * 5)


@pytest.mark.parametrize("labels", [np.arange(4), Tensor(np.arange(4)), list("abcd")], ids=["array", "tensor", "list"])
def test_unequal_lengths_of_inputs_and_labels_are_both_named(labels: Any) -> None:
    with pytest.raises(InputError, match=r"\(x, y\) holds 5 inputs and 4 labels.*fix: give as many labels as inputs"):
        load_samples((X, labels), inputs=ONE)


def test_items_for_several_inputs() -> None:
    a, b = X[:1], X[1:2]
    for item, label in (((a, b), None), ((a, b, 7), 7), (((a, b), 7), 7), (({"a": a, "b": b}, 7), 7)):
        (sample,) = read([item], TWO)
        assert (sample.feed["a"] is a, sample.feed["b"] is b, sample.label) == (True, True, label)


def test_whole_batches_for_a_model_that_takes_them() -> None:
    fixed = [dataclasses.replace(port(), shape=(2, 3))]
    found = read(Loader([(row, at) for at, row in enumerate(X[:4])]), fixed)
    assert [sample.feed["x"].shape for sample in found] == [(2, 3), (2, 3)]
    assert [list(sample.label) for sample in found] == [[0, 1], [2, 3]]


def test_readings_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match=r"it shuffles.*shuffle=False"):
        load_samples(Loader([], sampler=RandomSampler()), inputs=ONE)
    samples = load_samples(Loader([(row, 0) for row in X], noise=True), inputs=ONE)
    list(samples)
    with pytest.raises(InputError, match=r"its first sample is another one now.*random transforms"):
        list(samples)
    with pytest.raises(InputError, match=r"read only once.*give a list"):
        load_samples((row for row in X), inputs=ONE)


def test_batches_that_cannot_be_cut_are_refused() -> None:
    class Uneven(Loader):
        def __iter__(self) -> Iterator[Any]:
            yield X, np.arange(3)

    with pytest.raises(InputError, match="arrays of a batch do not have one length"):
        list(load_samples(Uneven([]), inputs=ONE))
    with pytest.raises(InputError, match=r"yields a str.*pairs \(input, label\)"):
        list(load_samples([("x", 1)], inputs=ONE))
