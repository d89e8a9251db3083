"""PP-OCRv4 detector: where is text on a page? Scored by the F1 of the boxes found on rendered pages."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models_zoo.boxes import Boxes, f1
from models_zoo.entries.rapidocr import DET, RAPIDOCR
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample

_SIDE = 640
_THRESHOLD = 0.3
_BOX_THRESHOLD = 0.5
_UNCLIP = 1.6
"""The package's settings (rapidocr-onnxruntime, config.yaml)."""
_MATCH = 0.5
"""A box is found where the intersection over union is more than this, as in ICDAR's rules."""
_SIZES = {"calibration": 32, "selection": 24, "report": 48}


def samples(split: str) -> LazySamples:
    """Rendered pages; the label is the boxes of the lines."""
    return LazySamples([f"{split}-page-{index:03d}" for index in range(_SIZES[split])], lambda id: _sample(split, id))


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Per page: the F1 of the boxes, and the IoU of the pixels in found and in true boxes."""
    boxes, pixels = [], []
    for sample in data:
        map = _map(run, sample)
        wanted: Boxes = sample.label
        found = find_boxes(map)
        boxes.append(f1(found, wanted, least=_MATCH))
        pixels.append(_overlap(_filled(found, map.shape), _filled(wanted, map.shape)))
    return {"box F1": np.array(boxes, np.float64), "pixel IoU": np.array(pixels, np.float64)}


def agreement(run: Run, reference: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Per page: the IoU of the two models' text pixels."""
    pairs = ((_map(run, sample), _map(reference, sample)) for sample in data)
    return {"map IoU": np.array([_overlap(a > _THRESHOLD, b > _THRESHOLD) for a, b in pairs], np.float64)}


def find_boxes(map: NDArray[np.float32]) -> Boxes:
    """Upright boxes of the connected regions of a probability map, grown as DB's post-processing does.

    Liao et al. 2020, "Real-time Scene Text Detection with Differentiable Binarization", section 3.5: the network sees
    shrunk text, and a region is offset outwards by area * ratio / perimeter.
    """
    from scipy import ndimage

    regions, count = ndimage.label(map > _THRESHOLD)
    scores = ndimage.mean(map, regions, np.arange(1, count + 1))
    boxes = []
    for score, (rows, columns) in zip(np.atleast_1d(scores), ndimage.find_objects(regions), strict=True):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if score >= _BOX_THRESHOLD and min(height, width) >= 3:
            grow = height * width * _UNCLIP / (2 * (height + width))
            boxes.append((columns.start - grow, rows.start - grow, columns.stop + grow, rows.stop + grow))
    return np.array(boxes, np.float64).reshape(-1, 4)


def _filled(boxes: Boxes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside = np.zeros(shape, bool)
    for left, top, right, bottom in boxes.round().astype(int).clip(0):
        inside[top:bottom, left:right] = True
    return inside


def _overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[int, int]:
    return int((a & b).sum()), int((a | b).sum())


def _map(run: Run, sample: Sample) -> NDArray[np.float32]:
    map: NDArray[np.float32] = next(iter(run(sample.feed).values()))[0, 0]
    return map


def _sample(split: str, id: str) -> Sample:
    from models_zoo.pages import page
    from models_zoo.render import fit

    rendered = page(split, id, _SIDE)
    return Sample(id, {"x": fit(rendered.picture, _SIDE)[None]}, np.array(rendered.boxes, np.float64).reshape(-1, 4))


ENTRIES = (
    Entry(
        name="ppocrv4_det",
        source=PackageFile(RAPIDOCR, DET),
        license="Apache-2.0 (rapidocr-onnxruntime; model by PaddlePaddle)",
        opset=12,
        notes="DB segmentation, ConvTranspose, Resize; dynamic height and width",
        task=Task(
            title="find the text lines of rendered pages",
            metric="box F1",
            samples=samples,
            measure=measure,
            usual=12,
            sizes=_SIZES,
            band=(0.9, 0.98),
            agreement=agreement,
        ),
    ),
)
