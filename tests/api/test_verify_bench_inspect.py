from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import models_zoo
import onnxslim
from onnxslim.errors import InputError
from onnxslim.evaluation import Tier
from onnxslim.graph import load

DIGITS = models_zoo.get("digits_cnn")
SAMPLES = DIGITS.samples("calibration").first(16)


@pytest.fixture(scope="module")
def slimmed() -> onnx.ModelProto:
    made = onnxslim.slim(DIGITS.path())
    assert made is not None
    return made


def test_a_slimmed_model_verifies(slimmed: onnx.ModelProto) -> None:
    for samples in (None, SAMPLES):
        parity = onnxslim.verify(DIGITS.path(), slimmed, samples=samples)
        assert parity.passed
        assert parity.tier is Tier.NUMERIC
        assert parity.evidence == ("random inputs" if samples is None else "samples")


def test_a_changed_weight_is_found(slimmed: onnx.ModelProto) -> None:
    wrong = load(slimmed)
    value = next(v for v in wrong.graph.initializers.values() if v.shape is not None and len(v.shape) == 4)
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[0] *= 1.01
    value.const_value = ir.tensor(array, name=value.name)
    parity = onnxslim.verify(DIGITS.path(), wrong)
    assert not parity.passed
    assert parity.differences[0].kind == "value"


def test_a_quantized_candidate_is_judged_as_lossy() -> None:
    quantized = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, bench=False).model
    parity = onnxslim.verify(DIGITS.path(), quantized, samples=SAMPLES)
    assert parity.tier is Tier.LOSSY
    assert parity.passed
    assert not onnxslim.verify(DIGITS.path(), quantized, samples=SAMPLES, tier="numeric").passed


def test_a_wrecked_quantized_candidate_does_not_pass() -> None:
    quantized = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, bench=False).model
    for value in quantized.graph.initializers.values():
        if (
            value.const_value is not None
            and value.const_value.dtype == ir.DataType.INT8
            and len(value.const_value.shape) == 4
        ):
            value.const_value = ir.tensor(value.const_value.numpy()[::-1].copy(), name=value.name)
    parity = onnxslim.verify(DIGITS.path(), quantized, samples=SAMPLES)
    assert not parity.passed
    assert "below the 5 dB of min_sqnr" in str(parity.differences[0])
    assert onnxslim.verify(DIGITS.path(), quantized, samples=SAMPLES, min_sqnr=-100).passed


def test_a_model_with_int8_weights_only_is_judged_as_lossy() -> None:
    stored = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, bench=False, weights_only=True).model
    parity = onnxslim.verify(DIGITS.path(), stored, samples=SAMPLES)
    assert parity.tier is Tier.LOSSY
    assert parity.passed
    assert onnxslim.verify(stored, stored, samples=SAMPLES).tier is Tier.NUMERIC


def test_a_floor_without_samples_is_refused(slimmed: onnx.ModelProto) -> None:
    with pytest.raises(InputError, match="min_sqnr needs samples"):
        onnxslim.verify(DIGITS.path(), slimmed, min_sqnr=80)


def test_bench_names_the_model_that_takes_other_inputs() -> None:
    other = models_zoo.get("mtcnn_pnet").path()
    with pytest.raises(InputError, match="the model does not take the inputs") as caught:
        onnxslim.bench(DIGITS.path(), other)
    assert str(other) in str(caught.value)


def test_an_unknown_tier_is_named(slimmed: onnx.ModelProto) -> None:
    with pytest.raises(InputError, match="did you mean 'numeric'"):
        onnxslim.verify(DIGITS.path(), slimmed, tier="numerik")


def test_bench_times_one_model_against_itself_or_another() -> None:
    latency = onnxslim.bench(DIGITS.path(), samples=SAMPLES)
    assert latency.a_ms > 0
    assert latency.low <= latency.ratio <= latency.high


def test_inspect_counts(tmp_path: Path) -> None:
    facts = onnxslim.inspect(DIGITS.path())
    proto = onnx.load(DIGITS.path())
    assert facts.bytes == DIGITS.path().stat().st_size
    assert facts.nodes == sum(node.op_type != "Constant" for node in proto.graph.node)
    assert facts.parameters >= sum(int(np.prod(t.dims)) for t in proto.graph.initializer)
    with pytest.raises(InputError, match="missing"):
        onnxslim.inspect(tmp_path / "missing.onnx")
