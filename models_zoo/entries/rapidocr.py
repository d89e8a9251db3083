"""The package that ships the three PP-OCR models."""

from __future__ import annotations

from models_zoo.package import Package

DET = "ch_PP-OCRv4_det_infer.onnx"
REC = "ch_PP-OCRv4_rec_infer.onnx"
CLS = "ch_ppocr_mobile_v2.0_cls_infer.onnx"
RAPIDOCR = Package(
    "rapidocr-onnxruntime",
    "1.4.4",
    {
        DET: "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        REC: "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        CLS: "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    },
    folder="rapidocr_onnxruntime/models",
)
