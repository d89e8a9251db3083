"""Weights of int8 kernels get few integers: codes take fewer bytes, and the kernels are formed as before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.calibration import collect
from onnxslim.evaluation import Reference, Tier
from onnxslim.graph import parse, to_bytes
from onnxslim.graph.edit import constant_tensor
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.passes.sparse.encode import Encode
from onnxslim.passes.sparse.kernel_weights import KernelWeight, kernel_weights_of
from onnxslim.passes.sparse.store_weights import BUDGETS, StoreWeights
from onnxslim.passes.sparse.stored_kernel import BITS, StoredKernel, codebook, common_codes
from onnxslim.pipeline import Context
from onnxslim.samples import Sample
from tests.passes.quantize.test_static_int8 import kernels, quantized, with_weights

NET = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,16,8,8] x, float w1, float b1, float w2, float w3, float w4) => (float[N,24] y)
{
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  r1 = Relu(c1)
    c2 = Conv <pads = [1, 1, 1, 1], group = 2> (r1, w2)  r2 = Relu(c2)
    c3 = Conv(r2, w3)  r3 = Relu(c3)
    p = GlobalAveragePool(r3)  f = Flatten(p)
    y = Gemm <transB = 1> (f, w4)
}
"""
SHAPES = {"w1": (32, 16, 3, 3), "b1": (32,), "w2": (32, 16, 3, 3), "w3": (96, 32, 1, 1), "w4": (24, 96)}


