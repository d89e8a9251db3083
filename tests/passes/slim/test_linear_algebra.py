"""The rules that fold factors, summands, paddings and squeezes into what comes before or after."""

import pytest

from onnxslim.passes.slim import Slim
from onnxslim.passes.slim.fold_into_consumer import FoldScaleIntoConsumer, FoldShiftIntoConsumer
from onnxslim.passes.slim.fold_into_producer import FoldScaleIntoProducer, FoldShiftIntoProducer
from onnxslim.passes.slim.fuse_gemm import FuseGemmTranspose, FuseMatMulAdd
from onnxslim.passes.slim.fuse_pad import FusePad
from onnxslim.passes.slim.fuse_reduce import FuseReduceSqueeze
from onnxslim.rewriter.rule import Rule
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites


def graph(
    body: str, *, shape: str = "N, 2, 4, 4", constants: str = "", out: str = "A, B, C, D", opset: int = 17
) -> str:
    held = f"<{constants}>" if constants else ""
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[{shape}] x) => (float[{out}] y)
        {held} {{ {body} }}"""


W = "float[2, 2, 1, 1] w = {1, 2, 3, 4}"
B = "float[2] b = {1, -1}"
M = "float[2, 2] m = {1, 2, 3, 4}"


@pytest.mark.parametrize("opset", [9, 13, 17])
@pytest.mark.parametrize(
    ("body", "constants", "weights", "bias"),
    [
        ("c = Conv(x, w, b) y = Mul(c, s)", "float[2, 1, 1] s = {2, 4}", "2, 4, 12, 16", "2, -4"),
        ("c = Conv(x, w, b) y = Mul(s, c)", "float s = {2}", "2, 4, 6, 8", "2, -2"),
        ("c = Conv(x, w, b) y = Div(c, s)", "float[1, 2, 1, 1] s = {0.5, 0.25}", "2, 4, 12, 16", "2, -4"),
    ],
)
def test_scale_after_conv(body: str, constants: str, weights: str, bias: str, opset: int) -> None:
    before = graph(body, constants=f"{W}, {B}, {constants}", opset=opset)
    held = f"float[2, 2, 1, 1] w = {{{weights}}}, float[2] b = {{{bias}}}"
    assert_rewrites(before, graph("y = Conv(x, w, b)", constants=held, opset=opset), Fused(FoldScaleIntoProducer()))


@pytest.mark.parametrize(
    ("rule", "op", "folded"),
    [(FoldScaleIntoProducer, "Mul", "2, 4, 6, 8} b {2, -2"), (FoldShiftIntoProducer, "Add", "1, 2, 3, 4} b {3, 1")],
)
def test_what_a_hard_swish_reads_goes_into_the_conv_before_it(rule: type[Rule], op: str, folded: str) -> None:
    swish = "h = HardSigmoid <alpha = 0.16666667> (a) y = Mul(a, h)"
    before = graph(f"c = Conv(x, w, b) a = {op}(c, s) {swish}", constants=f"{W}, {B}, float s = {{2}}")
    weights, bias = folded.split("} b {")
    held = f"float[2, 2, 1, 1] w = {{{weights}}}, float[2] b = {{{bias}}}"
    assert_rewrites(before, graph(f"a = Conv(x, w, b) {swish}", constants=held), Fused(rule()))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(("body", "bias"), [("Add(c, d)", "3, 4"), ("Sub(c, d)", "-3, -4"), ("Add(d, c)", "3, 4")])
def test_shift_after_conv(op: str, body: str, bias: str) -> None:
    before = graph(f"c = {op}(x, w) y = {body}", constants=f"{W}, float[2, 1, 1] d = {{3, 4}}")
    after = graph(f"y = {op}(x, w, b)", constants=f"{W}, float[2] b = {{{bias}}}")
    assert_rewrites(before, after, Fused(FoldShiftIntoProducer()))


def test_scale_goes_through_moves_and_a_bias() -> None:
    before = graph(
        "a = MatMul(x, m) c = Add(a, b) t = Transpose <perm = [0, 2, 1]> (c) y = Mul(t, s)",
        shape="N, 3, 2", constants=f"{M}, {B}, float s = {{0.5}}", out="A, B, C",
    )  # fmt: skip
    after = graph(
        "a = MatMul(x, m) c = Add(a, b) y = Transpose <perm = [0, 2, 1]> (c)",
        shape="N, 3, 2", constants="float[2, 2] m = {0.5, 1, 1.5, 2}, float[2] b = {0.5, -0.5}", out="A, B, C",
    )  # fmt: skip
    assert_rewrites(before, after, Fused(FoldScaleIntoProducer()))


@pytest.mark.parametrize(
    ("rule", "before", "constants", "after", "kept"),
    [
        (FoldScaleIntoProducer, "a = Mul(x, p) y = Div(a, q)", "float p = {6}, float q = {2}", "Mul(x, p)", 3),
        (FoldScaleIntoProducer, "a = Div(x, p) y = Mul(a, q)", "float p = {2}, float q = {8}", "Mul(x, p)", 4),
        (FoldScaleIntoProducer, "a = Div(p, x) y = Mul(a, q)", "float p = {2}, float q = {8}", "Div(p, x)", 16),
        (FoldShiftIntoProducer, "a = Add(x, p) y = Sub(a, q)", "float p = {2}, float q = {8}", "Add(x, p)", -6),
        (FoldShiftIntoProducer, "a = Sub(p, x) y = Add(a, q)", "float p = {2}, float q = {8}", "Sub(p, x)", 10),
        (FoldShiftIntoProducer, "a = Sub(x, p) y = Add(q, a)", "float p = {2}, float q = {8}", "Add(x, p)", 6),
    ],
)
def test_two_constants_become_one(rule: type[Rule], before: str, constants: str, after: str, kept: int) -> None:
    wanted = graph(f"y = {after}", constants=f"float p = {{{kept}}}")
    assert_rewrites(graph(before, constants=constants), wanted, Fused(rule()))


@pytest.mark.parametrize(
    ("body", "constants", "reason"),
    [
        ("c = Conv(x, w) r = Relu(c) q = Mul(c, s) y = Add(q, r)", f"{W}, float s = {{2}}", None),
        ("c = Conv(x, w) y = Mul(c, s)", f"{W}, float[4] s = {{1, 2, 3, 4}}", "one number for each channel"),
        ("c = Conv(x, w) y = Mul(c, s)", f"{W}, float[1, 1, 1, 1, 1] s = {{2}}", "add dims"),
        ("c = Conv(x, w) y = Mul(c, s)", f"{W}, float s = {{1e38}}", "finite"),
        ("c = Conv(x, w) y = Mul(c, s)", f"{W}, float s = {{0}}", None),
        ("a = MatMul(x, x) y = Div(a, s)", "float s = {8}", "fuses attention"),
        ("v = Conv(x, w) c = Relu(v) y = Mul(c, s)", f"{W}, float s = {{-2}}", None),
    ],
)
def test_scales_that_stay(body: str, constants: str, reason: str | None) -> None:
    out = "A, B, C, D, E" if "1, 1, 1, 1, 1" in constants else "A, B, C, D"
    assert_declines(graph(body, constants=constants, out=out), FoldScaleIntoProducer(), reason=reason)


@pytest.mark.parametrize(
    ("body", "constants", "reason"),
    [
        ("a = Add(x, p) y = Sub(a, p)", "float p = {12582912}", "cancel"),
        ("c = Conv(x, w, b) a = Add(c, p) z = Clip(a) y = Relu(z)", f"{W}, {B}, float p = {{3}}", None),
        ("c = Conv(x, w) y = Add(c, d)", f"{W}, float[4] d = {{1, 2, 3, 4}}", "one number for each channel"),
    ],
)
def test_shifts_that_stay(body: str, constants: str, reason: str | None) -> None:
    assert_declines(graph(body, constants=constants), FoldShiftIntoProducer(), reason=reason)


def test_a_normalization_before_a_clip_is_no_hard_sigmoid() -> None:
    """As Keras' MobileNetV2 has it: per-channel numbers between a Conv and Relu6."""
    vectors = "float[2, 1, 1] s = {2, 4}, float[2, 1, 1] t = {4, 3}"
    before = graph("c = Conv(x, w, b) d = Mul(c, s) e = Add(d, t) y = Clip(e)", constants=f"{W}, {B}, {vectors}")
    held = "float[2, 2, 1, 1] w = {2, 4, 12, 16}, float[2] b = {6, -1}"
    assert_rewrites(before, graph("e = Conv(x, w, b) y = Clip(e)", constants=held), Slim())


