"""Lossy passes leave lengths alone that values decide: the durations of speech, the entries that NonZero finds."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import open_session
from onnxslim.passes.prune.prune_channels import PruneChannels
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.passes.sparse.sparsify import Sparsify
from onnxslim.pipeline import Context, Pass
from onnxslim.samples import Sample
from tests.passes.quantize.test_static_int8 import with_weights

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[t,32] x, float a, float b, float v, float c, float e) => (float[k,16] y)
<int64[1] flat = {-1}, float zero = {0}>
{
    h1 = MatMul(x, a)
    r1 = Relu(h1)
    h2 = MatMul(r1, b)
    r2 = Relu(h2)
    s = MatMul(r2, v)
    f = Reshape(s, flat)
    g1 = Greater(f, zero)
    i = NonZero(g1)
    k1 = Reshape(i, flat)
    rows = Gather(r2, k1)
    h3 = MatMul(rows, c)
    r3 = Relu(h3)
    y = MatMul(r3, e)
}
"""
SHAPES = {"a": (32, 64), "b": (64, 64), "v": (64, 1), "c": (64, 64), "e": (64, 16)}
DECIDING = {"a", "b"}


def data(seed: int, count: int = 16) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [Sample(str(i), {"x": rng.normal(size=(100, 32)).astype(np.float32)}) for i in range(count)]


def model() -> ir.Model:
    return with_weights(TEXT, SHAPES)


@pytest.mark.parametrize(
    "options",
    [
        QuantizeStatic(migrate=False),
        QuantizeStatic(keep_slow=True),
        QuantizeStatic(weights_only=True),
        QuantizeStatic(rounding="compensated", migrate=False),
        PruneChannels(ratio=0.3),
        Sparsify(sparsity=0.5),
        Sparsify(values="int4"),
    ],
    ids=lambda each: each.name,
)
def test_what_decides_a_length_stays_and_the_rest_does_not(options: Pass) -> None:
    before, after = model(), model()
    set_like(after, before)
    context = Context.of(samples=data(1), selection=data(2, 8), bench=False)
    outcome = options.run(after, context)
    assert outcome.modified
    reasons = [each for each in outcome.declined if "its values decide a length: " in each.reason]
    assert len(reasons) >= 2
    weights = {name for name in SHAPES if name not in after.graph.initializers or changed(before, after, name)}
    assert weights
    assert not weights & DECIDING
    a, b = open_session(before), open_session(after)
    for sample in data(3):  # unseen
        assert a.run(sample.feed)["y"].shape == b.run(sample.feed)["y"].shape


def set_like(model: ir.Model, other: ir.Model) -> None:
    for name, value in other.graph.initializers.items():
        model.graph.initializers[name].const_value = value.const_value


def changed(before: ir.Model, after: ir.Model, name: str) -> bool:
    one, other = (each.graph.initializers[name].const_value for each in (before, after))
    assert one is not None
    assert other is not None
    return not np.array_equal(one.numpy(), other.numpy())


def test_another_length_is_a_finding_and_the_other_samples_are_measured() -> None:
    before = model()
    after = before.clone()
    weight = after.graph.initializers["v"].const_value
    assert weight is not None
    after.graph.initializers["v"].const_value = ir.tensor(weight.numpy() + np.float32(1e-3), name="v")
    parity = Reference(before, [each.feed for each in data(4, 40)], tier=Tier.LOSSY).check(after)
    assert not parity.passed
    assert {each.kind for each in parity.differences} == {"shape"}
    assert 0 < len(parity.differences) < 40
    assert parity.fidelity[0].sqnr_db > 5
    assert "output 'y' is measured on the feeds on which its length is the same" in parity.notes