def data(shape: Sequence[int], count: int, seed: int = 0) -> list[Sample]:
    """Inputs whose channels go together: there is something to make up by."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(5).normal(size=(shape[1], shape[1])) * np.geomspace(1, 0.05, shape[1])
    found = (np.moveaxis(rng.normal(size=shape), 1, -1) @ mix.T for _ in range(count))
    return [Sample(str(i), {"x": np.moveaxis(x, -1, 1).astype(np.float32)}) for i, x in enumerate(found)]


def integers(model: ir.Model) -> dict[str, np.ndarray]:
    found = {name: constant_tensor(value) for name, value in model.graph.initializers.items()}
    return {name: tensor.numpy() for name, tensor in found.items() if tensor is not None}


@pytest.mark.parametrize("per_tensor", [False, True])
def test_integers_become_few_and_nothing_else_changes(per_tensor: bool) -> None:
    original, samples = with_weights(NET, SHAPES), data((2, 16, 8, 8), 24)
    before, _ = quantized(original, samples[:8], QuantizeStatic(per_tensor=per_tensor), target="x86-vnni")
    reference = Reference(original, [each.feed for each in data((2, 16, 8, 8), 8, seed=1)], tier=Tier.LOSSY)
    after = before.clone()
    given = Context.of(samples=samples[:16], selection=samples[16:], original=original)
    result = StoreWeights(rest="small").run(after, given)
    names = {f"{name}_quantized" for name in ("w1", "w2", "w3", "w4")}
    assert {action.site for action in result.actions} == names
    old, new = integers(before), integers(after)
    assert [each.op_type for each in after.graph] == [each.op_type for each in before.graph]
    assert {name for name in old if old[name].tobytes() != new[name].tobytes()} == names
    for action in result.actions:
        made = new[action.site]
        assert len(np.unique(made)) <= 2 ** BITS[action.detail.partition(":")[0]]
        assert np.abs(made.astype(int)).max() <= np.abs(old[action.site].astype(int)).max()
    packed = after.clone()
    assert {action.site for action in Encode(encoding="folded").run(packed, Context()).actions} >= names
    assert kernels(packed) == kernels(before)
    assert kernels(packed)["QLinearConv"] == 3
    assert kernels(packed)["QGemm"] == 1
    assert len(to_bytes(packed)) < 0.9 * len(to_bytes(before))
    assert Reference(after, [samples[0].feed], tier=Tier.EXACT).check(packed).passed
    worst = [reference.check(each).worst_sqnr for each in (before, packed)]
    assert worst[0] - BUDGETS["small"].drop - 0.5 < worst[1]


@pytest.mark.parametrize("rest", ["int8", "float"])
def test_kernels_are_left_alone_where_that_is_asked_for(rest: Literal["int8", "float"]) -> None:
    before, _ = quantized(with_weights(NET, SHAPES), data((2, 16, 8, 8), 8))
    after = before.clone()
    StoreWeights(rest=rest).run(after, Context())
    assert to_bytes(after) == to_bytes(before)


def kernel(model: ir.Model) -> tuple[KernelWeight, StoredKernel]:
    (weight,) = kernel_weights_of(model, Context())
    return weight, StoredKernel(weight, common_codes([weight]))


def test_a_weight_that_is_shared_makes_up_for_all_that_it_multiplies() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,16,6,6] x, float w) => (float[N,16,1,1] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w)  r = Relu(a)
          b = Conv <pads = [1, 1, 1, 1]> (r, w)  s = Relu(b)  y = GlobalAveragePool(s) }"""
    samples = data((2, 16, 6, 6), 16)
    model, _ = quantized(with_weights(text, {"w": (16, 16, 3, 3)}), samples[:8])
    weight, item = kernel(model)
    assert len([node for node in weight.nodes if node.op_type == "Conv"]) == 2
    assert weight.request is not None
    assert len(weight.request.values) == 2
    rounded = {form: item.made(form) for form in BITS}
    item.fit(collect(model, samples[:8], [weight.request]))
    unseen = collect(model, samples[8:], [weight.request])
    for form, bits in BITS.items():
        assert len(np.unique(item.made(form))) <= 2**bits
        plain, made = (item.error_of(each, unseen) for each in (rounded[form], item.made(form)))
        assert made < 0.6 * plain
    assert item.error("int8") == 0
    assert item.error("4 bits") > 3 * item.error("5 bits") > 9 * item.error("6 bits") > 0
    assert item.bytes("4 bits") < item.bytes("5 bits") < item.bytes("6 bits") < item.bytes("int8")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("d = DequantizeLinear(w, s, z)  y = MatMul(x, d)", "its zero point is not 0"),
        ("d = DequantizeLinear(w, s)  y = MatMul(x, d)  e = MatMulInteger(u, w)", "MatMulInteger reads its integers"),
        ("d = DequantizeLinear <axis = 0> (w, t)  y = MatMul(x, d)", "its scales go along what is summed over"),
        ("d = DequantizeLinear(w, s)  e = MatMul(x, d)  y = Add(e, d)", "Add is no contraction that is known"),
        ("d = DequantizeLinear(w, s)  y = MatMul(x, d)  e = MatMul(d, x)", "it is read in different ways"),
    ],
)
def test_what_is_not_known_stays_with_a_reason(body: str, reason: str) -> None:
    model = parse(f"""<ir_version: 8, opset_import: ["" : 17]> g (float[64,64] x, uint8[64,64] u) => (float[64,64] y)
        <float s = {{0.1}}, int8 z = {{3}}> {{ {body} }}""")
    made: dict[str, np.ndarray] = {
        "w": np.arange(4096).reshape(64, 64).astype(np.int8),
        "t": np.linspace(1, 2, 64, dtype=np.float32),
    }
    for name, array in made.items():
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape))
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        model.graph.register_initializer(value)
        for node in model.graph:
            for slot, old in enumerate(node.inputs):
                if old is not None and old.name == name:
                    node.replace_input_with(slot, value)
    context = Context()
    assert not list(kernel_weights_of(model, context))
    assert reason in context.declined[0].reason


def test_a_codebook_is_the_best_of_all() -> None:
    worth = np.zeros(256)
    worth[128 - 4 : 128 + 6] = np.random.default_rng(3).random(10)
    numbers = np.arange(-128, 128)

    def error(codes: Sequence[int]) -> float:
        return float(worth @ np.square(numbers[:, np.newaxis] - np.array(codes)).min(axis=1))

    best = min(error(each) for each in itertools.combinations(range(-4, 6), 4) if 0 in each)
    assert error(codebook(worth, 4).astype(int).tolist()) == pytest.approx(best)
