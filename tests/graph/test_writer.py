from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from onnxslim.errors import InputError, OnnxSlimError, SetupError
from onnxslim.graph import load, same_file, save, to_bytes, to_proto
from onnxslim.graph.atomic import atomic_write

SIZE = 400


def model_of(fill: float, *, second: float | None = None) -> onnx.ModelProto:
    """y = x + w + v + s, with two large weights and a small one."""
    value = helper.make_tensor_value_info
    weights = {"w": np.full(SIZE, fill), "v": np.full(SIZE, second if second is not None else 0.0), "s": np.zeros(1)}
    nodes = [
        helper.make_node("Add", [left, right], [out])
        for left, right, out in (("x", "w", "a"), ("a", "v", "b"), ("b", "s", "y"))
    ]
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [value("x", 1, [SIZE])], [value("y", 1, [SIZE])], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def result(path: Path) -> float:
    outputs = ort.InferenceSession(path).run(None, {"x": np.zeros(SIZE, np.float32)})[0]
    assert outputs.min() == outputs.max()
    return float(outputs[0])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def data_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.data"))


def test_one_file_by_default(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(2)), path)
    assert names(tmp_path) == ["m.onnx"]
    assert result(path) == 2
    assert path.read_bytes() == to_bytes(load(path))


def test_external_data_lies_beside_and_small_tensors_inside(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(2, second=3)), path, external_data=True)
    (data,) = data_files(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    places = {tensor.name: tensor.data_location for tensor in proto.graph.initializer}
    assert places == {"w": 1, "v": 1, "s": 0}
    assert {
        entry.value for tensor in proto.graph.initializer for entry in tensor.external_data if entry.key == "location"
    } == {data.name}
    assert result(path) == 5
    onnx.checker.check_model(path)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save(load(model_of(2)), tmp_path / folder / "m.onnx", external_data=True)
    save(load(model_of(2)), tmp_path / "b" / "m.onnx", external_data=True)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_tensor_under_two_names_is_written_once(tmp_path: Path) -> None:
    model = load(model_of(2, second=2))
    model.graph.initializers["v"].const_value = model.graph.initializers["w"].const_value
    save(model, tmp_path / "m.onnx", external_data=True)
    assert data_files(tmp_path)[0].stat().st_size == SIZE * 4
    assert result(tmp_path / "m.onnx") == 4


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_saving_over_the_model_it_came_from(tmp_path: Path, before: bool, after: bool) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(2, second=3)), path, external_data=before)
    model = load(path)
    model.graph.initializers["v"].const_value = ir.tensor(np.full(SIZE, 4, np.float32))
    save(model, path, external_data=after)
    assert len(data_files(tmp_path)) == after  # the old data file is gone, the new one there
    assert result(path) == 6
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    assert weight.numpy()[0] == 2  # the model in memory lives on
    save(model, path, external_data=not after)
    assert len(data_files(tmp_path)) == (not after)
    assert result(path) == 6


def test_the_replaced_models_data_is_removed_or_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    stray = tmp_path / "m.onnx.0123456789abcdef.data"  # bears our kind of name, but the model does not refer to it
    stray.write_bytes(b"x")
    for location, removed in (("m.onnx.data", True), ("weights.bin", False)):
        onnx.save_model(model_of(2), path, save_as_external_data=True, location=location, size_threshold=0)
        saved = save(load(path), path)
        assert saved.files == (path,)
        assert (saved.removed, saved.left) == (
            ((tmp_path / location,), ()) if removed else ((), (tmp_path / location,))
        )
        assert (tmp_path / location).exists() is not removed
        assert stray.exists()


def test_data_is_called_as_the_model_unless_a_model_refers_to_that_name(tmp_path: Path) -> None:
    path, data = tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    assert save(load(model_of(2)), path, external_data=True).files == (path, data)
    assert save(load(model_of(2)), path, external_data=True).files == (path, data)  # the same content stays
    for fill in (3, 4):  # never back to a name that whoever read an earlier model may still look for
        saved = save(load(model_of(fill)), path, external_data=True)
        assert saved.files[1].name.startswith("m.onnx.")
        assert not data.exists()
        assert result(path) == fill
    other = tmp_path / "n.onnx"  # which has lost its data, and must not find others' in its place
    onnx.save_model(model_of(2), other, save_as_external_data=True, location="p.onnx.data", size_threshold=0)
    (tmp_path / "p.onnx.data").unlink()
    assert save(load(model_of(2)), tmp_path / "p.onnx", external_data=True).files[1].name != "p.onnx.data"


