from __future__ import annotations

import importlib
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxslim.errors import InputError, OutOfMemory, SetupError
from onnxslim.samples import ImageOptions, load_samples
from tests.calibration.nets import Port, port

ONE = [port()]


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_folder_of_npz_in_order_of_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        npz(tmp_path / f"{name}.npz", x=np.full((1, 3), ord(name), np.float32), __label__=ord(name))
    (tmp_path / ".hidden.npz").write_bytes(b"not read")
    (tmp_path / "README.txt").write_text("ignored")
    samples = load_samples(tmp_path, inputs=ONE)
    for _ in range(2):
        assert [sample.id for sample in samples] == ["a.npz", "b.npz", "c.npz"]
        assert [sample.label for sample in samples] == [97, 98, 99]
        assert [sample.feed["x"][0, 0] for sample in samples] == [97, 98, 99]


def test_folder_is_read_lazily(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", x=np.zeros((1, 3), np.float32))
    (tmp_path / "b.npz").write_bytes(b"PK damaged")
    iterator = iter(load_samples(tmp_path, inputs=ONE))
    assert next(iterator).id == "a.npz"
    with pytest.raises(InputError, match=r"b.npz"):
        next(iterator)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("batched", [False, True])
def test_stacked_arrays(tmp_path: Path, suffix: str, batched: bool) -> None:
    data = np.arange(12, dtype=np.float32).reshape((4, 1, 3) if batched else (4, 3))
    path = tmp_path / f"data.{suffix}"
    if suffix == "npy":
        np.save(path, data)
    else:
        np.savez(path, data)
    samples = list(load_samples(path, inputs=ONE))
    assert [sample.id for sample in samples] == ["000000", "000001", "000002", "000003"]
    assert np.array_equal(np.concatenate([sample.feed["x"] for sample in samples]), data.reshape(4, 3))


def test_stacked_with_names_and_labels(tmp_path: Path) -> None:
    path = npz(tmp_path / "d.npz", x=np.ones((2, 3), np.float32), m=np.ones((2, 1)), __label__=np.array([5, 6]))
    samples = list(load_samples(path))
    assert [(sample.label, sorted(sample.feed)) for sample in samples] == [(5, ["m", "x"]), (6, ["m", "x"])]


def refused(match: str, source: Path | str, inputs: Sequence[Port] | None = ONE, **options: Any) -> None:
    with pytest.raises(InputError, match=match):
        list(load_samples(source, inputs=inputs, **options))


class Evil:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("pwned",))


def test_pickles_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "e.npy", np.array([Evil()], object), allow_pickle=True)
    np.savez(tmp_path / "e.npz", allow_pickle=True, x=np.array([Evil()], object))
    for name in ("e.npy", "e.npz"):
        refused("pickled objects.*unpickling can run any code", tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def test_arrays_that_cannot_be_used(tmp_path: Path) -> None:
    ragged = npz(tmp_path / "r.npz", x=np.ones((2, 3)), y=np.ones((3, 3)))
    refused("axis 0 of every array must count the samples.*'x': 2, 'y': 3", ragged)
    refused("'x': a scalar", npz(tmp_path / "s.npz", x=np.float32(1)))
    refused("holds no samples.*axis 0 has size 0", npz(tmp_path / "z.npz", x=np.ones((0, 3))))
    refused("holds no arrays", npz(tmp_path / "l.npz", __label__=np.ones(3)))
    unnamed = tmp_path / "u.npy"
    np.save(unnamed, np.ones((2, 3)))
    refused("an array has no name.*the model has 2 inputs", unnamed, [port(), port("y")])
    refused("an array has no name.*not known here", unnamed, None)
    (tmp_path / "t.npy").write_bytes(unnamed.read_bytes()[:-7])
    refused(r"no valid .npy \(", tmp_path / "t.npy")
    (tmp_path / "t.npz").write_bytes(ragged.read_bytes()[:-30])
    refused("t.npz", tmp_path / "t.npz")
    (tmp_path / "array.npz").write_bytes(unnamed.read_bytes())
    refused("no valid .npz", tmp_path / "array.npz")
    empty = tmp_path / "empty.npy"
    empty.write_bytes(b"")
    refused("empty.npy", empty)


def test_sources_that_do_not_exist_or_hold_nothing(tmp_path: Path) -> None:
    npz(tmp_path / "samples.npz", x=np.ones((1, 3)))
    refused("no such source of samples.*did you mean 'samples.npz'", tmp_path / "sample.npz")
    refused("no such source.*module:function", "nowhere/at/all")
    (tmp_path / "data.csv").write_text("1,2")
    refused("no source of samples.*suffix '.csv'", tmp_path / "data.csv")
    folder = tmp_path / "folder"
    folder.mkdir()
    refused("holds no samples.*it is empty", folder)
    (folder / "a.bin").write_bytes(b"")
    refused("holds only .bin; .*use a folder of .npz", folder)
    npz(folder / "a.npz", x=np.ones((1, 3)))
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    refused("mixes .npz files and images.*'a.npz' and 'a.png'", folder)


# images

PORT = Port("image", np.dtype(np.float32), ("N", 3, 4, 6))
OPTIONS = ImageOptions(mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.5))


