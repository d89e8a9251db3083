from __future__ import annotations

import builtins
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper, parser

from onnxslim.errors import InputError
from onnxslim.graph import load, problems, save, to_proto
from onnxslim.graph.reader import source_of
from tests.graph.bad_models import CANARY, CASES, external, good, nested, outside, written


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that are opened while a test runs."""
    paths: list[str] = []
    real_open, real_os_open = builtins.open, os.open

    def spy(path: Any, *args: Any, **kwargs: Any) -> Any:
        paths.append(str(path))
        return real_open(path, *args, **kwargs)

    def os_spy(path: Any, *args: Any, **kwargs: Any) -> int:
        paths.append(str(path))
        return real_os_open(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", spy)
    monkeypatch.setattr(os, "open", os_spy)
    return paths


@pytest.mark.parametrize("name", CASES)
def test_a_bad_model_gets_one_clear_error(name: str, tmp_path: Path, opened: list[str]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    make, word = CASES[name]
    source = make(folder)
    before = sorted(tmp_path.rglob("*"))
    opened.clear()
    with pytest.raises(InputError) as caught:
        load(source)
    error = caught.value
    assert type(error) is InputError
    assert word in str(error)
    assert error.what
    assert error.where
    assert error.mend
    assert "\n" not in str(error)
    assert len(str(error)) < 900
    assert sorted(tmp_path.rglob("*")) == before
    assert not any(CANARY in path for path in opened)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("external_")])
def test_what_may_not_be_read_is_named_with_its_tensor(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="initializer 'w'"):
        load(CASES[name][0](tmp_path))


@pytest.mark.parametrize("name", ["external_parent", "external_symlink", "external_hardlink", "external_absolute"])
def test_the_trusted_folder_admits_data_by_real_path(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = CASES[name][0](folder)
    if name != "external_hardlink":  # the hard link lies in the model's folder, which is not trusted
        model = load(path, trust_data_dir=tmp_path)
        assert model.graph.initializers["w"].const_value is not None
        assert model.graph.initializers["w"].const_value.numpy().tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="--trust-data-dir"):
        load(path, trust_data_dir=folder if name != "external_hardlink" else None)


def test_a_trusted_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trusted folder"):
        load(good(), trust_data_dir=tmp_path / "nothing")


def test_bytes_with_external_data_load_from_the_trusted_folder(tmp_path: Path) -> None:
    outside(tmp_path / "x")
    model = load(external(CANARY).SerializeToString(), trust_data_dir=tmp_path)
    assert to_proto(model).graph.initializer[0].raw_data == bytes(12)


def test_foreign_keys_of_external_data_are_not_looked_at(tmp_path: Path) -> None:  # CVE-2026-34445
    proto = external("w.bin")
    for key in ("__class__", "info", "basepath", "__dict__"):
        proto.graph.initializer[0].external_data.add(key=key, value="9" * 40)
    (tmp_path / "w.bin").write_bytes(bytes(12))
    assert problems(load(written(tmp_path, proto))) == []


def test_paths_bytes_protos_and_models_load(tmp_path: Path) -> None:
    proto = good()
    before = proto.SerializeToString()
    path = written(tmp_path, proto)
    for source in (path, str(path), before, proto):
        assert to_proto(load(source)).SerializeToString() == to_proto(load(proto)).SerializeToString()
    model = load(proto)
    assert load(model) is model
    model.graph.initializers["w"].name = "other"
    to_proto(model)
    assert proto.SerializeToString() == before


def test_what_is_no_model_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="from int"):
        load(3)  # type: ignore[arg-type]


def test_the_source_is_on_record_and_survives_a_clone(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    path = written(tmp_path, external("w.bin"))
    source = source_of(load(path).clone())
    assert source is not None
    assert source.path == path
    assert source.data_files == (tmp_path / "w.bin",)
    assert source_of(load(good())) is None


def test_nodes_out_of_order_are_sorted() -> None:
    model = load(
        parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> g (float x) => (float y) { y = Neg(a) a = Abs(x) }'
        )
    )
    assert [node.op_type for node in model.graph] == ["Abs", "Neg"]


def test_a_cycle_names_its_nodes() -> None:
    source = "g (float x) => (float y) { [n1] a = Add(x, c) [n2] b = Abs(a) [n3] c = Neg(b) y = Abs(c) }"
    with pytest.raises(InputError) as caught:
        load(parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> ' + source))
    assert {name for name in ("'n1'", "'n2'", "'n3'") if name in caught.value.where} == {"'n1'", "'n2'", "'n3'"}


# --- odd, but valid ---


def value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, 1, shape)


def unknown_domain() -> onnx.ModelProto:
    node = helper.make_node("Mystery", ["x", "", "x"], ["y", "", "z"], domain="com.acme", magic=[1.5], note="n")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 3), helper.make_opsetid("unused.domain", 1)]
    return helper.make_model(
        helper.make_graph([node], "g", [value("x", ["N"])], [value("y", ["N"])]), opset_imports=opsets
    )


def unused_input() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", [2]), value("u", [7])], [value("y", [2])]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def dropout_with_mask() -> onnx.ModelProto:
    return parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y, bool[2] m) { y, m = Dropout(x) }'
    )


def nan_weights() -> onnx.ModelProto:
    model = good()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([np.nan, np.inf, -0.0], np.float32), "w"))
    return model


def sequence_and_optional() -> onnx.ModelProto:
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, ["N"]))
    optional = helper.make_optional_type_proto(sequence)
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["s"]), helper.make_node("Optional", ["s"], ["o"])]
    outputs = [helper.make_value_info("s", sequence), helper.make_value_info("o", optional)]
    return helper.make_model(
        helper.make_graph(nodes, "g", [value("x", ["N"])], outputs), opset_imports=[helper.make_opsetid("", 17)]
    )


def no_nodes() -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "g", [value("x", [2])], [value("x", [2])]))


def shared_subgraph_names() -> onnx.ModelProto:
    return parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (bool c, float[2] x) => (float[2] y) {
        y = If (c) <then_branch = t () => (float[2] o) { o = Abs(x) },
        else_branch = e () => (float[2] o) { o = Neg(x) }> }"""
    )


