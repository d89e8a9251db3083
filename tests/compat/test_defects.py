"""What OnnxSlim 0.1.98 was seen to do wrong on small models, as calls that must go right here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import onnxslim
from onnxslim.compat.slim import slim_result
from tests.compat.models import large, net, ops

NODES = 'ir_version: 8, opset_import: ["" : 17]'


def slim(text: str) -> onnx.ModelProto:
    slimmed = onnxslim.slim(net(text))
    assert slimmed is not None
    assert slimmed.ByteSize() <= net(text).ByteSize()
    return slimmed


def test_one_custom_operator_does_not_stop_all_folding() -> None:
    slimmed = slim("""<ir_version: 8, opset_import: ["" : 17, "vendor" : 1]>
        g (float[3] x) => (float[3] y) <float[3] a = {1, 2, 3}, float[3] b = {4, 5, 6}> {
            unknown = vendor.Mystery (a)
            c = Mul (a, b)
            s = Add (x, c)
            y = Sub (s, unknown)
        }""")
    assert sorted(ops(slimmed)) == ["Add", "Mystery", "Sub"]


@pytest.mark.parametrize(
    "maker",
    [
        "big = ConstantOfShape <value = float[1] {2}> (size)",
        "big = Expand (one, size)",
        "big = Tile (small, size)",
    ],
)
def test_giant_constants_are_not_written_out(maker: str) -> None:
    slimmed = slim(f"""<{NODES}>
        g (float["n", 1] x) => (float["n", "m"] y)
        <int64[2] size = {{1, 4000000}}, float one = {{2}}, float[1, 1] small = {{2}}> {{
            {maker}
            y = Add (x, big)
        }}""")
    assert slimmed.ByteSize() < 1000


def test_documentation_and_metadata_stay() -> None:
    model = net()
    model.doc_string, model.domain, model.model_version = "a model", "my.domain", 7
    model.producer_name, model.producer_version = "maker", "1.2"
    model.metadata_props.add(key="stride", value="32")
    graph = model.graph
    graph.doc_string = "a graph"
    graph.input[0].doc_string, graph.output[0].doc_string = "an input", "an output"
    graph.node[1].metadata_props.add(key="layer", value="first")
    note = graph.quantization_annotation.add(tensor_name="x")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="b")
    slimmed = onnxslim.slim(model)
    assert slimmed is not None
    assert len(slimmed.graph.node) < len(graph.node)
    for name in ("doc_string", "domain", "model_version", "producer_name", "producer_version", "ir_version"):
        assert getattr(slimmed, name) == getattr(model, name), name
    assert slimmed.metadata_props == model.metadata_props
    assert slimmed.graph.doc_string == "a graph"
    assert slimmed.graph.input == graph.input
    assert slimmed.graph.output == graph.output
    assert slimmed.graph.quantization_annotation == graph.quantization_annotation
    (product,) = [node for node in slimmed.graph.node if node.op_type == "MatMul"]
    assert product.metadata_props == graph.node[1].metadata_props


def test_subgraphs_are_slimmed() -> None:
    slimmed = slim(f"""<{NODES}>
        g (float[2] x, bool c) => (float[2] y) {{
            y = If (c) <
                then_branch = t () => (float[2] a) {{ i = Identity (x) a = Sin (i) }},
                else_branch = e () => (float[2] b) {{ j = Identity (x) b = Cos (j) }}
            >
        }}""")
    (node,) = slimmed.graph.node
    assert sorted(inner.op_type for each in node.attribute for inner in each.g.node) == ["Cos", "Sin"]


def test_functions_are_slimmed() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[2] x) => (float[2] y) { a = local.Twice (x) y = local.Twice (a) }
        <domain: "local", opset_import: ["" : 17]> Twice (u) => (v) { i = Identity (u) v = Add (i, u) }"""
    result = slim_result(net(text))
    assert result.report.parity is not None
    assert result.report.parity.passed
    assert result.report.output is not None
    assert result.report.output.ops == {"Add": 2}


def test_initializers_that_are_inputs_stay_inputs() -> None:
    model = net()
    model.graph.input.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [3]))
    before = model.SerializeToString()
    slimmed = onnxslim.slim(model)
    assert slimmed is not None
    assert [value.name for value in slimmed.graph.input] == ["x", "b"]
    assert model.SerializeToString() == before


def test_slimming_in_place_again_and_again_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(large(), path)
    sizes = []
    for _ in range(3):
        onnxslim.slim(path, path)
        sizes.append(sum(each.stat().st_size for each in tmp_path.iterdir()))
    assert sizes[0] == sizes[1] == sizes[2] < large().ByteSize()


def test_a_declared_shape_that_is_wrong_is_not_believed() -> None:
    text = f"""<{NODES}>
        g (float[16, 1, 8] x) => (float[1, "seqlen"] y) <int64[3] target = {{-1, 1, 4}}> {{
            y = Reshape (x, target)
        }}"""
    slimmed = onnxslim.slim(net(text), verify=False)
    assert slimmed is not None
    session = ReferenceEvaluator(slimmed)
    (y,) = session.run(None, {"x": np.ones((16, 1, 8), np.float32)})
    assert np.asarray(y).shape == (32, 1, 4)