def photo(path: Path, width: int = 6, height: int = 4) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def only(source: Path, inputs: Sequence[Port], options: ImageOptions | None = None) -> np.ndarray:
    (sample,) = load_samples(source, inputs=inputs, image=options)
    return sample.feed[inputs[0].name]


def test_pixels_are_scaled_shifted_and_laid_out(tmp_path: Path) -> None:
    pixels = photo(tmp_path / "a.png")
    wanted = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.1, 0.5]
    found = only(tmp_path, [PORT], OPTIONS)
    assert found.dtype == np.float32
    assert np.allclose(found[0], wanted.transpose(2, 0, 1), atol=1e-6)
    last = Port("image", np.dtype(np.float32), (1, 4, 6, 3))
    assert np.allclose(only(tmp_path, [last], OPTIONS)[0], wanted, atol=1e-6)
    bgr = ImageOptions(channels="BGR", mean=(1.0, 2.0, 3.0), scale=1.0)
    assert np.allclose(only(tmp_path, [last], bgr)[0], pixels[..., ::-1] - np.array([1.0, 2.0, 3.0]), atol=1e-4)
    raw = Port("image", np.dtype(np.uint8), (1, 4, 6, 3))
    assert np.array_equal(only(tmp_path, [raw])[0], pixels)
    grey = Port("image", np.dtype(np.float32), (1, 1, 4, 6))
    assert only(tmp_path, [grey]).shape == (1, 1, 4, 6)


def test_resizing(tmp_path: Path) -> None:
    Image.new("RGB", (8, 4), (255, 255, 255)).save(tmp_path / "wide.png")
    free = Port("image", np.dtype(np.float32), ("N", 3, "H", "W"))
    size = (4, 4)
    assert only(tmp_path, [free], ImageOptions(size)).shape == (1, 3, 4, 4)
    fit = only(tmp_path, [free], ImageOptions(size, resize="fit", pad=51))
    assert np.allclose(fit[0, :, :2], 1)
    assert np.allclose(fit[0, :, 2:], 0.2)
    pixels = photo(tmp_path / "wide.png", 8, 4)
    crop = only(tmp_path, [free], ImageOptions(size, resize="crop", scale=1.0))
    assert np.allclose(crop[0].transpose(1, 2, 0), pixels[:, 2:6])