def test_shared_weights_are_not_copied() -> None:
    big = "float[2, 2, 3, 3] w = {" + ", ".join(str(n) for n in range(36)) + "}"
    body = "c = Conv(x, w) d = Conv(x, w) e = Mul(c, s) y = Add(e, d)"
    assert_declines(graph(body, constants=f"{big}, float s = {{2}}"), FoldScaleIntoProducer(), reason="would grow")


def test_constant_that_the_caller_may_override() -> None:
    text = graph("c = Conv(x, w) y = Mul(c, s)", constants=f"{W}, float s = {{2}}")
    text = text.replace("4, 4] x)", "4, 4] x, float s)")
    assert_declines(text, FoldScaleIntoProducer())


@pytest.mark.parametrize("pads", ["", " <pads = [1, 1, 1, 1]> "])
def test_scale_before_conv(pads: str) -> None:
    s = "float[2, 1, 1] s = {2, 4}"
    before = graph(f"a = Mul(x, s) y = Conv{pads}(a, w)", constants=f"{W}, {s}")
    after = graph(f"y = Conv{pads}(x, w)", constants="float[2, 2, 1, 1] w = {2, 8, 6, 16}")
    assert_rewrites(before, after, Fused(FoldScaleIntoConsumer()))


def test_scale_before_a_summand_and_a_padded_conv() -> None:
    """The border's zeros stay zeros, so that the factor goes on and the summand stays."""
    body = "a = Mul(x, s) c = Add(a, t) y = Conv <pads = [1, 1, 1, 1]> (c, w)"
    after = graph(
        "c = Add(x, t) y = Conv <pads = [1, 1, 1, 1]> (c, w)",
        constants="float[2, 2, 1, 1] w = {2, 4, 6, 8}, float t = {1.5}",
    )
    before = graph(body, constants=f"{W}, float s = {{2}}, float t = {{3}}")
    assert_rewrites(before, after, Fused(FoldScaleIntoConsumer()))
    assert_declines(after, FoldShiftIntoConsumer(), reason="padded with zeros")


