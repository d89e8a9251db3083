"""A folder of models is compressed model by model, and again only where something has changed."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path, PurePath
from typing import Any

import pytest

from onnxslim.api.folder_samples import samples_of
from onnxslim.api.job import rewrite
from onnxslim.api.many import compress_folder
from onnxslim.api.result import Result
from onnxslim.errors import InputError
from onnxslim.execution import open_session
from onnxslim.pipeline import RunConfig, get_pass
from onnxslim.report.folder import document_of_folder
from onnxslim.report.terminal import as_text
from onnxslim.samples import load_samples
from tests.documents import DIGITS, write_digit_samples


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / ".hidden").mkdir()
    for name in ("b.onnx", "sub/a.onnx", ".hidden/no.onnx"):
        shutil.copy(DIGITS, tmp_path / "in" / name)
    (tmp_path / "in" / "broken.onnx").write_bytes(b"no model")
    write_digit_samples(tmp_path / "samples", 8)
    return tmp_path


def test_models_are_done_once_and_a_broken_one_stops_no_other(here: Path) -> None:
    calls: list[str] = []

    def run(model: Path, output: Path, *, samples: Any, work: Path) -> Result:
        calls.append(model.name)
        assert (Path(samples), work.name) == (here / "samples", model.name)
        assert len(list(load_samples(samples))) == 8
        return rewrite("slim", model, output, [get_pass("slim")()], RunConfig(bench=False))

    again = functools.partial(compress_folder, here / "in", here / "out", samples=here / "samples", run=run)
    report = again()
    assert [(each.name, each.decision, each.failed) for each in report.models] == [
        ("b.onnx", "slimmed", False),
        ("broken.onnx", "failed", True),
        ("sub/a.onnx", "slimmed", False),
    ]
    assert (report.exit_code, report.samples) == (1, f"{here / 'samples'} for all models")
    assert sorted(each.relative_to(here / "out").as_posix() for each in (here / "out").rglob("*.onnx")) == [
        "b.onnx",
        "sub/a.onnx",
    ]
    feed = next(iter(load_samples(here / "samples"))).feed
    one, other = (open_session(here / each / "sub" / "a.onnx").run(feed) for each in ("in", "out"))
    assert abs(next(iter(one.values())) - next(iter(other.values()))).max() < 1e-4
    text = as_text(document_of_folder(report))
    assert "2 of 3 models have a result, 1 failed" in text
    assert "broken.onnx" in text

    calls.clear()
    (here / "in" / "broken.onnx").unlink()
    report = again()
    assert [each.skipped for each in report.models] == [True, True]
    assert (calls, report.exit_code) == ([], 0)
    (here / "out" / "b.onnx").unlink()
    assert [each.skipped for each in again().models] == [False, True]
    assert [each.skipped for each in again(settings=("goal", "smallest")).models] == [False, False]
    calls.clear()
    (here / "samples" / "000.npz").touch()
    stopped = again(interrupted=lambda _: True)
    assert (calls, len(stopped.models), stopped.left) == (["b.onnx"], 1, 1)


def test_each_model_may_have_samples_of_its_own(tmp_path: Path) -> None:
    models = [PurePath("a.onnx"), PurePath("sub/b.onnx"), PurePath("sub/c.onnx"), PurePath("other/c.onnx")]
    assert samples_of(models, "mine:samples")[1] == "mine:samples for all models"
    for name in ("a", "b", "sub/c"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError, match=r"3 models have samples of their own, and 1 have none \(other/c.onnx\)"):
        samples_of(models, tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "c.npz").touch()
    found, used = samples_of(models, tmp_path)
    assert used == f"{tmp_path} holds some for each model"
    assert [PurePath(str(each)).relative_to(tmp_path).as_posix() for each in found.values()] == [
        "a",
        "b",
        "sub/c",
        "other/c.npz",
    ]
    (tmp_path / "sub" / "b.npy").touch()
    with pytest.raises(InputError, match=r"two sources of samples .* \(sub/b.onnx\)"):
        samples_of(models, tmp_path)


def test_folders_that_would_mix_are_refused(here: Path) -> None:
    again = functools.partial(compress_folder, samples=here / "samples", run=lambda *_, **__: pytest.fail("was run"))
    for source, target, said in (
        ("in", "in", "lies in the other"),
        ("in", "in/out", "lies in the other"),
        ("in/sub", "in", "lies in the other"),
        ("samples", "out", "has no models"),
        ("none", "out", "no such folder"),
        ("in", "in/b.onnx", "is a folder"),
    ):
        with pytest.raises(InputError, match=said):
            again(here / source, here / target)
    assert not (here / "out").exists()
