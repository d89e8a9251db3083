"""The verbs keep only what is right, smaller and not slower, and say what they decided and why."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import models_zoo
import onnxslim
from onnxslim import execution
from onnxslim.api.slim import simplify
from onnxslim.errors import CheckFailed, InputError
from onnxslim.evaluation import Tier
from onnxslim.execution import Latency, open_session
from onnxslim.graph import load, to_bytes
from onnxslim.graph.edit import add_initializer
from onnxslim.pipeline import Action, Context, Pass, PassResult, RunConfig, get_pass
from onnxslim.samples import Sample
from tests.passes.quantize.test_static_int8 import with_weights

DIGITS = models_zoo.get("digits_cnn")
SAMPLES = DIGITS.samples("calibration").first(48)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    path = tmp_path / "digits.onnx"
    path.write_bytes(DIGITS.path().read_bytes())
    return path


@pytest.fixture(scope="module")
def compressed() -> onnxslim.Result:
    return onnxslim.compress(DIGITS.path(), samples=SAMPLES, bench=False)


QUANTIZE = ["quantize", "quantize-lstm", "choose-forms", "store", "encode"]
"""The passes of the verb after slimming."""


def faked(ratio: float) -> Latency:
    verdict = "slower" if ratio > 1 else "faster"
    return Latency(ratio, ratio, ratio, verdict, 1.0, ratio, 0.01, 100, 10, 1)  # type: ignore[arg-type]


def test_compress_makes_the_digits_cnn_smaller_and_keeps_its_score(compressed: onnxslim.Result) -> None:
    model, report = compressed
    assert report.decision == "compressed"
    assert report.input.bytes is not None
    assert report.output is not None
    assert report.output.bytes is not None
    assert report.output.bytes * 3 < report.input.bytes
    assert report.parity is not None
    assert report.parity.evidence == "samples"
    order = ["slim", "prune", *QUANTIZE]
    names = [step.name for step in report.steps]
    assert names[0] == "slim"
    assert names == [each for each in order if each in names]
    before, after = (DIGITS.score(open_session(each).run) for each in (DIGITS.path(), model))
    assert after > before - 0.01


def test_a_printed_result_is_its_headline(compressed: onnxslim.Result) -> None:
    headline = str(compressed.report).splitlines()[0]
    end = "result.save(PATH) writes it; print(result.report) shows the report>"
    assert str(compressed) == repr(compressed) == f"<Result: {headline}; {end}"


def test_the_saved_file_is_the_model_of_the_result(compressed: onnxslim.Result, tmp_path: Path) -> None:
    compressed.save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == to_bytes(compressed.model)
    onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)


def test_slim_returns_an_ordinary_proto_and_leaves_the_callers_alone() -> None:
    proto = onnx.load(DIGITS.path())
    before = proto.SerializeToString(deterministic=True)
    slimmed = onnxslim.slim(proto)
    assert isinstance(slimmed, onnx.ModelProto)
    assert proto.SerializeToString(deterministic=True) == before
    assert len(slimmed.graph.node) < len(proto.graph.node)
    slimmed.ir_version = 9  # mutable


@pytest.mark.parametrize("form", ["path", "str", "bytes", "proto", "ir"])
def test_every_form_of_a_model_gives_the_same_result(form: str, digits: Path) -> None:
    forms: dict[str, Any] = {
        "path": digits,
        "str": str(digits),
        "bytes": digits.read_bytes(),
        "proto": onnx.load(digits),
        "ir": load(digits),
    }
    slimmed = onnxslim.slim(forms[form])
    expected = onnxslim.slim(digits)
    assert slimmed is not None
    assert expected is not None
    assert slimmed.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def test_slim_in_place_works_as_its_callers_do_it(digits: Path) -> None:
    before = digits.stat().st_size
    assert onnxslim.slim(str(digits), str(digits)) is None
    assert digits.stat().st_size < before
    assert onnxslim.slim(model=digits, output_model=digits) is None
    assert list(digits.parent.iterdir()) == [digits]


def test_the_other_verbs_refuse_to_overwrite_their_input_unasked(digits: Path) -> None:
    before = digits.read_bytes()
    link = digits.parent / "link.onnx"
    link.symlink_to(digits)
    for output in (digits, link):
        with pytest.raises(InputError, match=r"output is the input.*--in-place"):
            onnxslim.compress(digits, output, samples=SAMPLES, bench=False)
    assert digits.read_bytes() == before
    result = onnxslim.quantize(digits, digits, samples=SAMPLES, bench=False, in_place=True)
    assert digits.read_bytes() == to_bytes(result.model)


def test_nothing_else_that_was_given_is_overwritten_either(digits: Path, tmp_path: Path) -> None:
    folder, array, recipe = tmp_path / "samples", tmp_path / "samples.npy", tmp_path / "r.toml"
    folder.mkdir()
    feeds = [sample.feed for sample in SAMPLES.first(8)]
    for index, feed in enumerate(feeds):
        np.savez(folder / f"{index}.npz", **feed)  # type: ignore[arg-type]
    np.save(array, np.concatenate([next(iter(feed.values())) for feed in feeds]))
    recipe.write_text('[[pass]]\nname = "slim"\n')
    external = tmp_path / "external.onnx"
    onnx.save(onnx.load(digits), external, save_as_external_data=True, location="weights.bin")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for output, samples, source in (
        (folder / "0.npz", folder, digits),
        (array, array, digits),
        (recipe, array, digits),
        (tmp_path / "weights.bin", array, external),
    ):
        with pytest.raises(InputError, match=r"would overwrite the (samples|recipe)|the input's data file"):
            onnxslim.compress(source, output, samples=samples, recipe=recipe, bench=False, in_place=True)
    with pytest.raises(InputError, match="a data file that the model's weights lie in"):
        onnxslim.save(load(external), tmp_path / "weights.bin")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_unchanged_proto_comes_back_to_the_bit() -> None:
    once = onnxslim.slim(DIGITS.path())
    assert once is not None
    twice = onnxslim.slim(once)
    assert twice is not None
    assert twice is not once
    assert twice.SerializeToString(deterministic=True) == once.SerializeToString(deterministic=True)


@pytest.mark.parametrize("settings", [{"min_sqnr": float("nan")}, {"threads": 0}, {"threads": 2**31}])
def test_settings_are_checked_as_the_command_line_does(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        onnxslim.quantize(DIGITS.path(), samples=SAMPLES, **settings)


def test_misspelt_and_misplaced_options_are_named() -> None:
    with pytest.raises(InputError, match="did you mean 'search'"):
        onnxslim.compress(DIGITS.path(), samples=SAMPLES, sarch=False)  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"quantize has no option 'smaples'.*did you mean 'samples'"):
        onnxslim.quantize(DIGITS.path(), smaples=SAMPLES)
    with pytest.raises(InputError, match="did you mean 'samples'"):
        onnxslim.compress(DIGITS.path(), recipe=[], sampels=SAMPLES)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="did you mean 'top1'"):
        onnxslim.quantize(DIGITS.path(), samples=SAMPLES, metric="topl")


@pytest.mark.slow
def test_compress_takes_the_options_of_quantize_and_samples_as_an_array() -> None:
    array = np.concatenate([next(iter(sample.feed.values())) for sample in SAMPLES])
    made = onnxslim.compress(DIGITS.path(), samples=array, weights_only=True, bench=False)
    assert made.report.decision in ("compressed", "weights in few bits")
    assert made.report.reason == ""
    assert made.report.calibrated + made.report.held_back < len(array)


def test_each_count_of_samples_names_what_it_counts() -> None:
    array, scored = np.random.default_rng(0).random((280, 1, 8, 8), np.float32), set()

    def metric(run: Any, samples: Any) -> float:
        scored.add(sum(1 for _ in samples))
        return 1.0

    made = onnxslim.quantize(DIGITS.path(), samples=array, metric=metric, weights_only=True, bench=False).report
    assert made.parity is not None
    assert (made.parity.feeds, made.held_back, made.held_out, scored) == (64, 64, 70, {70})
    lines = str(made).splitlines()
    assert lines[0].endswith("on 64 held-out samples")
    assert "samples: 140 to calibrate, 70 held out to judge the result" in lines
    assert "metric: 1 -> 1 on 70 held-out samples (higher is better)" in lines


BOXES = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,16,16] x, float a, float b, float l, float s) => (int64[k,3] y)
<int64[3] rows = {1,4,-1}, int64[3] row = {1,1,-1}, int64[1] most = {1000}, float[1] iou = {1}, float[1] score = {0.1}>
{
    c1 = Conv <pads = [1,1,1,1]> (x, a)
    r1 = Relu (c1)
    c2 = Conv <pads = [1,1,1,1]> (r1, b)
    r2 = Relu (c2)
    c3 = Conv (r2, l)
    c4 = Conv (r2, s)
    l1 = Reshape (c3, rows)
    boxes = Transpose <perm = [0,2,1]> (l1)
    scores = Reshape (c4, row)
    y = NonMaxSuppression (boxes, scores, most, iou, score)
}
"""


