"""Real inputs as samples: what a model is called with while a validation loop runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from onnxslim.converters.local import module_of
from onnxslim.errors import InputError
from onnxslim.samples import Sample

SAMPLES = 256
"""That are kept where nobody says how many."""


@contextlib.contextmanager
def record(model: Any, n: int = SAMPLES) -> Iterator[list[Sample]]:
    """Keeps what a model is called with in the block as samples; batches are cut into samples of one.

    ``with onnxslim.record(model) as samples: validate(model)``

    Args:
        model: A ``torch.nn.Module``, a fitted estimator or a Keras model: it works as ever, and is left as it was.
        n: Samples that are kept, the first ones. Each is a copy.

    Raises:
        InputError: ``n`` is no count, or no converter knows the model.
    """
    if not isinstance(n, int) or n < 1:
        raise InputError(f"n is {n!r}", where="record", mend="give the number of samples to keep")
    module = module_of(model)
    if not hasattr(module, "recording"):
        raise InputError(f"calls of a {type(model).__name__} cannot be recorded", where="record")
    samples: list[Sample] = []

    def take(batch: dict[str, np.ndarray]) -> None:
        for feed in rows(batch):
            if len(samples) >= n:
                return
            samples.append(Sample(f"recorded-{len(samples):06}", feed))

    with module.recording(model, take):
        yield samples


def rows(batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Copies of the entries of a batch, each as a batch of one; what has no common first axis is one sample.

    >>> [each["x"].tolist() for each in rows({"x": np.array([[1], [2]])})]
    [[[1]], [[2]]]
    """
    counts = {array.shape[0] if array.ndim else None for array in batch.values()}
    count = counts.pop() if len(counts) == 1 else None
    if count is None:
        yield {name: array.copy() for name, array in batch.items()}
        return
    for place in range(count):
        yield {name: array[place : place + 1].copy() for name, array in batch.items()}