ODD = [
    unknown_domain,
    unused_input,
    dropout_with_mask,
    nan_weights,
    sequence_and_optional,
    no_nodes,
    shared_subgraph_names,
]


def plain(items: Iterable[object]) -> list[str]:
    """As text, without the empty domains that the parser spells out."""
    return [re.sub(r'\s*domain: ""\n', "\n", str(item)).strip() for item in items]


@pytest.mark.parametrize("make", ODD)
def test_an_odd_but_valid_model_passes_untouched(make: Callable[[], onnx.ModelProto]) -> None:
    proto = make()
    back = to_proto(load(proto))
    for field in ("input", "output", "node", "initializer"):
        assert plain(getattr(proto.graph, field)) == plain(getattr(back.graph, field))
    assert sorted(plain(proto.opset_import)) == sorted(plain(back.opset_import))


def chain(length: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Abs", [f"v{i}" if i else "x"], [f"v{i + 1}" if i < length - 1 else "y"])
        for i in range(length)
    ]
    return helper.make_model(
        helper.make_graph(nodes, "g", [value("x", [2])], [value("y", [2])]), opset_imports=[helper.make_opsetid("", 17)]
    )


def test_a_long_chain_loads_in_either_order() -> None:
    proto = chain(20_000)
    assert len(load(proto).graph) == 20_000
    backwards = onnx.ModelProto()
    backwards.CopyFrom(proto)
    nodes = list(backwards.graph.node)[::-1]
    del backwards.graph.node[:]
    backwards.graph.node.extend(nodes)
    assert [node.outputs[0].name for node in load(backwards).graph][:2] == ["v1", "v2"]


def test_nesting_up_to_the_limit_of_protobuf_is_walked() -> None:
    with pytest.raises(InputError, match="'c'"):  # parsed and walked: the fault named is the undefined condition
        load(nested(30))


@pytest.fixture
def with_data(tmp_path: Path) -> Path:
    (tmp_path / "w.bin").write_bytes(np.arange(3, dtype=np.float32).tobytes())
    return written(tmp_path, external("w.bin"))


def test_external_weights_compute_the_same(with_data: Path, tmp_path: Path) -> None:
    feed = {"x": np.ones((1, 3), np.float32)}
    expected = ort.InferenceSession(with_data).run(None, feed)[0]
    other = tmp_path / "other" / "m.onnx"
    other.parent.mkdir()
    save(load(with_data), other)
    assert ort.InferenceSession(other).run(None, feed)[0].tolist() == expected.tolist() == [[1, 2, 3]]


def test_weights_are_mapped_not_read(with_data: Path) -> None:
    tensor = load(with_data).graph.initializers["w"].const_value
    assert isinstance(tensor, ir.ExternalTensor)
    assert tensor.raw is None
