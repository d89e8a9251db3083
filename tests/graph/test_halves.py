"""Constants in half precision behind Casts: what is widened, what is not, and that nothing is lost on the way back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnxslim.execution import open_session
from onnxslim.graph import load, to_bytes
from onnxslim.graph.edit import set_constant
from onnxslim.graph.halves import narrow, widen
from tests.ops.channels.nets import feeds, model, node
from tests.packing.arrays import weights

ROWS: dict[str, list[str | int]] = {"x": ["N", 24]}
HALF = weights((24, 24), 0.2).astype(np.float16)
TWO = ["MatMul x v -> a", "MatMul a v2 -> y"]
CAST = node("Cast w -> v", to=TensorProto.FLOAT)


def proto_of(*nodes: object, half: np.ndarray = HALF) -> onnx.ModelProto:
    return model(list(nodes), {"w": half}, inputs=ROWS)  # type: ignore[arg-type]


def kinds(proto: onnx.ModelProto) -> tuple[list[str], list[int]]:
    return [each.op_type for each in proto.graph.node], [each.data_type for each in proto.graph.initializer]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_there_and_back_is_the_same_model_bit_for_bit(kind: int) -> None:
    half = HALF.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    proto = proto_of(CAST, node("Cast w -> v2", to=TensorProto.FLOAT), *TWO, half=half)
    made = load(proto.SerializeToString())
    halves = widen(made)
    wide = onnx.ModelProto.FromString(to_bytes(made))
    assert kinds(wide) == (["MatMul", "MatMul"], [TensorProto.FLOAT])  # one constant, however many Casts there were
    assert narrow(made, halves) == []
    back = onnx.ModelProto.FromString(to_bytes(made))
    onnx.checker.check_model(back)
    assert kinds(back) == (["Cast", "MatMul", "MatMul"], [kind])
    assert back.graph.initializer[0].raw_data == half.tobytes()
    for feed in feeds(proto):
        outputs = [open_session(each).run(feed)["y"].tobytes() for each in (proto, wide, back)]
        assert len(set(outputs)) == 1


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([CAST, "MatMul x v -> y"], ["v"]),
        (
            [node("Cast w -> v", to=TensorProto.DOUBLE), node("Cast x -> z", to=TensorProto.DOUBLE), "MatMul z v -> y"],
            [],
        ),
        ([CAST, "Shape w -> s", "MatMul x v -> a", "Expand a s -> y"], []),
    ],
    ids=["an output", "to double", "read as it is"],
)
def test_what_is_no_weight_behind_a_cast_stays(nodes: list[object], outputs: list[str]) -> None:
    proto = proto_of(*nodes)
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, HALF.shape) for name in outputs)
    made = load(proto.SerializeToString())
    before = to_bytes(made)
    assert widen(made) == {}
    assert to_bytes(made) == before


def test_what_is_beyond_half_precision_stays_float() -> None:
    made = load(proto_of(CAST, "MatMul x v -> y").SerializeToString())
    halves = widen(made)
    set_constant(made.graph.initializers["v"], np.full((24, 24), 1e5, np.float32))
    assert narrow(made, halves) == ["v"]
    assert kinds(onnx.ModelProto.FromString(to_bytes(made))) == (["MatMul"], [TensorProto.FLOAT])
