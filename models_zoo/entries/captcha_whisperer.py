"""captcha-whisperer's reader: a DenseNet with two bidirectional LSTMs, unrolled. Scored on rendered captchas."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models_zoo.ctc import greedy, read_accuracy
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Feed, Run
from onnxslim.samples import Sample

_MODEL = "captcha_crnn.onnx"
_WHISPERER = Package(
    "captcha-whisperer",
    "0.1.0",
    {_MODEL: "7298347e85a4dfe3265b73874f1af42b17f0a8979688b48a44eaec4a50100c7b"},
    folder="captcha_whisperer/models",
)
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The classes but for the blank, which is the last one; small letters are read as capitals."""
_WIDTH, _HEIGHT = 160, 60
_SIZES = {"calibration": 256, "selection": 256, "report": 600}


def samples(split: str) -> LazySamples:
    """Rendered captchas with their characters, in capitals, as label."""
    return LazySamples(
        [f"{split}-captcha-{index:04d}" for index in range(_SIZES[split])], lambda id: _sample(split, id)
    )


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Of characters, and of whole captchas."""
    return read_accuracy(run, data, decode)


def decode(scores: NDArray[np.float32]) -> str:
    """The greedy reading of CTC scores [steps, 1, classes]."""
    return greedy(scores[:, 0], _LETTERS, blank=len(_LETTERS))


def _sample(split: str, id: str) -> Sample:
    """Blue, green and red in 0..255, as the package feeds it."""
    from PIL import Image

    from models_zoo.captchas import captcha

    rendered = captcha(split, id)
    image = Image.fromarray(rendered.picture).resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32)[..., ::-1].transpose(2, 0, 1)
    feed: Feed = {"image": np.ascontiguousarray(pixels[None])}
    return Sample(id, feed, rendered.text.upper())


ENTRIES = (
    Entry(
        name="captcha_whisperer",
        source=PackageFile(_WHISPERER, _MODEL),
        license="MIT (captcha-whisperer)",
        opset=17,
        notes="DenseNet trunk, two bidirectional LSTMs unrolled over 20 steps into 80 Gemms that each have the weights",
        task=Task(
            title="read rendered captchas",
            metric="character accuracy",
            samples=samples,
            measure=measure,
            usual=300,
            sizes=_SIZES,
            band=(0.9, 0.985),
        ),
    ),
)