@pytest.mark.parametrize("name", ["copy.onnx", "m.onnx.bak"])
def test_data_that_a_copied_model_refers_to_stays(name: str, tmp_path: Path) -> None:
    path, copy = tmp_path / "m.onnx", tmp_path / name
    save(load(model_of(2)), path, external_data=True)
    copy.write_bytes(path.read_bytes())
    save(load(model_of(3)), path, external_data=True)
    assert result(copy) == 2
    assert result(path) == 3


def test_a_taken_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(2)), path, external_data=True)
    (data,) = data_files(tmp_path)
    path.unlink()
    data.write_bytes(b"another's")
    save(load(model_of(2)), path, external_data=True)
    assert data.read_bytes() == b"another's"
    assert result(path) == 2


def test_large_models_go_external_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.graph.writer.EXTERNAL_ABOVE", SIZE)
    save(load(model_of(2)), tmp_path / "m.onnx")
    assert len(data_files(tmp_path)) == 1
    monkeypatch.setattr("onnxslim.graph.encoding.MAX_BYTES", 100)
    with pytest.raises(InputError, match="external_data=True"):
        save(load(model_of(2)), tmp_path / "n.onnx", external_data=False)
    with pytest.raises(InputError, match="2 GiB"):
        to_bytes(load(model_of(2)))
    assert len(names(tmp_path)) == 2


def test_external_weights_of_attributes_and_subgraphs_are_written(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["x", "iw"], ["o"])],
        "b",
        [],
        [helper.make_tensor_value_info("o", 1, [SIZE])],
        [numpy_helper.from_array(np.full(SIZE, 5, np.float32), "iw")],
    )
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    value = helper.make_tensor_value_info
    graph = helper.make_graph([constant, node], "g", [value("x", 1, [SIZE])], [value("y", 1, [SIZE])])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(load(proto), tmp_path / "m.onnx", external_data=True)
    assert result(tmp_path / "m.onnx") == 5
    attribute = load(proto)
    tensor = numpy_helper.from_array(np.full(SIZE, 5, np.float32)).raw_data
    (tmp_path / "a.bin").write_bytes(tensor)
    external = ir.ExternalTensor(
        "a.bin", 0, 4 * SIZE, ir.DataType.FLOAT, shape=ir.Shape([SIZE]), name="", base_dir=tmp_path
    )
    attribute.graph.node(0).attributes.add(ir.AttrTensor("note", external))
    assert to_proto(attribute).graph.node[0].attribute[1].t.raw_data == tensor


@pytest.mark.parametrize("data_type", ["INT4", "UINT4", "BFLOAT16", "FLOAT8E4M3FN", "BOOL", "COMPLEX64"])
def test_every_kind_of_weight_goes_out_and_comes_in(tmp_path: Path, data_type: str) -> None:
    dtype = ir.DataType[data_type]
    array = (np.arange(5001) % 2).astype(dtype.numpy())
    model = load(model_of(1))
    model.graph.register_initializer(ir.val("k", const_value=ir.Tensor(array, dtype=dtype, name="k")))
    model.ir_version = 10
    path = tmp_path / "m.onnx"
    for _ in range(2):
        save(model, path, external_data=True)
        model = load(path)
        tensor = model.graph.initializers["k"].const_value
        assert isinstance(tensor, ir.ExternalTensor)
        assert tensor.dtype == dtype
        assert tensor.numpy().tobytes() == array.tobytes()


# --- where the output goes ---


def test_a_linked_output_is_written_through(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "m.onnx", tmp_path / "link.onnx"
    real.parent.mkdir()
    link.symlink_to(real)
    save(load(model_of(2)), link)
    assert link.is_symlink()
    assert result(real) == result(link) == 2
    with pytest.raises(InputError, match="through a link"):  # onnxruntime would not find it, nor would load
        save(load(model_of(3)), link, external_data=True)
    assert names(real.parent) == ["m.onnx"]
    assert result(link) == 2


def test_permissions_of_the_output_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(2)), path)
    path.chmod(0o640)
    save(load(model_of(3)), path, external_data=True)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)} == {0o640}