def test_vector_that_widens_the_input_stays() -> None:
    body, s = "a = Mul(x, s) y = MatMul(a, m)", "float[2] s = {2, 4}"
    assert_declines(graph(body, shape="3, 1", constants=f"{M}, {s}", out="A, B"), FoldScaleIntoConsumer(), reason="one")
    assert_declines(graph(body, shape="3, K", constants=f"{M}, {s}", out="A, B"), FoldScaleIntoConsumer(), reason="one")
    after = graph("y = MatMul(x, m)", shape="3, 2", constants="float[2, 2] m = {2, 4, 12, 16}", out="A, B")
    assert_rewrites(graph(body, shape="3, 2", constants=f"{M}, {s}", out="A, B"), after, Fused(FoldScaleIntoConsumer()))


def test_shift_before_conv_and_matmul() -> None:
    t = "float[2, 1, 1] t = {10, 20}"
    after = graph("y = Conv(x, w, b)", constants=f"{W}, float[2] b = {{51, 109}}")
    before = graph("a = Add(x, t) y = Conv(a, w, b)", constants=f"{W}, {B}, {t}")
    assert_rewrites(before, after, Fused(FoldShiftIntoConsumer()))
    before = graph(
        "a = Sub(x, t) c = MatMul(a, m) y = Add(b, c)", shape="N, 3, 2",
        constants=f"{M}, {B}, float[2] t = {{10, 20}}", out="A, B, C",
    )  # fmt: skip
    after = graph(
        "c = MatMul(x, m) y = Add(c, b)", shape="N, 3, 2", constants=f"{M}, float[2] b = {{-69, -101}}", out="A, B, C"
    )
    assert_rewrites(before, after, Fused(FoldShiftIntoConsumer()))


