"""Operators that only onnxruntime has: used where the model is asked to be for it, and nowhere else."""

from __future__ import annotations

import re

import onnx_ir as ir
import pytest

import models_zoo
from onnxslim.graph import load, parse, to_bytes
from onnxslim.passes.slim import Slim
from onnxslim.passes.slim.fuse_bias_gelu import FuseBiasGelu, FuseContribGelu
from onnxslim.passes.slim.fuse_fused_conv import FuseFusedConv
from onnxslim.passes.slim.fuse_fused_matmul import FuseFusedMatMul
from onnxslim.passes.slim.fuse_onnxruntime import FuseOnnxruntime
from onnxslim.passes.slim.fuse_quick_gelu import FuseQuickGelu
from onnxslim.passes.slim.table import ONNXRUNTIME_RULES, RULES
from onnxslim.pipeline.action import PassResult
from onnxslim.pipeline.context import Context
from onnxslim.rewriter.rule import Rule
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

ERF = "d = Div(x, r) e = Erf(d) f = Add(e, one) g = Mul(x, f) y = Mul(g, half)"
CONV = "float[4, 3, 1, 1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}"


def text(nodes: str, ports: str, constants: str = "", *, contrib: bool = False, opset: int = 17) -> str:
    """A model; with ``contrib`` it imports the domain."""
    more = ', "com.microsoft" : 1' if contrib else ""
    nodes = re.sub(r"\b([adefgmpst])\b(?!\s*:)", r"value_\1_with_a_name_as_long_as_exporters_give", nodes)
    constants = re.sub(r"\b([as])(?= = )", r"value_\1_with_a_name_as_long_as_exporters_give", constants)
    initializers = f"<{constants}>" if constants else ""
    return f'<ir_version: 8, opset_import: ["" : {opset}{more}]> g {ports} {initializers} {{ {nodes} }}'