def test_same_file(tmp_path: Path) -> None:
    first, link, hard = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    first.write_bytes(b"x")
    link.symlink_to(first)
    os.link(first, hard)
    assert same_file(first, link)
    assert same_file(first, hard)
    assert same_file(tmp_path / "new", tmp_path / "." / "new")
    assert not same_file(first, tmp_path / "new")


@pytest.mark.parametrize("external_data", [False, True])
@pytest.mark.parametrize("place", ["missing/m.onnx", "folder", "folder/", "pipe", "n" * 300, "nul\0"])
def test_an_impossible_output_is_one_clear_error(tmp_path: Path, place: str, external_data: bool) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    with pytest.raises(InputError) as caught:
        save(load(model_of(2)), f"{tmp_path}/{place}", external_data=external_data)
    assert caught.value.mend
    assert str(tmp_path) in caught.value.where
    assert names(tmp_path) == before


class Disk:
    """Lets a system call fail from the n-th time on."""

    def __init__(self, function: Any, code: int, after: int) -> None:
        self.function, self.code, self.left = function, code, after

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.code, os.strerror(self.code))
        return self.function(*args, **kwargs)


def failure_of(work: Callable[[], object]) -> OnnxSlimError | None:
    try:
        work()
    except OnnxSlimError as error:
        return error
    return None


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("call", ["open", "fsync", "replace", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_whatever_fails_the_old_model_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, after: int
) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(2)), path, external_data=True)
    model = load(model_of(3))
    before = names(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, Disk(getattr(os, call), code, after))
        error = failure_of(lambda: save(model, path, external_data=True))
    if error is not None:
        assert isinstance(error, SetupError if code in (errno.ENOSPC, errno.EIO) else InputError)
        assert error.mend
    assert not [name for name in names(tmp_path) if name.endswith(".tmp")]
    assert result(path) in ((2, 3) if error else (3,))
    if result(path) == 2:
        assert names(tmp_path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_device_is_named() -> None:
    with pytest.raises(InputError, match="no regular file"):
        save(load(model_of(2)), "/dev/full")


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(2)), path, external_data=True)
    before = names(tmp_path)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(load(model_of(3)), path, external_data=True)
    assert names(tmp_path) == before
    assert result(path) == 2


def test_what_a_killed_writer_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(2)), path, external_data=True)
    for name in (".m.onnx.0011223344556677.tmp", "m.onnx.00112233445566ff.data"):
        (tmp_path / name).write_bytes(b"half")
    save(load(path), path, external_data=True)
    save(load(model_of(3)), path, external_data=True)
    assert result(path) == 3


def test_what_killed_writers_left_is_removed_unless_it_is_young_or_held(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    stale, young, held = (tmp_path / f".m.onnx.{digit * 16}.tmp" for digit in "012")
    other = tmp_path / ".x.tmp"
    for file in (stale, young, held, other):
        file.write_bytes(b"half")
        if file is not young:
            os.utime(file, (0, 0))
    with held.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        save(load(model_of(2)), path)
    assert names(tmp_path) == sorted(file.name for file in (young, held, other, path))


def test_concurrent_writers_leave_one_whole_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    errors: list[BaseException] = []

    def write(fill: int) -> None:
        try:
            for turn in range(4):
                save(load(model_of(fill)), path, external_data=bool((turn + fill) % 2))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(fill,)) for fill in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert result(path) in (1, 2, 3, 4)
    assert len(names(tmp_path)) <= 2


def test_processes_wait_for_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from onnxslim.graph import load, save; from tests.graph.test_writer import model_of\n"
        "for _ in range(3): save(load(model_of(int(sys.argv[1]))), sys.argv[2], external_data=True)"
    )
    path = tmp_path / "m.onnx"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(fill), str(path)], cwd=Path(__file__).parents[2])
        for fill in (1, 2)
    ]
    assert [process.wait(60) for process in started] == [0, 0]
    assert result(path) in (1, 2)
    assert len(names(tmp_path)) == 2


def test_atomic_write_takes_pieces(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    atomic_write(path, b"one")
    atomic_write(path, iter([b"t", b"wo"]))
    assert path.read_bytes() == b"two"

    def failing() -> Any:
        yield b"half"
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        atomic_write(path, failing())
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["report.html"]
