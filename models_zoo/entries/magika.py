"""Magika: the type of a file from its first and last bytes. Scored by accuracy on files of known types."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample

_MAGIKA = Package(
    "magika",
    "1.0.3",
    {
        "model.onnx": "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        "config.min.json": "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
    },
    folder="magika/models/standard_v3_3",
)
_SIDE = 1024
_BLOCK = 4096
_PADDING = 256
_SIZES = {"calibration": 327, "selection": 122, "report": 644}


def samples(split: str) -> LazySamples:
    """Real files and made ones in one mixed order, with their type as label."""
    from models_zoo.files import KINDS, MADE, made, read, real

    chosen = real(split)
    ours = {f"made/{split}-{kind}-{n:02d}": (kind, n) for kind in KINDS for n in range(MADE[split])}

    def make(id: str) -> Sample:
        if id in ours:
            kind, number = ours[id]
            return Sample(id, {"bytes": features(made(split, kind, number))[None]}, kind)
        wheel, member, kind = chosen[id]
        return Sample(id, {"bytes": features(read(wheel, member))[None]}, kind)

    ids = sorted([*chosen, *ours], key=lambda id: hashlib.sha256(id.encode()).digest())
    return LazySamples(ids, make)


def features(data: bytes) -> NDArray[np.int32]:
    """The first and the last 1,024 bytes without outer white space, int32 [2048]; 256 where there are none.

    As the package's ``_extract_features_from_seekable`` does.
    """
    head = np.frombuffer(data[:_BLOCK].lstrip()[:_SIDE], np.uint8)
    tail = np.frombuffer(data[-_BLOCK:].rstrip()[-_SIDE:], np.uint8)
    found = np.full(2 * _SIDE, _PADDING, np.int32)
    found[: len(head)] = head
    found[2 * _SIDE - len(tail) :] = tail
    return found


@cache
def types() -> tuple[str, ...]:
    """The types in the order of the output."""
    config = json.loads(_MAGIKA.file("config.min.json").read_bytes())
    return tuple(config["target_labels_space"])


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Accuracy of the likeliest type; the package's own confidence thresholds are not applied."""
    known = types()
    right = [(known[next(iter(run(sample.feed).values())).argmax()] == sample.label, 1) for sample in data]
    return {"accuracy": np.array(right, np.float64)}


ENTRIES = (
    Entry(
        name="magika",
        source=PackageFile(_MAGIKA, "model.onnx"),
        license="Apache-2.0 (magika)",
        opset=15,
        notes="tf2onnx, one-hot bytes; onnxruntime's quant_pre_process fails on it",
        task=Task(
            title="name the type of files",
            metric="accuracy",
            samples=samples,
            measure=measure,
            usual=_SIZES["report"],
            sizes=_SIZES,
            band=(0.90, 0.99),
        ),
    ),
)