CASES: dict[str, tuple[Rule, str, str, str, str, str]] = {
    "gelu": (
        FuseContribGelu(),
        "(float[N, 4] x) => (float[N, 4] y)",
        ERF,
        "float r = {1.4142135}, float one = {1}, float half = {0.5}",
        "y = com.microsoft.Gelu(x)",
        "",
    ),
    "bias gelu": (
        FuseBiasGelu(),
        "(float[N, 4] x) => (float[N, 4] y)",
        "a = Add(x, b) y = com.microsoft.Gelu(a)",
        "float[4] b = {1, 2, 3, 4}",
        "y = com.microsoft.BiasGelu(x, b)",
        "float[4] b = {1, 2, 3, 4}",
    ),
    "silu": (
        FuseQuickGelu(),
        "(float[N, 4] x) => (float[N, 4] y)",
        "s = Sigmoid(x) y = Mul(x, s)",
        "",
        "y = com.microsoft.QuickGelu <alpha = 1.0> (x)",
        "",
    ),
    "quick gelu": (
        FuseQuickGelu(),
        "(float[N, 4] x) => (float[N, 4] y)",
        "m = Mul(x, a) s = Sigmoid(m) y = Mul(s, x)",
        "float a = {1.75}",
        "y = com.microsoft.QuickGelu <alpha = 1.75> (x)",
        "",
    ),
    "scaled product": (
        FuseFusedMatMul(),
        "(float[N, 3, 4] x, float[N, 5, 4] k) => (float[N, 3, 5] y)",
        "t = Transpose <perm = [0, 2, 1]> (k) p = MatMul(x, t) y = Div(p, c)",
        "float c = {2}",
        "y = com.microsoft.FusedMatMul <alpha = 0.5, transB = 1> (x, k)",
        "",
    ),
    "conv and relu": (
        FuseFusedConv(),
        "(float[N, 3, 4, 5] x) => (float[N, 4, 4, 5] y)",
        "a = Conv <pads = [0, 0, 0, 0]> (x, w) y = Relu(a)",
        CONV,
        'y = com.microsoft.FusedConv <pads = [0, 0, 0, 0], activation = "Relu"> (x, w)',
        CONV,
    ),
    "conv and clip": (
        FuseFusedConv(),
        "(float[N, 3, 4, 5] x) => (float[N, 4, 4, 5] y)",
        "a = Conv(x, w) y = Clip(a, l, h)",
        f"{CONV}, float l = {{0}}, float h = {{6}}",
        'y = com.microsoft.FusedConv <activation = "Clip", activation_params = [0.0, 6.0]> (x, w)',
        CONV,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_steps_become_one_operator(case: str) -> None:
    rule, ports, before, constants, after, left = CASES[case]
    imported = "com.microsoft" in before
    assert_rewrites(
        text(before, ports, constants, contrib=imported), text(after, ports, left, contrib=True), Fused(rule)
    )


@pytest.mark.parametrize(
    ("rule", "nodes", "ports", "constants", "reason"),
    [
        (FuseQuickGelu(), "s = Sigmoid(x) y = Mul(x, s) z = Neg(s)",
         "(float[N] x) => (float[N] y, float[N] z)", "", "others"),
        (FuseQuickGelu(), "s = Sigmoid(x) y = Mul(x, s)", "(double[N] x) => (double[N] y)", "", "float32"),
        (FuseFusedConv(), "a = Conv(x, w) y = Relu(a) z = Neg(a)",
         "(float[N, 3, 4, 5] x) => (float[N, 4, 4, 5] y, float[N, 4, 4, 5] z)", CONV, "others"),
    ],
)  # fmt: skip
def test_left_alone(rule: Rule, nodes: str, ports: str, constants: str, reason: str) -> None:
    assert_declines(text(nodes, ports, constants), Fused(rule), reason=reason)


@pytest.mark.parametrize(
    ("rule", "nodes", "ports"),
    [
        (FuseFusedConv(), "m = Conv(d, w) y = Relu(m)", "(float[N, 3, 4, 5] x) => (float[N, 4, 4, 5] y)"),
        (FuseFusedMatMul(), "p = MatMul(d, v) y = Mul(p, two)", "(float[N, 3] x) => (float[N, 2] y)"),
    ],
)
def test_what_runs_in_int8_stays(rule: Rule, nodes: str, ports: str) -> None:
    quantized = "q = QuantizeLinear(x, s8, z8) d = DequantizeLinear(q, s8, z8) " + nodes.replace(
        "com.X(d)", "Conv(d, w)"
    )
    constants = "float s8 = {0.05}, uint8 z8 = {128}, "
    constants += CONV if "Conv" in quantized else "float[3, 2] v = {1, 2, 3, 4, 5, 6}, float two = {2}"
    assert_declines(text(quantized, ports, constants), Fused(rule), reason="int8")


def test_other_transposes_stay() -> None:
    nodes = "t = Transpose <perm = [2, 1, 0]> (k) y = MatMul(x, t)"
    assert_declines(text(nodes, "(float[4, 3, 4] x, float[5, 4, 4] k) => (float[4, 3, 5] y)"), Fused(FuseFusedMatMul()))


def domains(model: ir.Model) -> set[str]:
    return {node.domain for node in model.graph} | set(model.opset_imports)


def slimmed_for_it(model: ir.Model) -> PassResult:
    """What is fused after slimming."""
    Slim().run(model, Context())
    return FuseOnnxruntime().run(model, Context.of(ops="onnxruntime"))


def test_only_a_model_for_onnxruntime_gets_such_operators() -> None:
    names = {rule.name for rule in ONNXRUNTIME_RULES}
    assert not names & {rule.name for rule in RULES}
    for name in ("digits_cnn", "ppocr_cls", "magika"):
        path = models_zoo.get(name).path()
        plain, bound = load(path), load(path)
        actions = Slim().run(plain, Context()).actions
        assert "com.microsoft" not in domains(plain)
        assert not names & {action.rule for action in actions}
        more = slimmed_for_it(bound).actions
        assert domains(bound) == domains(plain) | {"com.microsoft"}
        assert len(bound.graph) < len(plain.graph)
        assert names & {action.rule for action in more}


def test_slimming_for_onnxruntime_twice_gives_the_same_bytes() -> None:
    once = load(models_zoo.get("ppocr_cls").path())
    slimmed_for_it(once)
    again = load(to_bytes(once))
    slimmed_for_it(again)
    assert to_bytes(again) == to_bytes(once)


def test_a_sum_and_its_normalization_stay_two_operators() -> None:
    """The one that onnxruntime has for both takes seven times as long (decision 014)."""
    ports = "(float[N, S, 4] x, float[N, S, 4] k) => (float[N, S, 4] y)"
    model = parse(
        text(
            "a = Add(x, k) y = LayerNormalization(a, s, b)",
            ports,
            "float[4] s = {1, 2, 3, 4}, float[4] b = {1, 0, 1, 0}",
        )
    )
    assert not slimmed_for_it(model).actions


def test_function_bodies_import_nothing() -> None:
    """The name is so long that the file would not grow: it is the import that is missing."""
    gate = "a_gate_" * 20
    model = parse(f"""<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[N, 4] x) => (float[N, 4] y) {{ y = local.f(x) }}
        <domain: "local", opset_import: ["" : 17]> f (a) => (b) {{ {gate} = Sigmoid(a) b = Mul(a, {gate}) }}""")
    declined = FuseOnnxruntime().run(model, Context.of(ops="onnxruntime")).declined
    assert any("function does not import" in each.reason for each in declined)
    assert set(model.opset_imports) == {"", "local"}
    (function,) = model.functions.values()
    assert [node.op_type for node in function] == ["Sigmoid", "Mul"]
