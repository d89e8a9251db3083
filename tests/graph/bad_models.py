"""A corpus of models that must be refused: one function a class of fault, each writes its files into a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper, parser

Maker = Callable[[Path], Path | bytes | onnx.ModelProto]
CASES: dict[str, tuple[Maker, str]] = {}
"""Name of the fault: what makes it, and a word of the message that names it."""
CANARY = "canary.bin"
"""A file beside the model's folder that no load may open."""


def case(word: str) -> Callable[[Maker], Maker]:
    def register(make: Maker) -> Maker:
        CASES[make.__name__] = (make, word)
        return make

    return register


def good() -> onnx.ModelProto:
    return parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3] x) => (float[1,3] y) <float[3] w = {1.0, 2.0, 3.0}> { a = Add(x, w)  y = Relu(a) }"""
    )


def text(source: str) -> Maker:
    return lambda folder: parser.parse_model('<ir_version: 10, opset_import: ["" : 17]> ' + source)


def external(location: str, *, offset: str = "0", length: str = "12", dims: tuple[int, ...] = (3,)) -> onnx.ModelProto:
    model = good()
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.dims[:] = dims
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    return model


def written(folder: Path, model: onnx.ModelProto | bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


# --- bytes that are no model ---


@case("empty")
def empty(folder: Path) -> Path:
    return written(folder, b"")


@case("truncated")
def truncated(folder: Path) -> Path:
    return written(folder, good().SerializeToString()[:-40])


@case("truncated")
def truncated_at_a_field(folder: Path) -> Path:
    model = good()
    model.ClearField("opset_import")
    return written(folder, model)


@case("web page")
def html(folder: Path) -> Path:
    return written(folder, b"<!DOCTYPE html><html><body>404 Not Found</body></html>")


@case("git lfs pull")
def lfs_pointer(folder: Path) -> Path:
    return written(folder, b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")


@case("zip archive")
def zip_archive(folder: Path) -> Path:
    return written(folder, b"PK\x03\x04" + bytes(60))


@case("bytes")
def random_bytes(folder: Path) -> bytes:
    return b"\xff\xfe\x00\x01" * 20


@case("folder")
def a_folder(folder: Path) -> Path:
    return folder


@case("No such file")
def missing_file(folder: Path) -> Path:
    return folder / "nothing.onnx"


@case("regular file")
def named_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "model.onnx")
    return folder / "model.onnx"


@case("no graph")
def no_graph(folder: Path) -> onnx.ModelProto:
    return onnx.ModelProto(ir_version=8)


@case("not downloaded")
def a_url(folder: Path) -> Path:  # CVE-2026-28500: nothing is fetched, so nothing is trusted by mistake
    return Path("https://example.com/model.onnx")


# --- versions ---


@case("999")
def opset_too_new(folder: Path) -> onnx.ModelProto:
    model = good()
    model.opset_import[0].version = 999
    return model


@case("IR version")
def ir_too_new(folder: Path) -> onnx.ModelProto:
    model = good()
    model.ir_version = 999
    return model


@case("IR version")
def ir_missing(folder: Path) -> onnx.ModelProto:
    model = good()
    model.ClearField("ir_version")
    return model


@case("not imported")
def domain_not_imported(folder: Path) -> onnx.ModelProto:
    model = good()
    model.graph.node[0].domain = "my.domain"
    return model


@case("two versions")
def conflicting_imports(folder: Path) -> onnx.ModelProto:
    model = good()
    model.opset_import.add(domain="ai.onnx", version=13)
    return model


@case("field 1000")
def unknown_field(folder: Path) -> bytes:
    return bytes(good().SerializeToString()) + b"\xc2\x3e\x01a"


# --- names and structure ---

for _name, _word, _text in (
    ("cycle", "cycle", "g (float x) => (float y) { a = Add(x, b)  b = Relu(a)  y = Relu(b) }"),
    ("self_cycle", "cycle", "g (float x) => (float y) { y = Add(x, y) }"),
    ("undefined_input", "'nowhere'", "g (float x) => (float y) { y = Add(x, nowhere) }"),
    ("undefined_output", "'y'", "g (float x) => (float y) { z = Relu(x) }"),
    ("redefined_value", "defined twice", "g (float x) => (float y) { y = Relu(x)  y = Relu(x) }"),
    ("node_redefines_input", "defined twice", "g (float x) => (float x) { x = Relu(x) }"),
    ("duplicate_inputs", "graph inputs are named", "g (float x, float x) => (float y) { y = Relu(x) }"),
):
    CASES[_name] = (text(_text), _word)


@case("initializers are named")
def duplicate_initializers(folder: Path) -> onnx.ModelProto:
    model = good()
    model.graph.initializer.append(model.graph.initializer[0])
    return model


@case("no name")
def unnamed_initializer(folder: Path) -> onnx.ModelProto:
    model = good()
    model.graph.initializer[0].ClearField("name")
    return model


@case("two attributes")
def duplicate_attributes(folder: Path) -> onnx.ModelProto:
    model = good()
    model.graph.node[0].attribute.extend([helper.make_attribute("k", 1), helper.make_attribute("k", 2)])
    return model


@case("no value")
def attribute_without_type(folder: Path) -> onnx.ModelProto:
    model = good()
    model.graph.node[0].attribute.add(name="k")
    return model


@case("not UTF-8")
def name_not_utf8(folder: Path) -> bytes:
    return bytes(good().SerializeToString()).replace(b"\x01a", b"\x01\xff")


@case("has two values")
def metadata_conflict(folder: Path) -> onnx.ModelProto:
    model = good()
    model.metadata_props.add(key="k", value="1")
    model.metadata_props.add(key="k", value="2")
    return model


@case("computed by nothing")
def subgraph_returns_outer_value(folder: Path) -> onnx.ModelProto:
    branch = helper.make_graph([], "branch", [], [helper.make_tensor_value_info("x", 1, [1])])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph([node], "g", [value("c", 9, []), value("x", 1, [1])], [value("y", 1, [1])])
    )


def nested(levels: int) -> bytes:
    """A model of so many nested If nodes, put together by hand: the Python protobuf cannot."""

    def tag(number: int, payload: bytes) -> bytes:
        size, length = b"", len(payload)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + payload

    graph = tag(2, b"g")
    for _ in range(levels):
        attribute = tag(1, b"then_branch") + tag(6, graph) + b"\xa0\x01\x05"
        graph = tag(2, b"g") + tag(1, tag(1, b"c") + tag(4, b"If") + tag(5, attribute))
    return b"\x08\x08" + tag(7, graph) + tag(8, b"\x10\x11")


@case("nested deeper")
def deep_subgraphs(folder: Path) -> bytes:
    return nested(500)


# --- functions ---

_FUNCTIONS = '<ir_version: 9, opset_import: ["" : 17, "f" : 1]> g (float x) => (float y) { y = f.f0(x) } '


def functions(*bodies: str) -> onnx.ModelProto:
    made = [
        f'<domain: "f", opset_import: ["" : 17, "f" : 1]> f{i} (a) => (b) {{ {body} }}' for i, body in enumerate(bodies)
    ]
    return parser.parse_model(_FUNCTIONS + "\n".join(made))


@case("calls itself")
def recursive_function(folder: Path) -> onnx.ModelProto:
    return functions("b = f.f1(a)", "b = f.f0(a)")


@case("expand to")
def exploding_functions(folder: Path) -> onnx.ModelProto:
    calls = "".join(f"c{i} = f.f{{0}}(a) " for i in range(9)) + "b = f.f{0}(a)"
    return functions(*(calls.replace("{0}", str(level + 1)) for level in range(12)), "b = Relu(a)")


@case("two functions")
def duplicate_functions(folder: Path) -> onnx.ModelProto:
    model = functions("b = Relu(a)")
    model.functions.append(model.functions[0])
    return model


# --- tensors ---


def tensor(**fields: object) -> onnx.ModelProto:
    model = good()
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(model.graph.initializer[0], name)[:] = value
        else:
            setattr(model.graph.initializer[0], name, value)
    return model


CASES["huge_dims"] = (lambda folder: tensor(dims=[1 << 40, 1 << 40]), "overflow")
CASES["large_dims"] = (lambda folder: tensor(dims=[1 << 31]), "needs 2,147,483,648")
CASES["negative_dims"] = (lambda folder: tensor(dims=[-3]), "negative")
CASES["payload_too_short"] = (lambda folder: tensor(dims=[4]), "holds 3")
CASES["payload_missing"] = (lambda folder: tensor(float_data=[]), "holds 0")
CASES["payload_of_another_type"] = (lambda folder: tensor(data_type=7), "float_data")
CASES["payload_twice"] = (lambda folder: tensor(raw_data=bytes(12)), "twice")
CASES["unknown_data_type"] = (lambda folder: tensor(data_type=99), "99")

# --- external data ---


def outside(folder: Path) -> Path:
    path = folder.parent / CANARY
    path.write_bytes(bytes(12))
    return path


@case("outside")
def external_parent(folder: Path) -> Path:  # CVE-2022-25882, CVE-2024-27318
    outside(folder)
    return written(folder, external(f"../{CANARY}"))


@case("outside")
def external_hidden_parent(folder: Path) -> Path:  # CVE-2024-5187, CVE-2025-51480
    outside(folder)
    (folder / "sub").mkdir()
    return written(folder, external(f"sub/../../{CANARY}"))


@case("absolute")
def external_absolute(folder: Path) -> Path:
    return written(folder, external(str(outside(folder))))


@case("symbolic link")
def external_symlink(folder: Path) -> Path:  # CVE-2026-27489, CVE-2026-34447
    (folder / "w.bin").symlink_to(outside(folder))
    return written(folder, external("w.bin"))


@case("symbolic link")
def external_linked_folder(folder: Path) -> Path:
    outside(folder)
    (folder / "sub").symlink_to(folder.parent)
    return written(folder, external(f"sub/{CANARY}"))


@case("hard link")
def external_hardlink(folder: Path) -> Path:  # CVE-2026-34446
    os.link(outside(folder), folder / "w.bin")
    return written(folder, external("w.bin"))


@case("named pipe")
def external_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "w.bin")
    return written(folder, external("w.bin"))


@case("cannot be found")
def external_missing(folder: Path) -> Path:
    return written(folder, external("w.bin"))


@case("a folder")
def external_folder(folder: Path) -> Path:
    (folder / "sub").mkdir()
    return written(folder, external("sub"))


@case("location")
def external_nameless(folder: Path) -> Path:
    return written(folder, external(""))


def beside(folder: Path, model: onnx.ModelProto) -> Path:
    (folder / "w.bin").write_bytes(bytes(12))
    return written(folder, model)


CASES["external_offset"] = (lambda folder: beside(folder, external("w.bin", offset="4")), "outside its file")
CASES["external_negative"] = (lambda folder: beside(folder, external("w.bin", offset="-4")), "outside its file")
CASES["external_length"] = (lambda folder: beside(folder, external("w.bin", length="8")), "needs 12")
CASES["external_number"] = (lambda folder: beside(folder, external("w.bin", offset="x")), "no number")
CASES["external_huge"] = (
    lambda folder: beside(folder, external("w.bin", length="", dims=(1 << 40,))),
    "outside its file",
)
CASES["external_without_folder"] = (lambda folder: external("w.bin").SerializeToString(), "no folder")


@case("device")
def device_configuration_too_early(folder: Path) -> onnx.ModelProto:
    model = good()
    model.configuration.add(name="c", num_devices=1)
    return model


@case("nested more than")
def deep_proto_in_memory(folder: Path) -> onnx.ModelProto:
    model = good()
    graph = model.graph
    for _ in range(60):
        attribute = graph.node.add(op_type="If", output=["o"]).attribute.add(
            name="then_branch", type=onnx.AttributeProto.GRAPH
        )
        graph = attribute.g
    return model


@case("70 dimensions")
def rank_of_an_input(folder: Path) -> onnx.ModelProto:
    model = good()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    for _ in range(70):
        model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)
    return model


@case("70 dimensions")
def rank_of_a_constant(folder: Path) -> onnx.ModelProto:
    model = good()
    model.graph.initializer.append(helper.make_tensor("deep", onnx.TensorProto.FLOAT, [1] * 70, [1.0]))
    return model


@case("was never written")
def data_file_that_is_a_hole(folder: Path) -> Path:
    with (folder / "hole.bin").open("wb") as file:
        file.truncate(256 << 20)
    return written(folder, external("hole.bin", length=str(256 << 20), dims=(64 << 20,)))
