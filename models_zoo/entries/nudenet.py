"""NudeNet's detector (YOLOv8n): faces of people in ordinary, clothed scenes, found among its 18 classes.

Scenes are made of published photographs: a part of one of them, on it one to three faces of Labeled Faces in the Wild.
Boxes (pixels) and scores (0 to 1) stand in one output, which is what makes this model hard to judge by one figure.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.boxes import Boxes, f1
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.seeds import generator
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample

_NUDENET = Package(
    "nudenet",
    "3.4.2",
    {"320n.onnx": "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f"},
    folder="nudenet",
)
_SKIMAGE = Package(
    "scikit-image",
    "0.26.0",
    {
        "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
        "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
        "lfw_subset.npy": "9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c",
        "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    },
    folder="skimage/data",
)
_SKLEARN = Package(
    "scikit-learn",
    "1.9.1",
    {
        "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    },
    folder="sklearn/datasets/images",
)
_PHOTOS = {
    "calibration": ("astronaut.png", "coffee.png", "china.jpg", "grass.png"),
    "selection": ("camera.png", "flower.jpg", "rocket.jpg"),
    "report": ("astronaut.png", "chelsea.png", "motorcycle_left.png", "china.jpg", "rocket.jpg"),
}
_MIRRORED = {"report"}
"""Splits whose photographs are mirrored: so that a photograph of two splits is not the same picture."""
_FACES = {"calibration": range(50), "selection": range(50, 65), "report": range(65, 100)}
_SIZES = {"calibration": 64, "selection": 32, "report": 160}
_SIDE = 320
_THRESHOLD, _OVERLAP = 0.25, 0.45
"""The package's settings: least score of a box, and the overlap beyond which the better of two boxes stays."""
_FACE_CLASSES = (1, 12)
"""FACE_FEMALE and FACE_MALE."""


def samples(split: str) -> LazySamples:
    """Scenes; the label is the boxes of the faces that were put there."""
    return LazySamples([f"{split}-scene-{index:03d}" for index in range(_SIZES[split])], lambda id: _sample(split, id))


def detections(output: NDArray[np.float32]) -> Boxes:
    """The boxes that the package reports: left, top, right, bottom and class, best first.

    Args:
        output: ``float32[1, 4 + classes, anchors]``: centre, size and scores.
    """
    boxes, scores = output[0, :4].T.astype(np.float64), output[0, 4:]
    best, classes = scores.max(axis=0), scores.argmax(axis=0)
    order = np.argsort(-best, kind="stable")
    order = order[best[order] >= _THRESHOLD]
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    kept: list[int] = []
    for index in order:
        if all(_iou(corners[index], corners[other]) <= _OVERLAP for other in kept):
            kept.append(int(index))
    return np.concatenate([corners[kept], classes[kept, None]], axis=1).reshape(-1, 5)


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Per scene: the F1 of the faces that were put there."""
    rows = []
    for sample in data:
        found = detections(_output(run, sample))
        rows.append(f1(found[np.isin(found[:, 4], _FACE_CLASSES), :4], sample.label, least=0.3))
    return {"face F1": np.array(rows, np.float64)}


def agreement(run: Run, reference: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Per scene: the F1 of all boxes against those of another model, classes compared too."""
    rows = []
    for sample in data:
        found, wanted = (detections(_output(each, sample)) for each in (run, reference))
        rows.append(f1(found, wanted, least=0.5))
    return {"box F1": np.array(rows, np.float64)}


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:4], b[2:4])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    union = float(np.prod(a[2:4] - a[:2]) + np.prod(b[2:4] - b[:2])) - shared
    return shared / union if union > 0 else 0.0


def _output(run: Run, sample: Sample) -> NDArray[np.float32]:
    output: NDArray[np.float32] = next(iter(run(sample.feed).values()))
    return output


@cache
def _photo(name: str) -> NDArray[np.uint8]:
    from PIL import Image

    package = _SKIMAGE if name in _SKIMAGE.files else _SKLEARN
    with Image.open(package.file(name)) as image:
        return np.asarray(image.convert("RGB"))


@cache
def _faces() -> NDArray[np.uint8]:
    array: NDArray[np.float64] = np.load(_SKIMAGE.file("lfw_subset.npy"), allow_pickle=False)[:100]
    return (array * 255).astype(np.uint8)


def _sample(split: str, id: str) -> Sample:
    from PIL import Image

    random = generator(id)
    photo = _photo(_PHOTOS[split][int(id.rsplit("-", 1)[1]) % len(_PHOTOS[split])])
    photo = photo[:, ::-1] if split in _MIRRORED else photo
    side = int(min(photo.shape[:2]) * random.uniform(0.6, 1.0))
    top, left = (int(random.integers(0, size - side + 1)) for size in photo.shape[:2])
    part = Image.fromarray(np.ascontiguousarray(photo[top : top + side, left : left + side]))
    scene = np.asarray(part.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)).copy()
    boxes: list[tuple[int, int, int, int]] = []
    for number in random.choice(_FACES[split], size=int(random.integers(1, 4)), replace=False):
        size = int(random.integers(56, 128))
        y, x = (int(random.integers(0, _SIDE - size)) for _ in range(2))
        if any(x < b[2] and b[0] < x + size and y < b[3] and b[1] < y + size for b in boxes):
            continue
        face = Image.fromarray(_faces()[number]).resize((size, size), Image.Resampling.BICUBIC)
        scene[y : y + size, x : x + size] = np.asarray(face)[:, :, None]
        boxes.append((x, y, x + size, y + size))
    feed = np.ascontiguousarray(scene.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    return Sample(id, {"images": feed}, np.array(boxes, np.float64).reshape(-1, 4))


ENTRIES = (
    Entry(
        name="nudenet",
        source=PackageFile(_NUDENET, "320n.onnx"),
        license="AGPL-3.0 (nudenet)",
        opset=17,
        notes="YOLOv8n; boxes in pixels and scores in one output [1, 4 + 18, 2100]",
        task=Task(
            title="find the faces in scenes made of photographs",
            metric="face F1",
            samples=samples,
            measure=measure,
            usual=160,
            sizes=_SIZES,
            band=(0.3, 1.0),
            agreement=agreement,
        ),
    ),
)
