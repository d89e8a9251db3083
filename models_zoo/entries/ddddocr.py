"""ddddocr's captcha reader: a CNN with an LSTM. Scored by character accuracy on rendered captchas."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.ctc import greedy, read_accuracy
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Feed, Run
from onnxslim.samples import Sample

_CHARSETS = "charsets.py"
_MODEL = "common.onnx"
_DDDDOCR = Package(
    "ddddocr",
    "1.6.1",
    {
        _MODEL: "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8",
        _CHARSETS: "ae99cf71e1dd738d50d2c2d2bf8544c16a7d23452e9b64346d3ac4dbff83510f",
    },
    folder="ddddocr",
)
_HEIGHT = 64
_STEP = 32
"""Captchas are resized to whole steps of width, so that few widths occur."""
_SIZES = {"calibration": 256, "selection": 256, "report": 600}
_SOURCE = PackageFile(_DDDDOCR, _MODEL)


def samples(split: str) -> LazySamples:
    """Rendered captchas with their characters as label."""
    return LazySamples(
        [f"{split}-captcha-{index:04d}" for index in range(_SIZES[split])], lambda id: _sample(split, id)
    )


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Of characters, and of whole captchas."""
    return read_accuracy(run, data, decode)


def decode(scores: NDArray[np.float32]) -> str:
    """The greedy reading of CTC scores [steps, 1, classes], over all of the characters as the package does."""
    return greedy(scores[:, 0], alphabet())


@cache
def alphabet() -> Sequence[str]:
    """The classes, blank first: a literal in the package's source, which is read and not run."""
    for statement in ast.parse(_DDDDOCR.file(_CHARSETS).read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="CHARSET_BETA")], value=value):
                letters: list[str] = ast.literal_eval(value)
                return tuple(letters)
    raise LookupError(f"{_CHARSETS} has no CHARSET_BETA")


def _sample(split: str, id: str) -> Sample:
    from PIL import Image

    from models_zoo.captchas import captcha

    rendered = captcha(split, id)
    image = Image.fromarray(rendered.picture)
    width = -(-image.width * _HEIGHT // image.height // _STEP) * _STEP
    grey = np.asarray(image.resize((width, _HEIGHT), Image.Resampling.LANCZOS).convert("L"), np.float32)
    feed: Feed = {"input1": grey[None, None] / 255}
    return Sample(id, feed, rendered.text)


ENTRIES = (
    Entry(
        name="ddddocr",
        source=_SOURCE,
        license="MIT (ddddocr)",
        opset=12,
        notes="CRNN: a CNN with SiLU, one LSTM in which most weights are, a Gemm over 8,210 characters; dynamic width",
        task=Task(
            title="read rendered captchas",
            metric="character accuracy",
            samples=samples,
            measure=measure,
            usual=300,
            sizes=_SIZES,
            band=(0.72, 0.9),
        ),
    ),
)
