"""`verify` with limits, and `score`: each limit beside what was measured, and an honest answer where nothing was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import onnxslim
from onnxslim.errors import InputError
from onnxslim.evaluation import Parity, Tier
from onnxslim.execution import Latency, Run
from onnxslim.graph import parse, save
from onnxslim.report import plain
from onnxslim.samples import Sample

FASTER = Latency(0.5, 0.4, 0.8, "faster", 2.0, 1.0, 0.01, 100, 10, 1)


def classifier(shift: float = 0.0) -> ir.Model:
    """Chooses the larger of two numbers, ``shift`` in favour of the first."""
    return parse(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[1,2] x) => (float[1,2] y)
        <float[2] s = {{{shift}, 0}}> {{ y = Add(x, s) }}"""
    )


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    feeds = [rng.normal(size=(1, 2)).astype(np.float32) for _ in range(40)]
    return [Sample(f"{i:02d}", {"x": x}, int(x.argmax())) for i, x in enumerate(feeds)]


def right(run: Run, some: Iterable[Sample]) -> float:
    return float(np.mean([run(each.feed)["y"].argmax() == each.label for each in some]))


def test_every_limit_is_checked_and_each_that_broke_is_named(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxslim.api.verify.bench", lambda *_, **__: FASTER)
    found = onnxslim.verify(
        classifier(), classifier(0.3), samples=samples, metric="top1", max_drop=0.01, max_size=10, min_speedup=1.5,
        min_sqnr=0,
    )  # fmt: skip
    assert isinstance(found, Parity)
    assert found.parity.passed
    assert (found.tier, found.passed) == (Tier.LOSSY, False)
    assert [each.limit for each in found.checks] == ["min_sqnr", "max_drop", "max_size", "min_speedup"]
    assert [each.limit for each in found.broken] == ["max_drop", "max_size"]
    drop = found.drop
    assert drop is not None
    assert drop.bound is not None
    assert drop.bound > drop.value == 1 - found.scores["candidate"] > 0.01
    assert f"a drop of {drop.value:.4g}, with 90 % confidence at most" in str(found.differences[0])
    assert "instead of at most 0.01" in str(found.differences[0])
    assert f"max_size does not hold: {found.bytes['candidate']} bytes instead of at most 10" in str(
        found.differences[1]
    )
    speed = found.checks[3]
    assert (speed.measured, speed.holds) == (2.0, True)
    assert "the interval includes 1.5x" in speed.doubt
    assert plain(found.to_json())["latency"]["speedup"] == 2.0
    again = onnxslim.verify(
        classifier(), classifier(0.3), samples=samples, metric=right, max_drop=drop.value, tier="lossy"
    )
    assert again.passed
    assert "may be more than" in again.checks[0].doubt


def test_without_limits_it_is_the_parity_as_ever(samples: list[Sample]) -> None:
    found = onnxslim.verify(classifier(), classifier(0.3), samples=samples)
    assert (found.tier, found.checks, found.latency, found.scores) == (Tier.NUMERIC, (), None, {})
    assert found.differences == found.parity.differences != ()
    scored = onnxslim.verify(classifier(), classifier(0.3), samples=samples, metric="sqnr", tier="lossy")
    assert scored.scores["reference"] == float("inf") > scored.scores["candidate"]


def test_a_size_counts_external_data(tmp_path: Path) -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[1,512] x) => (float[1,512] y)
        <float[512] w = {0}> { y = Identity(x) }"""
    )
    model.graph.initializers["w"].const_value = ir.tensor(np.arange(512, dtype=np.float32), name="w")
    model.graph.node(0).op_type = "Add"
    model.graph.node(0).resize_inputs(2)
    model.graph.node(0).replace_input_with(1, model.graph.initializers["w"])
    save(model, tmp_path / "a.onnx", external_data=True)
    found = onnxslim.verify(model, tmp_path / "a.onnx", max_size=2048)
    (check,) = found.broken
    assert check.measured == sum(path.stat().st_size for path in tmp_path.iterdir()) > 2048
    assert found.size_ratio is not None


def test_a_candidate_that_does_not_run_breaks_what_cannot_be_measured(samples: list[Sample]) -> None:
    other = parse("""<ir_version: 8, opset_import: ["" : 17]> g (float[1,3] z) => (float[1,3] y) { y = Relu(z) }""")
    found = onnxslim.verify(classifier(), other, samples=samples, metric=right, max_drop=0.5, min_speedup=1)
    assert [each.limit for each in found.broken] == ["max_drop", "min_speedup"]
    assert all("does not run" in each.found for each in found.broken)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_drop": 0.1}, "max_drop needs a metric"),
        ({"metric": "top1", "samples": None}, "a metric needs samples"),
        ({"labels": "l.csv", "samples": None}, "labels need samples"),
        ({"max_drop": -1, "metric": "top1"}, "max_drop is -1"),
        ({"max_size": 0}, "max_size is 0"),
        ({"min_speedup": float("nan")}, "min_speedup is nan"),
        ({"metric": "sqnr", "max_drop": 1}, "the original scores inf"),
        ({"metric": "top2", "max_drop": 1}, "unknown metric"),
    ],
)
def test_limits_that_mean_nothing_are_refused(samples: list[Sample], given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        onnxslim.verify(classifier(), classifier(), **({"samples": samples} | given))  # type: ignore[arg-type]


def test_a_drop_from_chance_is_refused(samples: list[Sample]) -> None:
    blind = [dataclasses.replace(each, label=i % 2) for i, each in enumerate(samples)]
    with pytest.raises(InputError, match="no better than chance"):
        onnxslim.verify(classifier(), classifier(), samples=blind, metric="top1", max_drop=0.1)
    found = onnxslim.verify(classifier(), classifier(), samples=blind, metric="top1")
    assert "no better than chance" in found.warnings[0]


def test_a_score_has_an_interval_within_its_range(samples: list[Sample]) -> None:
    found = onnxslim.score(classifier(0.3), metric="top1", samples=samples, min_score=0.99)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < float(found) < found.high <= 1
    assert (found.samples, found.passed) == (40, False)
    assert onnxslim.score(classifier(0.3), metric=right, samples=samples).value == found.value
    same = onnxslim.score(classifier(0.3), metric="agreement", samples=samples, reference=classifier())
    assert same.value == found.value
    assert "no interval: 3 distinct samples" in str(onnxslim.score(classifier(), metric=right, samples=samples[:3]))
    with pytest.raises(InputError, match="give one with --reference"):
        onnxslim.score(classifier(), metric="sqnr", samples=samples)
    with pytest.raises(InputError, match="no use for a reference"):
        onnxslim.score(classifier(), metric="top1", samples=samples, reference=classifier())
