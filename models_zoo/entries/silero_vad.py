"""Silero VAD in six builds: is someone speaking? Fetch only, until a scored task with recorded speech is written."""

from __future__ import annotations

from models_zoo.entry import Entry, PackageFile
from models_zoo.package import Package

_SILERO = Package(
    "silero-vad",
    "6.2.3",
    {
        "silero_vad.onnx": "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "silero_vad_16k_op15.onnx": "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        "silero_vad_16k_sequence.onnx": "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        "silero_vad_half.onnx": "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
        "silero_vad_op18_ifless.onnx": "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        "silero_vad_openvino_16k.onnx": "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
    },
    folder="silero_vad/data",
)
_MODELS = {
    "silero_vad": ("silero_vad.onnx", 16, "LSTM, 25 If subgraphs, both sampling rates in one file"),
    "silero_vad_16k_op15": ("silero_vad_16k_op15.onnx", 15, "LSTM, 16 kHz only"),
    "silero_vad_16k_sequence": ("silero_vad_16k_sequence.onnx", 16, "LSTM over a whole recording at once"),
    "silero_vad_half": ("silero_vad_half.onnx", 16, "weights in fp16"),
    "silero_vad_op18_ifless": ("silero_vad_op18_ifless.onnx", 18, "If over the two sampling rates"),
    "silero_vad_openvino_16k": ("silero_vad_openvino_16k.onnx", 16, "static shapes, LSTM"),
}

ENTRIES = tuple(
    Entry(name=name, source=PackageFile(_SILERO, file), license="MIT (silero-vad)", opset=opset, notes=notes)
    for name, (file, opset, notes) in _MODELS.items()
)
