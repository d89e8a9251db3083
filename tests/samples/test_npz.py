"""Archives are judged by what they declare; what would wait or fill the memory is refused by name."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.calibration import Statistics
from onnxslim.errors import InputError
from onnxslim.pipeline import load_recipe
from onnxslim.samples import load_samples
from onnxslim.samples.arrays import map_npz, read_npz
from tests.calibration.nets import port

ONE = [port()]
GOOD = np.ones((1, 3), np.float32)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def head(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (len(text) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"x": head((1 << 20, 1 << 10))}, "declared shape contradicts its size"),
        ({"x": head((1, 3)) + bytes(1 << 20)}, "declared shape contradicts its size"),
        ({"x": npy(np.zeros((1, 3), np.float32)), "spare": npy(np.zeros(100_000))}, "'spare', which is no input"),
        (
            {"x": npy(np.zeros((100_000, 3), np.float32))},
            r"unpacks to 1,200,000 bytes.*'x' alone is float32\[100000, 3\]",
        ),
        ({"x": npy(GOOD), "__label__": npy(np.zeros(1_000_000))}, "'__label__' alone is float64"),
        ({f"k{i}": b"" for i in range(20)}, "holds 20 arrays"),
    ],
)
def test_nothing_is_unpacked_before_it_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], match: str
) -> None:
    monkeypatch.setattr("onnxslim.samples.npz.MAX_BYTES", 1 << 20)
    monkeypatch.setattr("onnxslim.samples.npz.MAX_MEMBERS", 10)
    monkeypatch.setattr("onnxslim.samples.npz.Archive.read", None)
    archive(tmp_path / "0.npz", **members)
    with pytest.raises(InputError, match=match):
        list(load_samples(tmp_path, inputs=ONE))


def test_what_is_not_compressed_is_mapped_whatever_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.samples.npz.MAX_BYTES", 1000)
    arrays: dict[str, Any] = {
        "x": np.arange(900, dtype=np.float32).reshape(300, 3),
        "t": np.asfortranarray(np.eye(3)),
        "e": np.zeros(0),
    }
    np.savez(tmp_path / "s.npz", **arrays)
    mapped = map_npz(tmp_path / "s.npz")
    assert isinstance(mapped["x"], np.memmap)
    assert all(np.array_equal(mapped[name], array) for name, array in arrays.items())
    np.savez_compressed(tmp_path / "c.npz", **arrays)
    with pytest.raises(InputError, match="which does not compress"):
        map_npz(tmp_path / "c.npz")


def test_a_read_archive_equals_what_was_saved(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"x": np.arange(6).reshape(2, 3), "scalar": np.float64(2), "names": np.array(["a", "bc"])}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    assert all(np.array_equal(found, arrays[name]) for name, found in read_npz(tmp_path / "a.npz").items())


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    def odd(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
        return path

    for source in (odd("folder/0.npz").parent, odd("a.npz"), odd("b.npy"), odd("c.txt"), odd("images/d.png").parent):
        with pytest.raises(InputError, match=f"not a regular file.*a {'named pipe' if kind == 'pipe' else 'device'}"):
            list(load_samples(source, inputs=[port(shape=("N", 3, 4, 4))]))
    with pytest.raises(InputError, match="the recipe is not a regular file"):
        load_recipe(odd("recipe.toml"))
    with pytest.raises(InputError, match="the file of statistics is not a regular file"):
        Statistics.load(odd("stats"))


def test_a_file_that_is_mostly_hole_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "holes.npy"
    with path.open("wb") as file:
        file.write(head((1 << 19, 3)))
        file.truncate(file.tell() + (6 << 20))
    if path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("the file system knows no holes")
    monkeypatch.setattr("onnxslim.graph.regular.HOLE_FROM", 1 << 20)
    with pytest.raises(InputError, match="was never written"):
        load_samples(path, inputs=ONE)
    path.write_bytes(head((1 << 19, 3)) + bytes(6 << 20))  # zeros are numbers
    assert len(list(zip(range(3), load_samples(path, inputs=ONE), strict=False))) == 3
    monkeypatch.setattr("onnxslim.samples.arrays.MAX_SAMPLES", 1000)
    with pytest.raises(InputError, match="524,288 samples"):
        load_samples(path, inputs=ONE)
