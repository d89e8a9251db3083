"""``sparsify``, ``decode`` and ``inspect --weights`` as they are typed, and files that must not be believed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxslim.cli import main
from onnxslim.execution import open_session, optimized_graph
from tests.commands.test_verbs import Output, run_json, run_json_error
from tests.documents import DIGITS, shorten_latency, write_digit_samples
from tests.passes.sparse.nets import digits

ENCODINGS = ("auto", "standard", "strict", "folded")
IMAGE = {"image": np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(DIGITS, tmp_path / "model.onnx")
    onnx.save(digits(0.9), str(tmp_path / "sparse.onnx"))
    write_digit_samples(tmp_path / "samples", 16)
    monkeypatch.chdir(tmp_path)
    shorten_latency(monkeypatch)
    return tmp_path


def logits(path: str) -> bytes:
    return b"".join(np.asarray(array).tobytes() for array in open_session(path).run(IMAGE).values())


def weights(path: str) -> dict[str, bytes]:
    held = [each for each in onnx.load(path).graph.initializer if len(each.dims) > 1]
    return {each.name: numpy_helper.to_array(each).tobytes() for each in held}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_sparse_is_stored_smaller_and_comes_back(here: Path, capsys: Output, encoding: str) -> None:
    assert main(["slim", "sparse.onnx", "-o", "slim.onnx"]) == 0
    capsys.readouterr()
    report = run_json(capsys, "sparsify", "sparse.onnx", "-o", "out.onnx", "--encoding", encoding)
    assert (report["command"], report["decision"], report["reason"]) == ("sparsify", "sparsified", "")
    assert report["parity"]["passed"] is True
    size = (here / "out.onnx").stat().st_size
    assert report["output"]["bytes"] == size < report["input"]["bytes"] / 4
    onnx.checker.check_model("out.onnx", full_check=encoding == "strict")
    (step,) = (step for step in report["steps"] if step["name"] == "encode")
    assert step["options"] == {"encoding": encoding}
    told = {each["site"]: each["detail"] for each in step["result"]["actions"]}
    assert all(
        re.match(r"[\w+]+: [\d,]+ -> [\d,]+ bytes, \d+% zeros, [\d,]+ by entropy$", each) for each in told.values()
    )
    stored = {each["name"]: each["stored"] for each in report["output"]["tensors"]}
    assert told.keys() <= stored.keys()
    wanted = {"standard": {"sparse"}, "strict": {"sparse"}, "folded": {"packed"}, "auto": {"packed", "sparse"}}[
        encoding
    ]
    assert {stored[name] for name in told} <= wanted
    assert logits("out.onnx") == logits("slim.onnx")
    assert "onnxslim.encoding" in {each.key for each in onnx.load("out.onnx").metadata_props}

    report = run_json(capsys, "decode", "out.onnx", "-o", "back.onnx")
    assert (report["command"], report["decision"]) == ("decode", "decoded")
    assert report["output"]["bytes"] == (here / "back.onnx").stat().st_size > size
    assert {each["site"] for each in report["steps"][0]["result"]["actions"]} == told.keys()
    back = onnx.load("back.onnx")
    assert not back.graph.sparse_initializer
    assert "onnxslim.encoding" not in {each.key for each in back.metadata_props}
    assert weights("back.onnx") == weights("slim.onnx")
    assert logits("back.onnx") == logits("slim.onnx")


def test_zeros_and_few_values_in_one_go(here: Path, capsys: Output) -> None:
    report = run_json(
        capsys, "sparsify", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--no-bench", "--sparsity", "0.6",
        "--values", "int8", "--allocation", "uniform", "--by", "activation", "--metric", "agreement", "--min-sqnr", "0",
    )  # fmt: skip
    assert report["decision"] == "sparsified"
    assert [step["name"] for step in report["steps"]] == ["slim", "sparsify", "encode"]
    options = report["steps"][1]["options"]
    assert (options["sparsity"], options["values"], options["by"]) == (0.6, "int8", "activation")
    details = [each["detail"] for each in report["steps"][1]["result"]["actions"]]
    assert details
    assert all(re.fullmatch(r"6\d% zeros, int8", each) for each in details)
    assert report["scores"]["input"] == 1.0
    assert report["parity"]["fidelity"][0]["sqnr_db"] > 5
    assert report["output"]["bytes"] == (here / "out.onnx").stat().st_size < DIGITS.stat().st_size / 5
    assert not {"Cast", "Mul", "DequantizeLinear"} & {each.op_type for each in optimized_graph("out.onnx").graph.node}
    back = run_json(capsys, "decode", "out.onnx", "-o", "back.onnx")
    assert back["decision"] == "decoded"
    assert not {"Cast", "Mul"} & back["output"]["ops"].keys()
    assert logits("back.onnx") == logits("out.onnx")


def test_a_sparse_model_that_is_too_far_off_keeps_its_weights(here: Path, capsys: Output) -> None:
    report = run_json(
        capsys, "sparsify", "sparse.onnx", "-o", "out.onnx", "--samples", "samples", "--no-bench", "--sparsity", "0.97",
        "--by", "magnitude", "--min-sqnr", "80",
    )  # fmt: skip
    assert report["decision"] == "kept all weights"
    assert "80 dB" in report["reason"]
    assert report["attempt"]["steps"]
    assert report["output"]["bytes"] < report["input"]["bytes"] / 4  # what was sparse already is stored so
    assert main(["slim", "sparse.onnx", "-o", "slim.onnx", "--quiet"]) == 0
    assert logits("out.onnx") == logits("slim.onnx")


def test_what_a_person_is_told(here: Path, capsys: Output) -> None:
    assert main(["sparsify", "sparse.onnx", "-o", "out.onnx", "--explain"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("sparsify: sparsified: 0.1")
    for each in ("zeros", "entropy", "packed", "standard", "folded", "encode"):
        assert each in said
    assert main(["decode", "out.onnx", "-o", "back.onnx"]) == 0
    assert capsys.readouterr().out.startswith("decode: decoded: ")
    assert main(["decode", "model.onnx", "-o", "same.onnx"]) == 0
    assert capsys.readouterr().out.startswith("decode: unchanged")
    assert (here / "same.onnx").read_bytes() == DIGITS.read_bytes()


def test_a_dense_model_does_not_grow(here: Path, capsys: Output) -> None:
    for encoding in ENCODINGS:
        report = run_json(capsys, "sparsify", "model.onnx", "-o", "out.onnx", "--encoding", encoding)
        assert report["output"]["bytes"] <= DIGITS.stat().st_size
        assert {each["stored"] for each in report["output"]["tensors"]} == {"dense"}


def test_inspect_shows_the_weights(here: Path, capsys: Output) -> None:
    assert (
        "tensors" not in run_json(capsys, "inspect", "sparse.onnx")["model"]
        or not run_json(capsys, "inspect", "sparse.onnx")["model"]["tensors"]
    )
    tensors = run_json(capsys, "inspect", "sparse.onnx", "--weights")["model"]["tensors"]
    arrays = {each.name: numpy_helper.to_array(each) for each in onnx.load("sparse.onnx").graph.initializer}
    assert {each["name"] for each in tensors} == {name for name, array in arrays.items() if array.nbytes >= 256}
    for each in tensors:
        array = arrays[each["name"]]
        assert set(each) == {
            "name", "dtype", "shape", "elements", "zeros", "distinct", "mean_abs", "neurons", "stored", "bytes",
            "packing", "bound",
        }  # fmt: skip
        assert each["shape"] == list(array.shape)
        assert each["elements"] == array.size
        assert each["zeros"] == int((array.view(np.uint32) == 0).sum())
        assert each["mean_abs"] == pytest.approx(float(np.abs(array).mean()), rel=1e-5)
        assert set(each["bytes"]) == {"dense", "standard", "folded"}
        assert each["stored"] == "dense"
        if array.ndim == 4:
            assert each["neurons"] == pytest.approx(np.abs(array).mean(axis=(1, 2, 3)), rel=1e-3)
        if array.size > 10_000:
            size = each["bytes"]
            assert each["bound"] < size["folded"] < size["standard"] < size["dense"]
    assert main(["inspect", "sparse.onnx", "--weights"]) == 0
    said = capsys.readouterr().out
    assert "mean |w|" in said
    assert re.search(r"^all +[\d,]+ +\d\d%", said, re.MULTILINE)
    assert main(["inspect", "sparse.onnx", "--weights", "--text"]) == 2
    assert "--text and --weights exclude each other" in capsys.readouterr().err


def test_inspect_tells_numbers_that_json_does_not_know(here: Path, capsys: Output) -> None:
    proto = onnx.load("model.onnx")
    tensor = next(each for each in proto.graph.initializer if len(each.dims) == 4)
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0, 0, 0], array[1] = np.nan, 3e38
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(proto, "odd.onnx")
    tensors = run_json(capsys, "inspect", "odd.onnx", "--weights")["model"]["tensors"]
    (found,) = (each for each in tensors if each["name"] == tensor.name)
    assert not isinstance(found["mean_abs"], float)
    assert found["neurons"][1] == pytest.approx(3e38)
    assert main(["inspect", "odd.onnx", "--weights"]) == 0
    assert "nan" in capsys.readouterr().out


REFUSED = {
    "sparsity": ["sparsify", "model.onnx", "--sparsity", "1"],
    "negative": ["sparsify", "model.onnx", "--sparsity", "-0.5"],
    "pattern": ["sparsify", "model.onnx", "--pattern", "4:2"],
    "pattern and share": ["sparsify", "model.onnx", "--pattern", "2:4", "--sparsity", "0.8"],
    "encoding": ["sparsify", "model.onnx", "--encoding", "dens"],
    "values": ["sparsify", "model.onnx", "--values", "int3"],
    "entries": ["sparsify", "model.onnx", "--values", "codebook", "--entries", "1000"],
    "protect": ["sparsify", "model.onnx", "--sparsity", "0.5", "--protect", "nothing_of_the_kind"],
    "metric": ["sparsify", "model.onnx", "--metric", "agreement"],
    "drop": ["sparsify", "model.onnx", "--samples", "samples", "--sparsity", "0.5", "--max-drop", "0.1"],
    "samples": ["sparsify", "model.onnx", "--sparsity", "0.5", "--samples", "nowhere"],
    "model": ["sparsify", "nowhere.onnx"],
    "no model": ["decode", "broken.onnx"],
    "decode": ["decode", "nowhere.onnx"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_met_is_refused_and_nothing_is_written(here: Path, capsys: Output, name: str) -> None:
    (here / "broken.onnx").write_bytes(DIGITS.read_bytes()[:1000])
    before = sorted(os.listdir(here))
    error = run_json_error(capsys, *REFUSED[name], "-o", "out.onnx")
    assert error["error"]
    assert sorted(os.listdir(here)) == before


def corrupt(edit: Callable[[onnx.SparseTensorProto], object], path: str) -> None:
    """A model whose sparse weight, [4, 6], with values at 1, 11 and 18, is edited."""
    values = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "weight")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1, 11, 18])), [4, 6])
    edit(sparse)
    inputs, outputs = (helper.make_tensor_value_info(name, 1, ["N", size]) for name, size in (("x", 4), ("y", 6)))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weight"], ["y"])], "g", [inputs], [outputs])
    graph.sparse_initializer.append(sparse)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    Path(path).write_bytes(proto.SerializeToString())


def indices(*places: int) -> Callable[[onnx.SparseTensorProto], object]:
    return lambda sparse: sparse.indices.CopyFrom(numpy_helper.from_array(np.array(places)))


def dims(*sizes: int) -> Callable[[onnx.SparseTensorProto], object]:
    def edit(sparse: onnx.SparseTensorProto) -> None:
        del sparse.dims[:]
        sparse.dims.extend(sizes)

    return edit


CORRUPT = {
    "unsorted": (indices(1, 18, 11), "index 2 of a sparse tensor is not in ascending order: [11]"),
    "duplicate": (indices(1, 1, 18), "index 1 of a sparse tensor is a duplicate: [1]"),
    "out of range": (indices(1, 11, 24), "index 2 of a sparse tensor is out of range: [24]"),
    "negative": (indices(-1, 11, 18), "index 0 of a sparse tensor is out of range: [-1]"),
    "dims too small": (dims(3, 6), "index 2 of a sparse tensor is out of range: [18]"),
    "too few": (indices(1, 11), "the indices of a sparse tensor have shape [2]"),
}


@pytest.mark.parametrize("verb", ["sparsify", "decode", "inspect"])
@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_sparse_tensor_is_refused_with_its_name_and_place(
    here: Path, capsys: Output, name: str, verb: str
) -> None:
    edit, message = CORRUPT[name]
    corrupt(edit, "bad.onnx")
    before = sorted(os.listdir(here))
    arguments = ["bad.onnx", "--weights"] if verb == "inspect" else ["bad.onnx", "-o", "out.onnx"]
    error = run_json_error(capsys, verb, *arguments)
    assert error["error"] == message
    assert "weight" in error["where"]
    assert error["mend"]
    assert sorted(os.listdir(here)) == before


def test_the_uncorrupted_one_is_taken(here: Path, capsys: Output) -> None:
    corrupt(lambda sparse: None, "good.onnx")
    report = run_json(capsys, "decode", "good.onnx", "-o", "out.onnx")
    assert report["decision"] == "decoded"
    wanted = np.zeros((4, 6), np.float32)
    wanted.reshape(-1)[[1, 11, 18]] = 1, 2, 3
    (tensor,) = onnx.load("out.onnx").graph.initializer
    assert numpy_helper.to_array(tensor).tolist() == wanted.tolist()
    assert report["output"]["bytes"] == (here / "out.onnx").stat().st_size
