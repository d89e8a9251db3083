"""What is judged, in which order, and what is kept; see also the prunings and compressions of test_prune.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx_ir as ir
import pytest

import onnxslim
from onnxslim.evaluation import Tier
from onnxslim.evaluation.measurement import Rejection
from onnxslim.evaluation.metrics import sqnr
from onnxslim.execution import Run, open_session
from onnxslim.pipeline import Action, Pass, PassResult, Step
from onnxslim.samples import Sample, split
from onnxslim.search import Candidate, Fallback
from tests.passes.sparse.test_fit import NETS, correlated

MODEL = ir.Model(ir.Graph([], [], nodes=[]), ir_version=8)


@dataclass(frozen=True)
class Cut(Pass):
    """Stands for a lossy pass, or for one of its stages."""

    name: ClassVar[str] = "prune"
    tier: ClassVar[Tier] = Tier.LOSSY
    stage: int = 3


@dataclass(frozen=True)
class Round(Pass):
    name: ClassVar[str] = "quantize"
    tier: ClassVar[Tier] = Tier.LOSSY


@dataclass(frozen=True)
class Pack(Pass):
    name: ClassVar[str] = "encode"
    tier: ClassVar[Tier] = Tier.EXACT


def settled(
    passes: Sequence[Pass], poor: Callable[[list[str]], bool], bad: Callable[[list[str]], bool] = lambda _: False
) -> tuple[Candidate, Candidate | None, list[str]]:
    """What is kept, what was dropped, and what was judged and timed, in order."""
    looked: list[str] = []

    def named(some: Sequence[Pass]) -> list[str]:
        return [f"{each.name}{each.stage}" if isinstance(each, Cut) else each.name for each in some]

    def judge(some: Sequence[Pass]) -> Candidate:
        names = named(some)
        looked.append("+".join(names))
        steps = [
            Step(each.name, {}, PassResult(True, (Action("a", ("b",)),)), 0.0, stages)
            for each in some
            for stages in [tuple(Cut(i) for i in (1, 2, 3)) if each == Cut(3) else ()]
        ]
        no = Rejection("poor", True) if poor(names) else Rejection("large") if "large" in names else None
        return Candidate(model=MODEL, steps=tuple(steps), rejection=no, notes=tuple(names))

    def time(trial: Candidate, some: Sequence[Pass]) -> Candidate:
        looked.append("time")
        return replace(trial, rejection=Rejection("slow")) if trial.rejection is None and bad(named(some)) else trial

    kept, dropped = Fallback(judge, time).best(passes)
    return kept, dropped, looked


def why(tried: Candidate) -> str:
    return "" if tried.rejection is None else tried.rejection.reason


def test_what_holds_is_judged_once() -> None:
    kept, dropped, looked = settled([Cut(), Round(), Pack()], lambda _: False)
    assert (kept.reason, dropped, looked) == ("", None, ["prune3+quantize+encode", "time"])


def test_stages_are_taken_from_the_least_on_and_no_further_than_they_hold() -> None:
    kept, dropped, looked = settled([Cut(), Pack()], lambda names: "prune3" in names)
    assert looked == ["prune3+encode", "time", "prune1+encode", "prune2+encode", "time"]
    assert kept.notes == ("prune2", "encode")
    assert kept.reason == "stage 2 of 3 was kept, because a later one does not hold: poor"
    assert dropped is not None
    assert dropped.notes == ("prune3", "encode")
    kept, dropped, looked = settled([Cut()], lambda names: names in (["prune1"], ["prune3"]))
    assert looked == ["prune3", "time", "prune1"]  # the second one would hold, and is not looked at
    assert (why(kept), dropped) == ("poor", None)


def test_the_last_of_several_passes_is_the_first_to_go() -> None:
    kept, dropped, looked = settled([Cut(), Round(), Pack()], lambda _: False, lambda names: "quantize" in names)
    assert looked == ["prune3+quantize+encode", "time", "prune3+encode", "time"]
    assert kept.reason == "quantize was left out: slow"
    assert dropped is not None
    kept, _, looked = settled([Cut(), Round()], lambda names: names[0] in ("prune2", "prune3"))
    assert looked == ["prune3+quantize", "time", "prune3", "time", "prune1", "prune2", "time"]
    assert kept.notes == ("prune1",)


def test_speed_does_not_send_back_to_the_stages_and_a_slow_stage_is_not_kept() -> None:
    kept, dropped, looked = settled([Cut()], lambda _: False, lambda _: True)
    assert (why(kept), dropped, looked) == ("slow", None, ["prune3", "time"])
    kept, dropped, _ = settled([Cut()], lambda names: names == ["prune3"], lambda names: names == ["prune2"])
    assert (why(kept), dropped) == ("poor", None)


def test_zeros_are_as_many_as_hold_on_unseen_samples() -> None:
    proto, shape = NETS["gemm"]
    given = correlated(shape, 48)
    reference, report_part = open_session(proto), set(split(given).report.ids)

    def metric(run: Run, some: Iterable[Sample]) -> float:
        level = sqnr(reference.run)(run, some)
        return float(level >= (16 if {each.id for each in some} & report_part else 6))

    result = onnxslim.sparsify(proto, samples=given, metric=metric, max_drop=0.5, bench=False, min_sqnr=-99)
    report = result.report
    assert report.decision == "sparsified", report.reason
    assert "was kept, because a later one does not hold: the metric falls" in report.reason
    assert report.scores == {"input": 1.0, "output": 1.0}
    assert report.parity is not None
    assert report.parity.sqnr is not None
    assert report.parity.sqnr >= 16
    assert report.output is not None
    assert sum(each.zeros for each in report.output.tensors) > 0.15 * report.output.parameters
    assert pytest.approx(1.0) == report.scores["output"]
