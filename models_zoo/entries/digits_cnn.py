"""A small CNN of our own for scikit-learn's digits, trained by tools/train_digits.py. Scored by accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.entry import Entry, LazySamples, OwnFile, Task
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample

FILE = "digits_cnn.onnx"
_HELD_OUT = 719
"""40 % of the 1,797 images: seen neither in training nor in calibration."""
_SELECTION = 178
_CALIBRATION = 256
_SIZES = {"calibration": _CALIBRATION, "selection": _SELECTION, "report": _HELD_OUT}


@cache
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All images, float32 [1797, 1, 8, 8] in 0..1, and their digits, int64 [1797] (bundled with scikit-learn)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32), labels.astype(np.int64)


def indices(part: str) -> NDArray[np.int64]:
    """The images of "report", "selection", "training", or "calibration" (the first of the training ones)."""
    order = np.random.default_rng(20240).permutation(1797)
    report, selection, training = np.split(order, [_HELD_OUT, _HELD_OUT + _SELECTION])
    parts = {"report": report, "selection": selection, "training": training, "calibration": training[:_CALIBRATION]}
    return parts[part]


def samples(split: str) -> LazySamples:
    """Single images with their digit as label."""
    return LazySamples([f"digit-{index:04d}" for index in indices(split)], _sample)


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Accuracy."""
    right = [(next(iter(run(sample.feed).values())).argmax() == sample.label, 1) for sample in data]
    return {"accuracy": np.array(right, np.float64)}


def _sample(id: str) -> Sample:
    images, labels = digits()
    index = int(id.removeprefix("digit-"))
    return Sample(id, {"image": images[index : index + 1]}, int(labels[index]))


ENTRIES = (
    Entry(
        name="digits_cnn",
        source=OwnFile(FILE),
        license="Apache-2.0 (this repository; the digits are UCI's, bundled with scikit-learn)",
        opset=17,
        notes="Conv, BatchNormalization (unfused), a residual block, a depthwise one; dynamic batch",
        task=Task(
            title="name handwritten digits",
            metric="accuracy",
            samples=samples,
            measure=measure,
            usual=_HELD_OUT,
            sizes=_SIZES,
            band=(0.985, 1.0),
        ),
    ),
)
