import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.evaluation.tier import Tier
from onnxslim.graph import parse, to_bytes
from onnxslim.passes.slim import FuseConvBatchNorm
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_same_outputs

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def numbers(count: int, seed: int, low: float = -1.0) -> str:
    return ", ".join(f"{x:.4f}" for x in np.random.default_rng(seed).uniform(low, 1.5, count))


def model_text(
    *,
    op: str = "Conv",
    group: int = 1,
    weight: str = "4, 3, 2, 2",
    out: int = 4,
    channels: int = 3,
    bias: bool = True,
    norm: str = "",
    outputs: str = "y",
    extra: str = "",
    results: str = "float[N, M, H, W] y",
    var_low: float = 0.1,
) -> str:
    size = int(np.prod([int(d) for d in weight.split(",")]))
    parameters = ", ".join(
        f"float[{out}] {name} = {{{numbers(out, seed, low)}}}"
        for name, seed, low in (("s", 1, 0.5), ("t", 2, -1), ("m", 3, -1), ("v", 4, var_low))
    )
    b = f"float[{out}] b = {{{numbers(out, 6)}}}, " if bias else ""
    return f"""{HEADER} g (float[N, {channels}, 8, 8] x) => ({results})
        <float[{weight}] w = {{{numbers(size, 5)}}}, {b}{parameters}> {{
        c = {op} <group = {group}> (x, w{", b" if bias else ""})
        {outputs} = BatchNormalization <epsilon = 0.01 {norm}> (c, s, t, m, v)
        {extra}
    }}"""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("op", "group", "weight", "out", "channels"),
    [
        ("Conv", 1, "4, 3, 2, 2", 4, 3),
        ("Conv", 2, "4, 3, 2, 2", 4, 6),
        ("Conv", 4, "4, 1, 3, 3", 4, 4),
        ("ConvTranspose", 1, "3, 4, 2, 2", 4, 3),
        ("ConvTranspose", 2, "6, 2, 2, 2", 4, 6),
        ("ConvTranspose", 3, "3, 2, 2, 2", 6, 3),
    ],
)
def test_batchnorm_folds_into_the_convolution(
    op: str, group: int, weight: str, out: int, channels: int, bias: bool
) -> None:
    text = model_text(op=op, group=group, weight=weight, out=out, channels=channels, bias=bias)
    model = parse(text)
    before = len(to_bytes(model))
    result = FuseConvBatchNorm().run(model, Context())
    assert [action.rule for action in result.actions] == ["fuse-conv-batchnorm"]
    assert [node.op_type for node in model.graph] == [op]
    assert sorted(model.graph.initializers) == ["b" if bias else "t", "w"]
    assert len(to_bytes(model)) < before
    assert_same_outputs(text, model)
    untouched = parse(text)
    assert not FuseConvBatchNorm().run(untouched, Context(limit=0)).modified
    assert not FuseConvBatchNorm().run(untouched, Context(refused=frozenset({result.actions[0].key}))).modified
    assert to_bytes(untouched) == to_bytes(parse(text))


def test_half_precision() -> None:
    original = parse(model_text())
    for value in (*original.graph.inputs, *original.graph.outputs, *original.graph.initializers.values()):
        value.dtype = ir.DataType.FLOAT16
        if value.const_value is not None:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float16), name=value.name)
    model = original.clone()
    FuseConvBatchNorm().run(model, Context())
    assert [node.op_type for node in model.graph] == ["Conv"]
    assert model.graph.initializers["w"].dtype == ir.DataType.FLOAT16
    assert_same_outputs(original, model, tier=Tier.LOSSY, sqnr=50)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"norm": ", training_mode = 1", "outputs": "y, rm, rv"}, "training mode"),
        ({"extra": "z = Relu(c)", "results": "float[N, M, H, W] y, float[N, M, H, W] z"}, "another use"),
        ({"results": "float[N, M, H, W] y, float[N, M, H, W] c"}, "another use"),
        ({"extra": "z = Conv(x, w)", "results": "float[N, M, H, W] y, float[N, M, H, W] z"}, "others use the weights"),
        ({"var_low": -1.0}, "not be finite"),
    ],
)
def test_reasons_to_leave_it(options: dict[str, str], reason: str) -> None:
    assert_declines(model_text(**options), FuseConvBatchNorm(), reason=reason)  # type: ignore[arg-type]


def test_parameters_that_are_inputs() -> None:
    text = model_text().replace("8, 8] x)", "8, 8] x, float[4] s)")
    start = text.index("float[4] s = ")
    text = text[:start] + text[text.index("float[4] t", start) :]
    assert_declines(text, FuseConvBatchNorm(), reason="not constant")


def test_parameters_shared_by_two_normalizations() -> None:
    text = f"""{HEADER} g (float[N, 3, 8, 8] x) => (float[N, M, H, W] y)
        <float[3, 3, 1, 1] w = {{{numbers(9, 1)}}}, float[3, 3, 1, 1] u = {{{numbers(9, 2)}}},
         float[3] s = {{1, 2, 3}}, float[3] t = {{1, 2, 3}}, float[3] v = {{1, 2, 3}}> {{
        a = Conv(x, w)
        b = BatchNormalization(a, s, t, t, v)
        c = Conv(b, u)
        y = BatchNormalization(c, s, t, t, v)
    }}"""
    model = parse(text)
    before = len(to_bytes(model))
    FuseConvBatchNorm().run(model, Context())
    assert [node.op_type for node in model.graph] == ["Conv", "Conv"]
    assert len(to_bytes(model)) <= before
    assert_same_outputs(text, model)


def test_inside_a_branch() -> None:
    text = f"""{HEADER} g (bool k, float[N, 1, 4, 4] x) => (float[N, 1, 4, 4] y)
        <float[1] s = {{2}}, float[1] t = {{3}}, float[1] m = {{4}}, float[1] v = {{5}},
         float[1, 1, 1, 1] w = {{1.5}}> {{
        y = If(k) <
            then_branch = a () => (float[N, 1, 4, 4] p) {{ c = Conv(x, w)  p = BatchNormalization(c, s, t, m, v) }},
            else_branch = b () => (float[N, 1, 4, 4] q) {{ q = Relu(x) }}
        >
    }}"""
    model = parse(text)
    FuseConvBatchNorm().run(model, Context())
    branch = model.graph.node(0).attributes["then_branch"].as_graph()
    assert [(node.op_type, node.outputs[0].name) for node in branch] == [("Conv", "p")]
    assert_same_outputs(text, model)