def test_what_was_not_quantized_says_the_most_frequent_reason() -> None:
    shapes = {"a": (16, 3, 3, 3), "b": (16, 16, 3, 3), "l": (4, 16, 1, 1), "s": (1, 16, 1, 1)}
    generator = np.random.default_rng(0)
    samples = [{"x": generator.standard_normal((1, 3, 16, 16), np.float32)} for _ in range(16)]
    model = with_weights(BOXES, shapes)
    made = onnxslim.quantize(model, samples=samples, keep_slow=True, bench=False).report
    assert made.decision == "kept float"
    assert re.fullmatch(r"nothing could be quantized: its values decide a length \([34] of 4\)", made.reason)
    assert f"why: {made.reason}" in str(made).splitlines()


def test_what_exporters_write_about_their_nodes_is_noted_where_it_is_much() -> None:
    model = load(DIGITS.path())
    model.graph[0].metadata_props["trace"] = "line\n" * 20_000
    said = "100,005 bytes of it are the exporter's notes on its nodes"
    assert any(said in note for note in simplify(model).report.notes)
    assert not any("notes on its nodes" in note for note in simplify(model, strip=True).report.notes)
    assert not any("notes on its nodes" in note for note in simplify(DIGITS.path()).report.notes)


def test_a_drop_that_the_samples_cannot_show_is_noted() -> None:
    result = onnxslim.quantize(
        DIGITS.path(), samples=SAMPLES, metric=lambda run, samples: 1.0, max_drop=0.01, bench=False, search=False
    )
    assert any("is less than one of the" in note for note in result.report.notes)


