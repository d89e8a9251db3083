from __future__ import annotations

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from onnxslim.pipeline import Action, Declined, Guilty, PassResult, Step
from onnxslim.report import ModelFacts, PortFacts, Report, dumps, plain, to_json, versions
from onnxslim.report.terminal import TOP_REASONS, latency_line, print_facts, print_report, size
from onnxslim.runtime import Latency, Parity, Tier

BEFORE = ModelFacts(
    path="in[red].onnx", bytes=10_900_000, nodes=860, ops={"Conv": 60, "BatchNormalization": 12}, opsets={"": 12},
    ir_version=7, producer="paddle", inputs=(PortFacts("x", "float32", ("N", None, 3)),),
    outputs=(PortFacts("y", "float32", None),), parameters=2_700_000, weight_bytes=10_800_000,
)  # fmt: skip
AFTER = dataclasses.replace(BEFORE, path="out.onnx", bytes=3_000_000, nodes=848, ops={"Conv": 60}, opsets={"": 13})
DECLINED = tuple(Declined("fold", f"Shape {i}", f"reason {i % (TOP_REASONS + 2)}") for i in range(30))
STEP = Step("slim", {"ratio": 0.5}, PassResult(True, (Action("fuse", ("y",), "Conv a"),), DECLINED), 0.25)
LATENCY = Latency(
    ratio=0.5, low=0.4, high=0.625, verdict="faster", a_ms=10.0, b_ms=5.0, floor=0.01, trials=100,
    processes=10, threads=1,
)  # fmt: skip
REPORT = Report(
    command="compress", decision="compressed", input=BEFORE, output=AFTER, steps=(STEP,),
    guilty=(Guilty(Action("fold", ("z",), "Add b"), "output 'y' differs"),),
    parity=Parity(True, Tier.NUMERIC, (), feeds=3, evidence="samples", worst=0.25), latency=LATENCY, evidence="samples",
    notes=("only 5 samples: no drop can be claimed",), scores={"input": 0.96, "output": math.nan}, versions=versions(),
)  # fmt: skip


def text(report: Report, *, explain: bool = False) -> str:
    out = io.StringIO()
    print_report(report, Console(file=out, width=120), explain=explain)
    return out.getvalue()


def test_json_is_strict_and_in_the_order_of_the_fields() -> None:
    data = to_json(REPORT)
    assert list(data) == ["schema", *(field.name for field in dataclasses.fields(Report))]
    assert json.loads(dumps(data), parse_constant=pytest.fail) == data
    assert data["parity"]["passed"] is True
    assert data["parity"]["tier"] == "numeric"
    assert data["scores"] == {"input": 0.96, "output": "NaN"}
    assert data["steps"][0]["result"]["actions"][0]["rule"] == "fuse"


def test_plain_keeps_numbers_and_refuses_the_unknown() -> None:
    assert plain((np.int64(3), np.bool_(True), np.array([math.inf, -math.inf]), Tier.LOSSY)) == [
        3,
        True,
        ["Infinity", "-Infinity"],
        "lossy",
    ]
    with pytest.raises(TypeError, match="bytes"):
        plain(b"x")
    with pytest.raises(ValueError, match="JSON"):
        dumps({"x": math.nan})


def test_the_terminal_shows_before_after_and_the_evidence() -> None:
    said = text(REPORT)
    assert "10.90 MB" in said
    assert "x0.275" in said
    assert "in[red].onnx" in said  # a file name is no markup
    assert "2.00x faster" in said
    assert "interval 1.600 to 2.500" in said
    assert "parity: passed (numeric)" in said
    assert "taken back fold|z|Add b: output 'y' differs" in said
    assert "BatchNormalization" in said
    assert "no drop can be claimed" in said


def test_declined_are_grouped_by_reason_and_listed_on_demand() -> None:
    short, full = text(REPORT), text(REPORT, explain=True)
    assert "2 more reasons" in short
    assert "Shape 29" not in short
    assert all(f"Shape {index}" in full for index in range(30))
    assert "fuse at Conv a" in full


def test_a_report_without_output_shows_the_input() -> None:
    said = text(dataclasses.replace(REPORT, output=None, parity=None, latency=None, decision="unchanged", reason="why"))
    assert "compress: unchanged: why" in said
    assert "float32[N, ?, 3]" in said


def test_unverified_is_said() -> None:
    assert "parity: not checked" in text(dataclasses.replace(REPORT, parity=None, evidence="none"))


def test_facts() -> None:
    out = io.StringIO()
    print_facts(BEFORE, Console(file=out, width=120))
    assert "float32[unknown rank]" in out.getvalue()


def test_latency_claims_only_what_the_verdict_says() -> None:
    assert "no difference" in latency_line(dataclasses.replace(LATENCY, verdict="no difference"))
    assert "1.25x slower" in latency_line(dataclasses.replace(LATENCY, verdict="slower", ratio=1.25))


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (9_999, "9,999 B"), (10_000, "10.00 kB"), (999_999, "1000.00 kB"),
                         (1_000_000, "1.00 MB"), (10**9, "1.00 GB"), (10**16, "10000.00 TB"), (None, "-")],
)  # fmt: skip
def test_sizes(count: int | None, shown: str) -> None:
    assert size(count) == shown
