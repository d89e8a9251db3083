"""PP-OCRv4 recogniser: reads one text line. Scored by character accuracy on rendered lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.ctc import greedy, read_rightly
from models_zoo.entries.rapidocr import RAPIDOCR, REC
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Feed, Run
from onnxslim.samples import Sample

_HEIGHT = 48
_NARROWEST = 320
_STEP = 32
"""Lines are padded to at least 320 wide, as the package does, and to whole steps, so that few widths occur."""
_SIZES = {"calibration": 256, "selection": 256, "report": 1000}
_SOURCE = PackageFile(RAPIDOCR, REC)


def samples(split: str) -> LazySamples:
    """Rendered lines with their text as label."""
    return LazySamples([f"{split}-line-{index:04d}" for index in range(_SIZES[split])], lambda id: _sample(split, id))


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Character accuracy, 1 - edits / length over all lines, and the share of lines without fault."""
    characters, lines = [], []
    for sample in data:
        wanted = str(sample.label)
        found = decode(next(iter(run(sample.feed).values())))
        characters.append(read_rightly(found, wanted))
        lines.append((found == wanted, 1))
    return {"character accuracy": np.array(characters, np.float64), "line accuracy": np.array(lines, np.float64)}


def decode(scores: NDArray[np.float32]) -> str:
    """The greedy reading of CTC scores [1, steps, classes]."""
    return greedy(scores[0], alphabet())


@cache
def alphabet() -> Sequence[str]:
    """The classes: blank, the characters in the model's metadata, space."""
    import onnx

    metadata = {prop.key: prop.value for prop in onnx.load(_SOURCE.path()).metadata_props}
    return ("", *metadata["character"].split("\n"), " ")


def _sample(split: str, id: str) -> Sample:
    from models_zoo.render import fit, text_line

    rendered = text_line(split, id)
    pixels = fit(rendered.picture, _HEIGHT)
    width = max(_NARROWEST, -(-pixels.shape[2] // _STEP) * _STEP)
    feed: Feed = {"x": np.zeros((1, 3, _HEIGHT, width), np.float32)}
    feed["x"][0, :, :, : pixels.shape[2]] = pixels
    return Sample(id, feed, rendered.text)


ENTRIES = (
    Entry(
        name="ppocrv4_rec",
        source=_SOURCE,
        license="Apache-2.0 (rapidocr-onnxruntime; model by PaddlePaddle)",
        opset=12,
        notes="SVTR-LCNet with a CTC head over 6,625 characters; 860 nodes, weights in Constant nodes, dynamic width",
        task=Task(
            title="read rendered text lines",
            metric="character accuracy",
            samples=samples,
            measure=measure,
            usual=150,
            sizes=_SIZES,
            band=(0.93, 0.98),
        ),
    ),
)
