"""PP-OCR direction classifier: is a text line upright or upside down? Scored by accuracy on rendered lines."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models_zoo.entries.rapidocr import CLS, RAPIDOCR
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Feed, Run
from onnxslim.samples import Sample

_HEIGHT, _WIDTH = 48, 192
_SIZES = {"calibration": 256, "selection": 256, "report": 800}


def samples(split: str) -> LazySamples:
    """Rendered lines, every second one turned by 180 degrees; the label is 0 (upright) or 1."""
    return LazySamples([f"{split}-turn-{index:04d}" for index in range(_SIZES[split])], lambda id: _sample(split, id))


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Accuracy."""
    right = [(next(iter(run(sample.feed).values())).argmax() == sample.label, 1) for sample in data]
    return {"accuracy": np.array(right, np.float64)}


def _sample(split: str, id: str) -> Sample:
    from models_zoo.render import Look, fit, text_line

    # Clearer than the recogniser's lines: a turn that nobody can see tells nothing of a model.
    look = Look(height=(14, 36), blur=(0, 0.045), noise=(2, 18), contrast=(85, 230))
    turned = int(id[-1]) % 2
    picture = text_line(split, id, look).picture
    pixels = fit(picture[::-1, ::-1] if turned else picture, _HEIGHT, widest=_WIDTH)
    feed: Feed = {"x": np.zeros((1, 3, _HEIGHT, _WIDTH), np.float32)}
    feed["x"][0, :, :, : pixels.shape[2]] = pixels
    return Sample(id, feed, turned)


ENTRIES = (
    Entry(
        name="ppocr_cls",
        source=PackageFile(RAPIDOCR, CLS),
        license="Apache-2.0 (rapidocr-onnxruntime; model by PaddlePaddle)",
        opset=11,
        notes="MobileNetV3, BatchNormalization unfused, Shape arithmetic",
        task=Task(
            title="tell upright text lines from upside-down ones",
            metric="accuracy",
            samples=samples,
            measure=measure,
            usual=400,
            sizes=_SIZES,
            band=(0.93, 1.0),
        ),
    ),
)