@pytest.mark.parametrize("bias", ["float[2] b = {1, 2}", "float[1, 2] b = {1, 2}", "float b = {1}"])
def test_matmul_and_add_become_gemm(bias: str) -> None:
    before = graph("a = MatMul(x, m) y = Add(b, a)", shape="N, 2", constants=f"{M}, {bias}", out="A, B")
    after = graph("y = Gemm(x, m, b)", shape="N, 2", constants=f"{M}, {bias}", out="A, B")
    assert_rewrites(before, after, Fused(FuseMatMulAdd()))


@pytest.mark.parametrize(
    ("body", "shape", "bias", "out", "reason"),
    [
        ("a = MatMul(x, m) y = Add(a, b)", "N, 3, 2", "float[2] b = {1, 2}", "A, B, C", "matrices"),  # 3 dims
        ("a = MatMul(x, m) y = Add(a, b)", "2", "float[2] b = {1, 2}", "A", "matrices"),
        ("a = MatMul(x, m) y = Add(a, b)", "1, 2", "float[2, 2] b = {1, 2, 3, 4}", "A, B", "shape of the product"),
        ("a = MatMul(x, m) y = Add(a, b)", "1, 2", "float[1, 1, 2] b = {1, 2}", "A, B, C", "shape of the product"),
        ("a = MatMul(x, m) c = Add(a, b) y = Mul(a, c)", "N, 2", "float[2] b = {1, 2}", "A, B", "another use"),
    ],
)
def test_gemm_is_for_matrices_and_summands_that_widen_nothing(
    body: str, shape: str, bias: str, out: str, reason: str
) -> None:
    """OnnxSlim#210, #323 and #160: biases of other shapes, and a product that is needed twice."""
    assert_declines(graph(body, shape=shape, constants=f"{M}, {bias}", out=out), FuseMatMulAdd(), reason=reason)


def test_gemm_takes_in_what_follows() -> None:
    before = graph("a = Gemm <transB = 1> (x, m, b) y = Mul(a, s)", shape="N, 2",
                   constants=f"{M}, {B}, float[2] s = {{2, 4}}", out="A, B")  # fmt: skip
    after = graph("y = Gemm <transB = 1> (x, m, b)", shape="N, 2",
                  constants="float[2, 2] m = {2, 4, 12, 16}, float[2] b = {2, -4}", out="A, B")  # fmt: skip
    assert_rewrites(before, after, Fused(FoldScaleIntoProducer()))
    before = graph("a = Gemm(x, m) y = Add(a, b)", shape="N, 2", constants=f"{M}, {B}", out="A, B")
    after = graph("y = Gemm(x, m, b)", shape="N, 2", constants=f"{M}, {B}", out="A, B")
    assert_rewrites(before, after, Fused(FoldShiftIntoProducer()))


def test_gemm_reads_a_transposed_matrix() -> None:
    before = graph("t = Transpose(x) y = Gemm(t, m)", shape="2, N", constants=M, out="A, B")
    after = graph("y = Gemm <transA = 1> (x, m)", shape="2, N", constants=M, out="A, B")
    assert_rewrites(before, after, Fused(FuseGemmTranspose()))
    assert_declines(graph("t = Transpose(x) a = Gemm(t, m) b = Relu(t) y = Add(a, b)", shape="2, N", constants=M,
                          out="A, B"), FuseGemmTranspose(), reason="another use")  # fmt: skip


K = "float[1, 2, 2, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}"


def test_pad_goes_into_conv() -> None:
    pads = "int64[8] p = {0, 0, 1, 0, 0, 0, 0, 2}"
    after = graph("y = Conv <pads = [2, 1, 1, 3]> (x, w)", constants=K)
    before = graph("a = Pad(x, p) y = Conv <pads = [1, 1, 1, 1]> (a, w)", constants=f"{K}, {pads}")
    assert_rewrites(before, after, Fused(FusePad()))
    before = graph(
        "a = Pad(x, p, , axes) y = Conv(a, w)",
        constants=f"{K}, int64[2] p = {{1, 2}}, int64[1] axes = {{-1}}", opset=18,
    )  # fmt: skip
    after = graph("y = Conv <pads = [0, 1, 0, 2]> (x, w)", constants=K, opset=18)
    assert_rewrites(before, after, Fused(FusePad()))
    before = graph("a = Pad <pads = [0, 0, 1, 0, 0, 0, 0, 2]> (x) y = Conv(a, w)", constants=K, opset=9)
    assert_rewrites(before, graph("y = Conv <pads = [1, 0, 0, 2]> (x, w)", constants=K, opset=9), Fused(FusePad()))