def test_slimming_the_slimmed_writes_the_very_same_bytes(digits: Path, tmp_path: Path) -> None:
    onnxslim.slim(digits, tmp_path / "once.onnx")
    result = simplify(tmp_path / "once.onnx", tmp_path / "twice.onnx")
    assert result.report.decision == "unchanged"
    assert result.report.reason == "no rewrite applies"
    assert (tmp_path / "twice.onnx").read_bytes() == (tmp_path / "once.onnx").read_bytes()


@dataclass(frozen=True)
class Bloat(Pass):
    """Adds an initializer that nothing needs."""

    name: ClassVar[str] = "bloat"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        if context.allow(Action("bloat", ("ballast",))):
            add_initializer(model.graph, "ballast", np.arange(1e6))
        return context.result()


def test_a_larger_result_is_never_written(digits: Path, tmp_path: Path) -> None:
    result = simplify(digits, tmp_path / "out.onnx", recipe=[Bloat()])
    assert result.report.decision == "unchanged"
    assert "would be larger" in result.report.reason
    assert (tmp_path / "out.onnx").read_bytes() == digits.read_bytes()


def test_a_slower_result_is_dropped_for_the_slimmed_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(execution, "compare_latency", lambda *args, **kwargs: faked(1.25))
    result = onnxslim.quantize(DIGITS.path(), tmp_path / "out.onnx", samples=SAMPLES)
    assert result.report.decision == "kept float"
    assert "slower here: 0.80x" in result.report.reason
    assert result.report.attempt is not None
    assert result.report.attempt.latency == faked(1.25)
    assert [step.name for step in result.report.attempt.steps] == QUANTIZE
    assert [step.name for step in result.report.steps] == ["slim", "encode"]
    assert result.report.latency is None
    assert result.report.parity is not None
    assert result.report.parity.tier is Tier.NUMERIC
    ops = {node.op_type for node in load(tmp_path / "out.onnx").graph}
    assert "QuantizeLinear" not in ops
    assert "BatchNormalization" not in ops  # slimmed
    assert load(tmp_path / "out.onnx").opset_imports[""] == DIGITS.opset


def test_a_result_that_drowns_in_noise_is_dropped() -> None:
    result = onnxslim.compress(DIGITS.path(), samples=SAMPLES, bench=False, search=False, min_sqnr=120)
    assert result.report.decision == "kept float"
    assert "less than 120 dB" in result.report.reason


