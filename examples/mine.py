"""Stands for a project: a trained model, samples of its inputs with labels, and a metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import onnxslim

IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES = (IMAGES / 16).astype(np.float32)


def build() -> Any:
    """The trained model; a project would load it from a file."""
    return MLPClassifier((96,), max_iter=400, random_state=0).fit(IMAGES[:1200], LABELS[:1200])


def samples() -> Iterator[onnxslim.Sample]:
    """Images that it was not trained on."""
    for place, (image, label) in enumerate(zip(IMAGES[1200:], LABELS[1200:], strict=True)):
        yield onnxslim.Sample(f"image-{place:04}", {"X": image[None]}, int(label))


def accuracy(run: Callable[[Any], Any], given: Iterable[onnxslim.Sample]) -> float:
    """Share of the images whose label is right."""
    return float(np.mean([run(each.feed)["label"][0] == each.label for each in given]))
