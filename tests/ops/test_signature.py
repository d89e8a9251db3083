import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.ops.signature import attributes_key, tensor_key


def test_a_default_that_is_spelled_out_is_the_same() -> None:
    x = ir.val("x")
    assert attributes_key(ir.node("Softmax", [x]), 17) == attributes_key(ir.node("Softmax", [x], {"axis": -1}), 17)
    assert attributes_key(ir.node("Softmax", [x]), 11) == attributes_key(ir.node("Softmax", [x], {"axis": 1}), 11)
    assert attributes_key(ir.node("Softmax", [x]), 17) != attributes_key(ir.node("Softmax", [x], {"axis": 1}), 17)


@pytest.mark.parametrize("count", [1, 1000])
def test_tensors_differ_in_dtype_shape_or_one_bit(count: int) -> None:
    zeros = ir.tensor(np.zeros(count, np.float32))
    others = [
        np.zeros(count, np.int32),
        np.zeros((count, 1), np.float32),
        np.r_[np.zeros(count - 1, np.float32), np.float32(-0.0)].astype(np.float32),
    ]
    assert tensor_key(zeros) == tensor_key(ir.tensor(np.zeros(count, np.float32)))
    assert all(tensor_key(zeros) != tensor_key(ir.tensor(other)) for other in others)


def test_a_subgraph_has_no_key() -> None:
    graph = ir.Graph([], [], nodes=[])
    assert attributes_key(ir.node("If", [ir.val("c")], {"then_branch": graph, "else_branch": graph}), 17) is None
