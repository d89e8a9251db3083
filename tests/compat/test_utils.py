from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim import InputError, utils
from tests.compat.models import large, net, ops

THEIRS = """summarize_model print_model_info_as_table format_model_info format_bytes init_logging
gen_onnxruntime_input_data onnxruntime_inference check_onnx check_point check_result save model_save_as_external_data
dump_model_info_to_disk get_opset get_ir_version get_initializer_size get_graph_initializer_size get_max_tensor
update_outputs_dims is_onnxruntime_available check_onnx_compatibility onnx_dtype_to_numpy get_numpy_type get_itemsize
calculate_tensor_size TensorInfo ModelInfo OperatorInfo logger"""


def test_every_name_is_there() -> None:
    assert sorted(THEIRS.split()) == sorted(utils.__all__)
    assert all(hasattr(utils, name) for name in THEIRS.split())


def test_model_info() -> None:
    info = utils.summarize_model(net(), "tag")
    assert (info.tag, info.op_set, info.ir_version) == ("tag", "17", "8")
    assert info.model_size == net().ByteSize()
    assert info.op_type_counts["Add"] == 1
    assert info.op_type_counts["Nothing"] == 0
    assert info.input_maps["x"].shape == ("batch", 4)
    assert info.input_maps["x"].dtype == np.dtype(np.float32)
    assert [each.name for each in info.output_info] == ["y"]
    assert {each.op for each in info.op_info.values()} == {"Add", "Min", "MatMul", "Identity", "Relu"}


def test_the_table_of_one_model_and_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    info = utils.summarize_model(net())
    utils.print_model_info_as_table(info)
    assert "OnnxModel" in capsys.readouterr().out
    rows = utils.format_model_info(info, 2.0)
    labels = ["Model Name", "\1", "Model Info", "\1", "IN: x", "OUT: y", "\1", *sorted(info.op_type_counts)]
    labels += ["\1", "Model Size", "\1", "Elapsed Time"]
    assert [label for label, *_ in rows if label != "Nothing"] == labels
    shown = {row[0]: row[-1] for row in rows}
    assert (shown["Add"], shown["Elapsed Time"], shown["OUT: y"]) == (1, "2.00 s", "float32: ('batch', 3)")
    assert utils.format_model_info(info)[-1] == ["Model Size", utils.format_bytes(info.model_size)]


def test_sizes() -> None:
    assert utils.format_bytes(0) == "0.00 B"
    assert utils.format_bytes(5 << 30) == "5.00 GB"
    assert utils.format_bytes(3 << 40) == "3072.00 GB"
    assert utils.get_initializer_size(net()) == 18 * 4
    assert utils.calculate_tensor_size(net().graph.initializer[0]) == 48
    assert (utils.get_opset(net()), utils.get_ir_version(net())) == (17, 8)
    assert utils.onnx_dtype_to_numpy(16).itemsize == 2  # type: ignore[union-attr]
    assert utils.onnx_dtype_to_numpy(0) == "UNDEFINED"
    assert [utils.get_itemsize(each) for each in (1, np.float64, 16, 17, 8)] == [4, 8, 2, 1, 0]
    for unknown in (0, 9999):
        with pytest.raises(ValueError, match=f"unsupported TensorProto dtype: {unknown}"):
            utils.get_itemsize(unknown)


def test_the_initializers_of_a_graph_and_of_the_graphs_in_it() -> None:
    model = net("""<ir_version: 8, opset_import: ["" : 17]>
        g (bool b, float[2] x) => (float[2] y) <float[2] w = {1, 2}, float s = {3}> {
            c = Constant <value = float[2] {3, 4}> ()
            d = If (b) <
                then_branch = t () => (float[2] z) <float[2] v = {5, 6}> { z = Add (v, w) },
                else_branch = e () => (float[2] z) { z = Constant <value = float[2] {7, 8}> () }
            >
            p = Mul (s, x)
            q = Add (c, d)
            y = Add (p, q)
        }""")
    assert utils.get_graph_initializer_size(model.graph) == 4 * (2 + 1 + 2 + 2 + 2)


def test_running_and_comparing() -> None:
    feed = utils.gen_onnxruntime_input_data(net(), ["x:5,4"])
    assert feed["x"].shape == (5, 4)
    assert utils.gen_onnxruntime_input_data(net())["x"].shape == (1, 4)
    outputs, model = utils.onnxruntime_inference(net(), feed)
    assert outputs["y"].shape == (5, 3)
    assert model == net()
    assert utils.check_result(outputs, {"y": outputs["y"] + 1e-6})
    utils.init_logging()
    utils.logger.setLevel("CRITICAL")
    assert not utils.check_result(outputs, {"y": outputs["y"] + 1})
    assert not utils.check_result(outputs, {"y": outputs["y"][:, :2]})
    assert not utils.check_result(outputs, {"z": outputs["y"]})
    utils.init_logging()
    for given_input in ("z:1,4", "z:nothing.npy"):
        with pytest.raises(InputError, match="'z' not found in model"):
            utils.gen_onnxruntime_input_data(net(), [given_input])
    given, raw, _ = utils.check_onnx(net(), ["x:2,4"])
    assert (given["x"].shape, raw["y"].shape) == ((2, 4), (2, 3))


def test_check_points_are_graphs_that_tell_models_apart() -> None:
    graph = utils.check_point(net())
    assert [node.op for node in graph.nodes] == ops(net())
    other = net()
    other.graph.node[0].op_type = "Sub"
    assert utils.check_point(net()) == utils.check_point(net()) != utils.check_point(other)


def test_saving(tmp_path: Path) -> None:
    utils.save(net(), tmp_path / "a.onnx")
    assert ops(onnx.load(tmp_path / "a.onnx")) == ops(net())
    for _ in range(2):
        utils.model_save_as_external_data(large(), tmp_path / "b.onnx")
        assert len(list(tmp_path.glob("b.onnx*"))) == 2


def test_output_sizes() -> None:
    model = net()
    model.graph.output[0].type.tensor_type.shape.ClearField("dim")
    utils.update_outputs_dims(model, {"y": ("batch", 3)})
    assert model.graph.output == net().graph.output
    with pytest.raises(ValueError, match="number or a name"):
        utils.update_outputs_dims(net(), {"y": (1.5, 3)})  # type: ignore[dict-item]


def test_the_largest_tensors(capsys: pytest.CaptureFixture[str]) -> None:
    utils.get_max_tensor(net(), topk=1)
    assert capsys.readouterr().out == "Tensor name: w, shape: (4, 3), dtype: float size: 12\n"
