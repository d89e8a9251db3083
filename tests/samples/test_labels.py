from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxslim.errors import InputError
from onnxslim.samples import Sample, load_samples
from onnxslim.samples.labels import class_labels, read_labels
from tests.calibration.nets import Port, port

IMAGE = [Port("image", np.dtype(np.float32), ("N", 3, 4, 6))]
ONE = [port()]


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 4)).save(root / name)


def labels_of(source: Path, inputs: list[Port], **options: Any) -> dict[str, Any]:
    return {sample.id: sample.label for sample in load_samples(source, inputs=inputs, **options)}


def test_folders_are_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "dog/1.png", "cat/1.png", "cat/2.png")
    assert labels_of(tmp_path, IMAGE) == {"cat/1.png": 0, "cat/2.png": 0, "dog/1.png": 1}
    pictures(tmp_path, "stray.png")
    assert set(labels_of(tmp_path, IMAGE).values()) == {None}


def test_what_folders_are_no_classes() -> None:
    assert class_labels(["10/a", "9/a", "007/b"]) == [10, 9, 7]
    assert class_labels(["b/x/1", "a/y/1"]) == [1, 0]
    assert class_labels(["val/b/1", "val/a/1"]) == [1, 0]
    assert class_labels(["a/1", "a/2"]) is None
    assert class_labels(["a/1", "b/2", "3"]) is None


def test_arrays_in_class_folders(tmp_path: Path) -> None:
    for name in ("n/a.npy", "m/b.npy"):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / name, np.full(3, ord(name[0]), np.float32))
    samples = list(load_samples(tmp_path, inputs=ONE))
    assert [(s.id, s.label, s.feed["x"].shape) for s in samples] == [("m/b.npy", 0, (1, 3)), ("n/a.npy", 1, (1, 3))]
    with pytest.raises(InputError, match=r"an array has no name.*2 inputs"):
        list(load_samples(tmp_path, inputs=[port(), port("y")]))


@pytest.mark.parametrize(
    "text",
    [
        "cat/1.png,3\ndog/1.png,4\n",
        "\ufefffilename;label\ncat/1.png;3\ndog/1.png;4\n\n",
        "label\tsplit\tpath\n3\ta\tcat/1.png\n4\ta\tdog/1.png\n",
        "/data/cat/1.png,9\n/data/dog/1.png,9\ncat/1.png,3\ndog/1.png,4\n",
        "3\n4\n",
        "label\n3\n4\n",
    ],
)
def test_tables(tmp_path: Path, text: str) -> None:
    pictures(tmp_path, "cat/1.png", "dog/1.png")
    table = tmp_path / "labels.csv"
    table.write_text(text, encoding="utf-8")
    assert labels_of(tmp_path, IMAGE, labels=table) == {"cat/1.png": 3, "dog/1.png": 4}


def test_names_of_files_and_places(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("data/a.png,cat\n7,0.5\n")
    labels = read_labels(table)
    assert [labels.of(Sample(name, {}), 0) for name in ("a.png", "sub/a.png", "000007")] == ["cat", "cat", 0.5]
    np.save(tmp_path / "l.npy", np.array([5, 6]))
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    assert labels_of(tmp_path / "x.npy", ONE, labels=tmp_path / "l.npy") == {"000000": 5, "000001": 6}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,1\n", r"sample '000000' has no label \(.*t.csv\): no row names it; .*add a row: 000000,LABEL"),
        ("1\n", "sample '000001' has no label .*the file has 1 labels"),
        ("a.png,1\na.png,2\n", "'a.png' has two labels .*line 2"),
        ("a.png,1,2\n", "a row has 3 columns"),
        ("name,label\na.png\n", "a row is too short .*line 2"),
        ("name,label,target\n", "not plain which columns"),
        ("name,label\n", "the file holds no labels"),
        ("", "the file holds no labels"),
        (None, "the labels cannot be read .*No such file"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        list(load_samples(np.zeros((2, 3), np.float32), inputs=ONE, labels=tmp_path / "t.csv"))


def test_a_pipe_of_labels_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(InputError, match=r"file of labels is not a regular file.*a named pipe"):
        read_labels(tmp_path / "labels.csv")
