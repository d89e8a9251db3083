"""Valid models that onnxruntime cannot run, or only without its optimizations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim import execution, slim, verify
from onnxslim.api import output
from onnxslim.api.slim import simplify
from onnxslim.cli import main
from onnxslim.errors import CheckFailed, InputError
from onnxslim.execution import affordable
from onnxslim.graph import parse, save

CUSTOM = (
    '<ir_version: 8, opset_import: ["" : 17, "custom.domain" : 1]> g (float[N,3] x) => (float[N,3] y) '
    "{ i = Identity(x) h = custom.domain.Strange(i) y = Relu(h) }"
)
CUSTOM_FREE = CUSTOM.replace("custom.domain.Strange", "Abs")
PLAIN = CUSTOM_FREE.replace("i = Identity(x) h = Abs(i)", "h = Tan(x)").replace("Relu(h)", "Tan(h)")
CLIPS = (
    '<ir_version: 8, opset_import: ["" : 14]> g (double[4] d, float[4] x) => (double[4] y, double[4] y2, float[4] z) '
    "<double lo = {-1}, double hi = {1}> { r = Relu(d) y = Clip(r, lo, hi) y2 = Clip(d, lo, hi) "
    "a = Abs(x) b = Abs(x) c = Identity(b) z = Sum(a, c) }"
)
"""onnxruntime 1.32 fails on the first Clip when it optimizes, since that is of doubles."""


def test_custom_operators_pass_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = str(tmp_path / "m.onnx"), str(tmp_path / "o.onnx")
    save(parse(CUSTOM), path)
    assert main(["slim", path, "-o", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verified"] is False
    assert "Strange" in found["notes"][0]
    assert [node.op_type for node in onnx.load(out).graph.node] == ["Strange", "Relu"]
    Path(out).unlink()
    assert main(["slim", path, "-o", out, "--must-verify"]) == 1
    assert "Strange" in capsys.readouterr().err
    assert not Path(out).exists()


def test_nothing_done_to_a_custom_operator_is_not_verified_either() -> None:
    plain = parse(CUSTOM.replace("i = Identity(x) h = custom.domain.Strange(i)", "h = custom.domain.Strange(x)"))
    assert not simplify(plain).report.verified
    with pytest.raises(CheckFailed, match="cannot be compared") as caught:
        simplify(plain, must_verify=True)
    assert str(caught.value).count("; fix: ") == 1  # its own, and not that of what it quotes too


def test_a_library_of_operators_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such library"):
        slim(parse(CUSTOM), custom_op_library=tmp_path / "none.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(InputError, match=r"cannot load the custom operators \(.*text.so\)"):
        verify(parse(CUSTOM), parse(CUSTOM), custom_op_library=[tmp_path / "text.so"])


def test_what_takes_long_to_open_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SESSION_LONG", 0.0)
    monkeypatch.setattr(execution, "open_session", None)  # not called: the child's time counts
    changed, unchanged = (simplify(parse(text), time_sessions=True).report for text in (CUSTOM_FREE, PLAIN))
    assert changed.session_seconds.keys() == {"input", "output"}
    assert unchanged.session_seconds["input"] == unchanged.session_seconds["output"] > 0


def test_must_verify_needs_verification() -> None:
    with pytest.raises(InputError, match="contradict"):
        slim(parse(CLIPS), must_verify=True, verify=False)


def test_rewrites_are_not_blamed_for_what_the_original_cannot_do_either() -> None:
    result = simplify(parse(CLIPS))
    assert result.report.guilty == ()
    assert result.report.verified
    assert sorted(node.op_type for node in result.model.graph) == ["Abs", "Clip", "Clip", "Relu", "Sum"]
    parity = result.report.parity
    assert parity is not None
    assert any("opens the original only without optimizations" in note for note in parity.notes)


def test_a_graph_that_takes_too_long_to_open_is_slimmed_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affordable, "OPENING_SECONDS", 0.0)  # not even for the main graph
    for text in (CLIPS, PLAIN):
        report = simplify(parse(text)).report
        assert (report.verified, report.parity) == (False, None)
        assert "not compared: the model has 1 graphs" in report.notes[0]
        assert simplify(parse(text), must_verify=True).report.verified
    assert simplify(parse(PLAIN), samples=[{"x": np.ones((2, 3), np.float32)}]).report.verified
    assert verify(parse(PLAIN), parse(PLAIN)).passed
