from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.ops.defaults import is_default


@pytest.mark.parametrize(
    ("op_type", "name", "value", "opset", "expected"),
    [
        ("Flatten", "axis", 1, 17, True),
        ("Flatten", "axis", 0, 17, False),
        ("Softmax", "axis", 1, 11, True),  # the default changed with opset 13
        ("Softmax", "axis", 1, 13, False),
        ("Softmax", "axis", -1, 13, True),
        ("Gemm", "alpha", 1.0, 17, True),
        ("Conv", "group", 1, 17, True),
        ("Conv", "strides", [1, 1], 17, True),
        ("Conv", "strides", [1, 2], 17, False),
        ("Conv", "strides", [1, 1], 10, False),  # the standard says it in words from 11 on
        ("Conv", "pads", [0, 0, 0, 0], 17, True),
        ("Conv", "kernel_shape", [1, 1], 17, False),
        ("MaxPool", "dilations", [1, 1], 17, True),
        ("AveragePool", "dilations", [1, 1], 17, False),  # it has none before opset 19
        ("Cast", "to", 1, 17, False),
        ("NoSuchOperator", "axis", 0, 17, False),
    ],
)
def test_what_may_be_left_out(op_type: str, name: str, value: object, opset: int, expected: bool) -> None:
    node = ir.node(op_type, [None], {name: value})  # type: ignore[dict-item]
    assert is_default(node, node.attributes[name], opset) is expected


def test_pads_beside_auto_pad_and_references_stay() -> None:
    node = ir.node("Conv", [None, None], {"pads": [0, 0], "strides": [1], "auto_pad": "SAME_UPPER"})
    assert not any(is_default(node, each, 17) for each in node.attributes.values())
    reference = ir.RefAttr("axis", "outer", ir.AttributeType.INT)
    assert not is_default(ir.node("Flatten", [None]), reference, 17)


def test_another_domain_has_no_defaults_that_are_known() -> None:
    node = ir.node("Conv", [None], {"strides": [1, 1], "group": 1}, domain="my")
    assert not any(is_default(node, each, 17) for each in node.attributes.values())
