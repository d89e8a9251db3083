from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.graph import load, to_bytes, to_proto
from onnxslim.graph.edit import Names
from onnxslim.packing import PREFIX, Content, Kit, behind, decoded_values, ledger, lift_casts, restored
from onnxslim.packing.packing import Packing
from tests.packing.arrays import Array


def unpacked(codes: list[Array], bits: int, to: ir.DataType = ir.DataType.FLOAT) -> ir.Model:
    """A model that unpacks codes together and multiplies each, after a Cast, by a scale."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 17}, name="g")
    kit = Kit(graph, Names.of(ir.Model(graph, ir_version=8)))
    contents, shapes = [Content.of(each) for each in codes], [each.shape for each in codes]
    for at, value in enumerate(kit.unpack(contents, Packing("all", value_bits=bits), ir.DataType.INT8, shapes)):
        value.shape, value.type = ir.Shape(shapes[at]), ir.TensorType(ir.DataType.INT8)
        value.name = f"codes{at}"
        node = value.producer()
        assert node is not None
        node.name = f"{PREFIX}_{at}_codes"
        cast = kit.op("Cast", value, to=to.value)
        out = kit.op("Mul", cast, kit.own(np.full(1, 0.1, to.numpy())))
        out.name, kit.nodes[-1].name = f"w{at}", f"{PREFIX}_{at}"
        out.shape, out.type = ir.Shape(shapes[at]), ir.TensorType(to)
        graph.outputs.append(out)
    graph.extend(kit.nodes)
    return load(to_proto(ir.Model(graph, ir_version=8)))


def arrays(model: ir.Model) -> list[bytes]:
    values = [value for value in decoded_values(model.graph) if (value.name or "").startswith("w")]
    assert behind(values) is not None
    return [each.tobytes() for each in restored(values, 17) or ()]


def codes(*shapes: tuple[int, ...], top: int = 7) -> list[Array]:
    generator = np.random.default_rng(0)
    return [generator.integers(-top, top, shape, np.int8, endpoint=True) for shape in shapes]


def test_one_codebook_of_floats_takes_the_place_of_all_casts() -> None:
    made = codes((64, 9), (12, 64), (8, 3))
    model = unpacked(made, 4)
    before, size = arrays(model), len(to_bytes(model))
    seen = [(each.name, each.dtype, each.zeros) for each in ledger(model)]
    assert lift_casts(model.graph, Names.of(model)) == 3
    assert Counter(node.op_type for node in model.graph)["Cast"] == 1  # of the places
    assert arrays(model) == before
    assert len(to_bytes(model)) < size
    onnx.checker.check_model(to_proto(model), full_check=True)
    assert [(each.name, each.dtype, each.zeros) for each in ledger(model)] == seen  # codes are still told as bytes


@pytest.mark.parametrize(
    ("made", "bits", "to"),
    [
        (codes((32, 32), top=127), 8, ir.DataType.FLOAT),  # 255 floats take more than a Cast
        (codes((64, 9), (12, 64)), 4, ir.DataType.FLOAT16),  # whose sums are for a runtime to round
        (codes((300, 300), (12, 64)), 4, ir.DataType.FLOAT),  # so many are moved faster as bytes
    ],
)
def test_where_nothing_is_won_nothing_changes(made: list[Array], bits: int, to: ir.DataType) -> None:
    model = unpacked(made, bits, to)
    before = to_bytes(model)
    assert lift_casts(model.graph, Names.of(model)) == 0
    assert to_bytes(model) == before


def test_codes_that_anything_else_reads_stay_bytes() -> None:
    model = unpacked(codes((64, 9), (12, 64)), 4)
    value = next(value for node in model.graph for value in node.outputs if value.name == "codes1")
    model.graph.outputs.append(value)
    assert value.dtype == ir.DataType.INT8
    before = to_bytes(model)
    assert lift_casts(model.graph, Names.of(model)) == 0
    assert to_bytes(model) == before
