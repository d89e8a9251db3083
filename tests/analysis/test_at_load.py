"""What onnxruntime would compute when it opens a model."""

from __future__ import annotations

import pytest

from onnxslim.analysis.at_load import made_at_load
from onnxslim.execution import lean_config, open_session
from onnxslim.graph import parse

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
EIGHTY_MB = f"""{HEADER} g (int64[1] i) => (float[1] y) <int64[1] s = {{20000000}}> {{
    c = ConstantOfShape(s)
    e = Exp(c)
    y = Gather(e, i)
}}"""


@pytest.mark.parametrize(
    ("nodes", "made"),
    [
        ("a = Exp(w)  y = Add(x, a)", 8),
        ("a = Add(x, w)  y = Exp(a)", 0),
        ("c = Constant <value_float = 1.0> ()  y = Add(x, c)", 0),
        ("a = Expand(w, s)  m = ReduceMax <keepdims = 0> (a)  y = Add(x, m)", 4_000_004),
    ],
)
def test_constants_that_are_none_in_the_file_count(nodes: str, made: int) -> None:
    text = f"{HEADER} g (float[2] x) => (float[2] y) <float[2] w = {{1, 2}}, int64[2] s = {{500000, 2}}> {{ {nodes} }}"
    assert made_at_load(parse(text), 0) == made


def test_small_constants_need_no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.analysis.at_load.infer_shapes", None)
    text = f"{HEADER} g (float[2] x) => (float[2] y) <float[2] w = {{1, 2}}> {{ a = Mul(w, w)  y = Add(x, a) }}"
    assert 8 <= made_at_load(parse(text), 1 << 20) <= 64


def test_sessions_that_compare_make_no_large_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.execution.session.FOLD_UP_TO", 1 << 20)
    config = lean_config(parse(EIGHTY_MB))
    assert "ConstantFolding" in config.values()
    open_session(parse(EIGHTY_MB.replace("20000000", "300000")), config=config)