def test_where_int8_is_too_noisy_weights_alone_are_stored_in_few_bits() -> None:
    result = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, bench=False, search=False, min_sqnr=45)
    assert result.report.decision == "weights in few bits"
    assert "SQNR" in result.report.reason
    assert result.report.parity is not None
    assert result.report.parity.worst_sqnr >= 45
    assert "QuantizeLinear" not in {node.op_type for node in result.model.graph}


def test_without_verification_the_report_still_tells_before_from_after() -> None:
    verified, unverified = (simplify(DIGITS.path(), verify=verify).report for verify in (True, False))
    assert unverified.evidence == "none"
    assert unverified.parity is None
    assert (unverified.input, unverified.output) == (verified.input, verified.output)
    model = load(DIGITS.path())
    before = to_bytes(model)
    onnxslim.Pipeline([get_pass("slim")()], RunConfig(verify=False)).run(model)
    assert to_bytes(model) == before


@pytest.mark.parametrize("form", ["samples", "dicts", "arrays", "function"])
def test_samples_may_be_what_python_users_have(form: str) -> None:
    feeds = [sample.feed for sample in SAMPLES.first(12)]
    arrays = [next(iter(feed.values())) for feed in feeds]
    forms: dict[str, Any] = {
        "samples": [Sample(str(i), feed) for i, feed in enumerate(feeds)],
        "dicts": feeds,
        "arrays": arrays,
        "function": lambda: (feed for feed in feeds),
    }
    result = onnxslim.quantize(DIGITS.path(), samples=forms[form], bench=False)
    assert result.report.decision == "quantized"
    assert result.report.calibrated + result.report.held_back <= 12


@pytest.mark.parametrize("samples", [iter([]), {"x": 1}, 3])
def test_what_cannot_be_read_twice_is_refused(samples: Any) -> None:
    with pytest.raises(InputError, match=r"only once|no source of samples"):
        onnxslim.quantize(DIGITS.path(), samples=samples, bench=False)


def test_nothing_to_quantize_keeps_fp32() -> None:
    result = onnxslim.quantize(
        DIGITS.path(), samples=SAMPLES, bench=False, exclude=("re:.", "re:nowhere$"), rest="float"
    )
    assert result.report.decision == "kept float"
    assert result.report.reason == "nothing could be quantized: excluded (9 of 9)"  # what matches nothing is no place


def test_calibration_never_sees_the_samples_that_are_reported_on() -> None:
    seen: set[str] = set()

    @dataclass(frozen=True)
    class Spy(Pass):
        """Takes note of the samples it is given."""

        name: ClassVar[str] = "spy"
        tier: ClassVar[Tier] = Tier.LOSSY

        def run(self, model: ir.Model, context: Context) -> PassResult:
            assert context.samples is not None
            seen.update(sample.id for sample in context.samples)
            return context.result()

    scored: set[str] = set()

    def metric(run: object, samples: object) -> float:
        scored.update(sample.id for sample in samples)  # type: ignore[attr-defined]
        return 0.5

    result = onnxslim.compress(
        DIGITS.path(), samples=SAMPLES, recipe=[get_pass("slim")(), Spy()], metric=metric, bench=False
    )
    assert result.report.scores == {"input": 0.5, "output": 0.5}
    assert seen
    assert scored
    assert not seen & scored


def test_few_samples_are_said_to_bear_no_claim() -> None:
    few = [Sample(sample.id, sample.feed) for sample in SAMPLES.first(4)]
    result = onnxslim.compress(DIGITS.path(), samples=few, bench=False)
    assert any("no change of a score can be claimed" in note for note in result.report.notes)


