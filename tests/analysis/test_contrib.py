"""Shapes and costs of onnxruntime's own operators, of which onnx knows nothing."""

from __future__ import annotations

import pytest

from onnxslim.analysis import infer_shapes
from onnxslim.analysis.cost import model_cost
from onnxslim.graph import parse

TEXT = """
<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
g (%s x, int8[2,6,16] w, %s r, float[2,16] s, int8[2,16] o) => (float y, float z, float v) {
    y, z, v = com.microsoft.DynamicQuantizeLSTM <hidden_size = 4, direction = "bidirectional"> (
        x, w, r, "", "", "", "", "", s, o, s, o
    )
}
"""


@pytest.mark.parametrize(
    ("x", "r", "wanted"),
    [
        ("float[3,N,6]", "int8[2,4,16]", ["3", "2", "N", "4"]),
        ("float", "int8[2,4,16]", [None, "2", None, "4"]),
        ("float[3,N,6]", "int8", ["3", None, "N", None]),
    ],
)
def test_an_int8_lstm_has_the_shapes_of_an_lstm(x: str, r: str, wanted: list[str | None]) -> None:
    model = parse(TEXT % (x, r))
    facts = infer_shapes(model)
    y, z, v = model.graph.outputs
    found = facts.shape(y)
    assert found is not None
    assert [a for a, b in zip(map(str, found), wanted, strict=True) if b not in (None, a)] == []
    assert facts.shape(z) == facts.shape(v) == found[1:]


def test_an_int8_lstm_multiplies_as_an_lstm_does() -> None:
    model = parse(TEXT % ("float[3,5,6]", "int8[2,4,16]"))
    assert model_cost(model).total.macs == 3 * 5 * 2 * 16 * (6 + 4)
