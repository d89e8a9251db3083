"""Arabic diacritization, quantized by its authors: inputs that are int8 already. Fetch only."""

from __future__ import annotations

from models_zoo.entry import Entry, PackageFile
from models_zoo.package import Package

_TASHKEEL = Package(
    "text2tashkeel",
    "0.1.0",
    {
        "rawi.int8.onnx": "47a609c054534c5ab56ab980a09a6a326e31143930d2d90520379e030627adb9",
        "rawi_v2.int8.onnx": "60eb6e63d061bcafb63af2ed92fb66a8097c347bada300194f1edb45993f74d1",
        "rawi_v3.int8.onnx": "e1253c5c5edfab3a7d47167323413cb3253d26df79eedb6db02100cbbd22ecb7",
        "rawi_ensemble.int8.onnx": "429333d9825ca70d2482885547a61a41fdcd6f67d7b96bb09e852fdcf3bd266c",
        "bilstm.int8.onnx": "106917dbd76e0ae6a07d28e71556b97d42a1de9f9a67973272ab5d304d40527e",
    },
    folder="text2tashkeel/models",
)
_MODELS = {
    "tashkeel_rawi": ("rawi.int8.onnx", 17, "dynamically quantized int8"),
    "tashkeel_rawi_v2": ("rawi_v2.int8.onnx", 17, "dynamically quantized int8"),
    "tashkeel_rawi_v3": ("rawi_v3.int8.onnx", 17, "dynamically quantized int8"),
    "tashkeel_rawi_ensemble": ("rawi_ensemble.int8.onnx", 17, "dynamically quantized int8"),
    "tashkeel_bilstm": ("bilstm.int8.onnx", 17, "dynamically quantized int8"),
}

ENTRIES = tuple(
    Entry(
        name=name, source=PackageFile(_TASHKEEL, file), license="Apache-2.0 (text2tashkeel)", opset=opset, notes=notes
    )
    for name, (file, opset, notes) in _MODELS.items()
)