def test_list_of_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "sub/a.png"):
        photo(tmp_path / name)
    (tmp_path / "list.txt").write_text("# comment\nb.png\t7\n\nsub/a.png\tcat\n")
    samples = load_samples(tmp_path / "list.txt", inputs=[PORT])
    assert [(sample.id, sample.label) for sample in samples] == [("b.png", 7), ("sub/a.png", "cat")]
    (tmp_path / "list.txt").write_text("b.png\ngone.png\n")
    refused("the list names 'gone.png', which does not exist .*line 2", tmp_path / "list.txt", [PORT])
    (tmp_path / "list.txt").write_text("b.png\nb.png\n")
    refused("names 'b.png' twice", tmp_path / "list.txt", [PORT])
    (tmp_path / "list.txt").write_text("\n# nothing\n")
    refused("list of images is empty", tmp_path / "list.txt", [PORT])
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    refused("list of images cannot be read", tmp_path / "list.txt", [PORT])
    assert [sample.id for sample in load_samples(tmp_path / "b.png", inputs=[PORT])] == ["b.png"]
    (tmp_path / "list.txt").unlink()
    assert [sample.id for sample in load_samples(tmp_path, inputs=[PORT])] == ["b.png", "sub/a.png"]


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"<html>")
    refused("the image cannot be read .*bad.png", tmp_path, [PORT])
    refused("the model has 2 inputs.*images fill only one", tmp_path, [PORT, port()])
    refused("takes 2 axes, images have 4", tmp_path, [port()])
    refused("not known: the model leaves it open", tmp_path, [Port("i", np.dtype(np.float32), (1, 3, "H", "W"))])
    refused("input 'i' is uint8", tmp_path, [Port("i", np.dtype(np.uint8), (1, 3, 4, 4))], image=OPTIONS)
    refused("the input that takes the images is not known", tmp_path, None)
    refused("no input 'img'.*did you mean 'image'", tmp_path, [PORT], image=ImageOptions(input="img"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "NCWH"}, "unknown image layout 'NCWH'.*did you mean 'NCHW'"),
        ({"channels": "rgb"}, "unknown image channels"),
        ({"resize": "squeeze"}, "unknown image resize"),
        ({"size": (0, 3)}, "no width and height"),
        ({"mean": (1.0, 2.0)}, "image mean has 2 values"),
        ({"std": (0.0,)}, "image std .* cannot be used"),
        ({"pad": 300}, "image pad 300"),
    ],
)
def test_image_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageOptions(**options)


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "a.png")

    def fail(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(SetupError, match=r"images need Pillow.*onnxslim-compiler\[images\]"):
        list(load_samples(tmp_path, inputs=[PORT]))


# functions


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> None:
    (tmp_path / f"{name}.py").write_text("import numpy as np\n" + textwrap.dedent(body))
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()


def test_functions_are_called_anew_for_each_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(
        tmp_path,
        monkeypatch,
        "made_for_reading",
        """
        from onnxslim.samples import Sample
        def mixed():
            x = np.ones((1, 3), np.float32)
            yield Sample("named", {"x": x}, 4)
            yield {"x": x * 2}
            yield x * 3
        """,
    )
    samples = load_samples("made_for_reading:mixed", inputs=ONE)
    for _ in range(2):
        assert [(s.id, s.label, float(s.feed["x"][0, 0])) for s in samples] == [
            ("named", 4, 1.0),
            ("000001", None, 2.0),
            ("000002", None, 3.0),
        ]


def test_functions_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(
        tmp_path,
        monkeypatch,
        "made_to_fail",
        """
        def nothing(): return []
        def number(): return 5
        def text(): yield "x"
        def array(): yield np.ones((1, 3), np.float32)
        def late():
            yield {"x": np.ones((1, 3), np.float32)}
            raise KeyError("lost")
        def large(): raise MemoryError("Unable to allocate 9 TiB")
        value = 3
        """,
    )
    refused("there are no samples", "made_to_fail:nothing")
    refused("failed at sample 0 .*TypeError: 'int' object is not iterable", "made_to_fail:number")
    refused("the function yields a str.*yield onnxslim.samples.Sample", "made_to_fail:text")
    refused("yields bare arrays.*number of inputs is 2", "made_to_fail:array", [port(), port("y")])
    refused("failed at sample 1 .*KeyError: 'lost'", "made_to_fail:late")
    with pytest.raises(OutOfMemory, match=r"out of memory \(made_to_fail:large\): Unable to allocate 9 TiB") as caught:
        list(load_samples("made_to_fail:large", inputs=ONE))
    assert caught.value.exit_code == 3
    refused("'value' is no function", "made_to_fail:value")
    refused("'lat' does not exist in module 'made_to_fail'.*did you mean 'late'", "made_to_fail:lat")
    refused("there is no module 'made_nowhere'", "made_nowhere:f")
    refused("'made_nowhere.py' is a file, not a module", "made_nowhere.py:f")
    module(tmp_path, monkeypatch, "made_broken", "1 / 0")
    refused("failed when it was imported.*ZeroDivisionError", "made_broken:f")
    module(tmp_path, monkeypatch, "made_needy", "import made_absent")
    refused("module 'made_needy' needs 'made_absent', which is not installed", "made_needy:f")