@pytest.mark.parametrize(
    ("pads", "value", "conv", "mode", "reason"),
    [
        ("0, 0, 1, 0, 0, 0, 0, 2", "1", "", "constant", "with zeros"),
        ("0, 0, 1, 0, 0, 0, 0, 2", "0", "", "reflect", "one number"),
        ("0, 0, 1, 0, 0, 0, 0, -1", "0", "", "constant", "cuts off"),
        ("1, 0, 1, 0, 0, 0, 0, 1", "0", "", "constant", "samples or channels"),
        ("0, 0, 1, 0, 0, 0, 0, 1", "0", '<auto_pad = "SAME_UPPER">', "constant", "depends on the size"),
    ],
)
def test_pads_that_stay(pads: str, value: str, conv: str, mode: str, reason: str) -> None:
    body = f'a = Pad <mode = "{mode}"> (x, p, v) y = Conv {conv} (a, w)'
    held = f"{K}, int64[8] p = {{{pads}}}, float v = {{{value}}}"
    assert_declines(graph(body, constants=held), FusePad(), reason=reason)


def test_pad_and_pooling() -> None:
    held, kernel = "int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}", "kernel_shape = [3, 3]"
    before = graph(f"padded = Pad(x, p) y = AveragePool <{kernel}> (padded)", constants=held)
    after = graph(f"y = AveragePool <{kernel}, pads = [1, 1, 1, 1], count_include_pad = 1> (x)")
    assert_rewrites(before, after, Fused(FusePad()))
    before = graph(f"r = Relu(x) a = Pad(r, p) y = MaxPool <{kernel}> (a)", constants=held)
    after = graph(f"r = Relu(x) y = MaxPool <{kernel}, pads = [1, 1, 1, 1]> (r)")
    assert_rewrites(before, after, Fused(FusePad()))
    for body, reason in (
        (f"a = Pad(x, p) y = MaxPool <{kernel}> (a)", "largest"),
        (f"a = Pad(x, p) y = AveragePool <{kernel}, ceil_mode = 1> (a)", "windows end"),
        (f"a = Pad(x, p) y = AveragePool <{kernel}, pads = [1, 1, 1, 1]> (a)", "does not count"),
        ("a = Pad(x, p) y = AveragePool <kernel_shape = [1, 1]> (a)", "nothing but padding"),
    ):
        assert_declines(graph(body, constants=held), FusePad(), reason=reason)


@pytest.mark.parametrize("opset", [13, 18])
def test_reduction_and_squeeze(opset: int) -> None:
    axes = "int64[2] p = {-1, 2}"
    reduce = "ReduceSum(x, p)" if opset else ""
    before = graph(
        f"a = {reduce} y = Squeeze(a, q)", constants=f"{axes}, int64[2] q = {{2, 3}}", out="A, B", opset=opset
    )
    after = graph("y = ReduceSum <keepdims = 0> (x, p)", constants=axes, out="A, B", opset=opset)
    assert_rewrites(before, after, Fused(FuseReduceSqueeze()))
    before = graph(
        "a = ReduceMax <axes = [1], keepdims = 0> (x) y = Unsqueeze(a, q)", constants="int64[1] q = {-3}", opset=13
    )
    assert_rewrites(before, graph("y = ReduceMax <axes = [1], keepdims = 1> (x)", opset=13), Fused(FuseReduceSqueeze()))
    other = graph("a = ReduceMax <axes = [2, 3]> (x) y = Squeeze(a, q)", constants="int64[1] q = {3}",
                  out="A, B, C", opset=13)  # fmt: skip
    assert_declines(other, FuseReduceSqueeze(), reason="same dims")


def test_half_precision_that_would_lose_digits_stays() -> None:
    bits = "float[2, 2, 1, 1] w = {15701, 15701, 15701, 15701}, float s = {1}"  # 1.333 and the smallest of all
    text = graph("c = Conv(x, w) y = Mul(c, s)", constants=bits).replace("float", "float16")
    assert_declines(text, FoldScaleIntoProducer(), reason="lose digits")
