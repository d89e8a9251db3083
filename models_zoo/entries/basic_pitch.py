"""Basic Pitch: notes from audio. Scored by the F1 of the piano roll it hears in played notes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample

_BASIC_PITCH = Package(
    "basic-pitch",
    "0.4.0",
    {
        "nmp.onnx": "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
    },
    folder="basic_pitch/saved_models/icassp_2022",
)
INPUT, NOTE, ONSET = "serving_default_input_2:0", "StatefulPartitionedCall:1", "StatefulPartitionedCall:2"
"""The outputs, float32 [1, 172, 88]: is the key held, does it begin?"""
_THRESHOLD = 0.3
_ONSET_THRESHOLD = 0.5
"""The package's settings (basic-pitch, predict)."""
_SIZES = {"calibration": 64, "selection": 64, "report": 300}


def samples(split: str) -> LazySamples:
    """Played pieces; the label is the piano roll, bool [172, 88]."""
    return LazySamples(
        [f"{split}-piece-{number:03d}" for number in range(_SIZES[split])], lambda id: _sample(split, id)
    )


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Per piece: the F1 of the keys held in each frame."""
    rows = [_f1(run(sample.feed)[NOTE][0] > _THRESHOLD, sample.label) for sample in data]
    return {"frame F1": np.array(rows, np.float64)}


def agreement(run: Run, reference: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Per piece: the F1 of the reference's held keys and of its onsets."""
    frames, onsets = [], []
    for sample in data:
        found, wanted = run(sample.feed), reference(sample.feed)
        frames.append(_f1(found[NOTE] > _THRESHOLD, wanted[NOTE] > _THRESHOLD))
        onsets.append(_f1(found[ONSET] > _ONSET_THRESHOLD, wanted[ONSET] > _ONSET_THRESHOLD))
    return {"frame F1": np.array(frames, np.float64), "onset F1": np.array(onsets, np.float64)}


def _f1(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> tuple[int, int]:
    return 2 * int((found & wanted).sum()), int(found.sum() + wanted.sum())


def _sample(split: str, id: str) -> Sample:
    from models_zoo.notes import piece

    played = piece(split, id)
    return Sample(id, {INPUT: played.sound[None, :, None]}, played.roll)


ENTRIES = (
    Entry(
        name="basic_pitch",
        source=PackageFile(_BASIC_PITCH, "nmp.onnx"),
        license="Apache-2.0 (basic-pitch)",
        opset=15,
        notes="audio CNN, constant-Q transform in the graph",
        task=Task(
            title="hear which notes are played",
            metric="frame F1",
            samples=samples,
            measure=measure,
            usual=100,
            sizes=_SIZES,
            band=(0.92, 0.95),
            agreement=agreement,
        ),
    ),
)