def test_samples_are_needed_to_quantize(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs samples"):
        onnxslim.compress(DIGITS.path(), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Wreck(Pass):
    """Breaks the model without an action to refuse."""

    name: ClassVar[str] = "wreck"

    def run(self, model: ir.Model, context: Context) -> PassResult:
        model.graph.outputs.pop()
        return PassResult(modified=True)


def test_a_failed_check_writes_nothing(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed):
        simplify(digits, tmp_path / "out.onnx", recipe=[Wreck()])
    assert [path.name for path in tmp_path.iterdir()] == ["digits.onnx"]


def test_a_recipe_file_and_its_record(digits: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[pass]]\nname = "slim"\n[[pass]]\nname = "quantize"\noperators = ["Conv"]\n')
    result = onnxslim.compress(digits, tmp_path / "out.onnx", samples=SAMPLES, recipe=recipe, record=True, bench=False)
    assert 'operators = ["Conv"]' in load(tmp_path / "out.onnx").metadata_props["onnxslim.recipe"]
    assert {node.op_type for node in result.model.graph} >= {"QuantizeLinear", "Gemm"}


def test_external_data_stays_external(tmp_path: Path) -> None:
    onnx.save(onnx.load(DIGITS.path()), tmp_path / "in.onnx", save_as_external_data=True, location="in.data")
    onnxslim.slim(tmp_path / "in.onnx", tmp_path / "out.onnx", external_data=True)
    x = next(iter(SAMPLES)).feed
    expected = open_session(DIGITS.path()).run(x)
    for name, array in open_session(tmp_path / "out.onnx").run(x).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)
    assert (tmp_path / "out.onnx").stat().st_size < DIGITS.path().stat().st_size / 4


@pytest.mark.parametrize(
    ("target", "activation", "largest"),
    [("arm64", np.int8, 127), ("x86-avx2", np.uint8, 63), ("x86-vnni", np.uint8, 127)],
)
def test_another_machine_has_its_own_types_and_its_speed_is_not_claimed(
    monkeypatch: pytest.MonkeyPatch, target: str, activation: type, largest: int
) -> None:
    here = "x86-vnni" if target != "x86-vnni" else "arm64"
    monkeypatch.setattr("onnxslim.execution.target.host_target", lambda: execution.TARGETS[here])
    result = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, target=target)
    report = result.report
    assert report.decision == "quantized"
    assert report.latency is None
    assert report.target == target
    assert any("not measured" in note and target in note for note in report.notes)
    assert report.parity is not None
    assert report.parity.passed
    constants = {name: value.const_value for name, value in result.model.graph.initializers.items()}
    for node in result.model.graph:
        tensors = [constants.get(x.name or "") for x in node.inputs if x is not None]
        if node.op_type == "QuantizeLinear":
            assert tensors[2] is not None
            assert tensors[2].dtype.numpy() == activation
        elif node.op_type == "DequantizeLinear" and tensors[0] is not None and tensors[0].dtype == ir.DataType.INT8:
            assert np.abs(tensors[0].numpy().astype(int)).max() == largest


def test_an_unknown_machine_is_refused_with_the_near_ones() -> None:
    with pytest.raises(InputError, match=r"there is no target .arm.[^$]*arm64"):
        onnxslim.quantize("model.onnx", samples="samples", target="arm")


def test_a_metric_that_falls_too_far_keeps_fp32() -> None:
    """The metric of the original is 1 on every part; that of whatever is quantized is a little less."""

    def is_float(run: Any, samples: Any) -> float:
        values = {float(np.abs(run(sample.feed)["logits"]).sum()) for sample in samples}
        return 1.0 if values <= exact else 0.97

    model = open_session(DIGITS.path())
    exact = {float(np.abs(model.run(sample.feed)["logits"]).sum()) for sample in SAMPLES}
    options: dict[str, Any] = {"samples": SAMPLES, "metric": is_float, "search": False, "bench": False}
    kept = onnxslim.quantize(DIGITS.path(), max_drop=0.01, **options).report
    assert kept.decision == "kept float"
    assert "the metric falls by more than 0.01 on held-out samples: 1 -> 0.97" in kept.reason
    assert kept.attempt is not None
    assert kept.attempt.scores == {"input": 1.0, "output": 0.97}
    assert onnxslim.quantize(DIGITS.path(), max_drop=0.05, **options).report.decision == "quantized"


def test_what_is_slower_on_all_threads_is_dropped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(*args: Any, threads: int, **kwargs: Any) -> Latency:
        return dataclasses.replace(faked(0.5 if threads == 1 else 1.25), threads=threads)

    monkeypatch.setattr(execution, "compare_latency", fake)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    report = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, search=False).report
    assert report.decision == "kept float"
    assert report.reason == "int8 is slower here on 2 threads: 0.80x the speed of the original"
    assert report.attempt is not None
    assert report.attempt.parallel is not None


def test_a_bound_on_the_metric_needs_one() -> None:
    with pytest.raises(InputError, match="max_drop needs a metric"):
        onnxslim.quantize(DIGITS.path(), samples=SAMPLES, max_drop=0.01)
