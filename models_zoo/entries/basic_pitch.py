"""Basic Pitch: notes from audio. Fetch only, until a scored task with played notes is written."""

from __future__ import annotations

from models_zoo.entry import Entry, PackageFile
from models_zoo.package import Package

_BASIC_PITCH = Package(
    "basic-pitch",
    "0.4.0",
    {
        "nmp.onnx": "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
    },
    folder="basic_pitch/saved_models/icassp_2022",
)
_MODELS = {
    "basic_pitch": ("nmp.onnx", 15, "audio CNN, constant-Q transform in the graph"),
}

ENTRIES = tuple(
    Entry(
        name=name, source=PackageFile(_BASIC_PITCH, file), license="Apache-2.0 (basic-pitch)", opset=opset, notes=notes
    )
    for name, (file, opset, notes) in _MODELS.items()
)
