from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from onnxslim.errors import InputError
from onnxslim.evaluation import Parity, Tier
from onnxslim.evaluation.compare import Difference
from onnxslim.evaluation.fidelity import Fidelity
from onnxslim.execution import Latency
from onnxslim.pipeline import Action, Declined, Guilty, PassResult, Step
from onnxslim.report import Attempt, ModelFacts, PortFacts, Report, dumps, plain, to_json
from onnxslim.report.document import document_of, document_of_facts, document_of_parity
from onnxslim.report.record import WrittenFile
from onnxslim.report.side_by_side import MAX_PORTS
from onnxslim.report.steps import TOP_REASONS
from onnxslim.report.terminal import as_text, print_document
from onnxslim.report.wording import latency_line, parity_line, size, speed
from onnxslim.version import versions

BEFORE = ModelFacts(
    path="in[red].onnx", bytes=10_900_000, nodes=860, ops={"Conv": 60, "BatchNormalization": 12}, opsets={"": 12},
    ir_version=7, producer="paddle", inputs=(PortFacts("x", "float32", ("N", None, 3)),),
    outputs=(PortFacts("y", "float32", None),), parameters=2_700_000, weight_bytes=10_800_000,
)  # fmt: skip
AFTER = dataclasses.replace(BEFORE, path="out.onnx", bytes=3_000_000, nodes=848, ops={"Conv": 60}, opsets={"": 13})
DECLINED = tuple(Declined("fold", f"Shape {i}", f"reason {chr(97 + i % (TOP_REASONS + 2))}") for i in range(30))
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
    print_document(document_of(report, explain), Console(file=out, width=120))
    return out.getvalue()


def test_json_is_strict_and_in_the_order_of_the_fields() -> None:
    data = to_json(REPORT)
    assert list(data) == ["schema", *(field.name for field in dataclasses.fields(Report))]
    assert json.loads(dumps(data), parse_constant=pytest.fail) == data
    assert data["parity"]["passed"] is True
    assert data["parity"]["tier"] == "numeric"
    assert data["scores"] == {"input": 0.96, "output": "NaN"}
    assert (data["latency"]["ratio"], data["latency"]["speedup"]) == (0.5, 2.0)
    assert data["size_ratio"] == pytest.approx(10.9 / 3)
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
    assert said.startswith("compress: compressed: 0.28x the size, 2.00x the speed, outputs the same on 3 samples\n")
    assert "-72 %" in said
    assert "in[red].onnx" in said  # a file name is no markup
    assert "2.00x faster" in said
    assert "interval 1.600 to 2.500" in said
    assert "parity: passed (numeric)" in said
    assert "reverted:     1 x fold: output 'y' differs: Add b" in said
    assert "BatchNormalization" in said
    assert "no drop can be claimed" in said


def test_macs_and_parameters_are_shown_where_channels_were_to_go() -> None:
    assert "MACs" not in text(REPORT)
    assert "parameters" not in text(REPORT)
    pruned = dataclasses.replace(REPORT, macs={"input": 5_000_000, "output": 1_250_000})
    assert re.search(r"^MACs +5,000,000 +1,250,000 +-75 %$", text(pruned), re.MULTILINE)
    assert re.search(r"^parameters +2,700,000 +2,700,000 *$", text(pruned), re.MULTILINE)
    assert to_json(pruned)["macs"] == {"input": 5_000_000, "output": 1_250_000}
    unknown = dataclasses.replace(REPORT, macs={"input": None, "output": None})
    assert re.search(r"^MACs +unknown +unknown *$", text(unknown), re.MULTILINE)


def test_what_a_rewrite_says_of_itself_is_explained() -> None:
    step = Step("prune", {}, PassResult(True, (Action("prune", ("w[0]",), "w[0]", "4 of 16 channels"),)), 1.0)
    said = dataclasses.replace(REPORT, steps=(step,))
    assert "prune 1x: w[0] (4 of 16 channels)" in text(said, explain=True)
    assert "of 16 channels" not in text(said)


def test_declined_are_grouped_by_reason_and_shown_on_demand() -> None:
    short, full = text(REPORT), text(REPORT, explain=True)
    assert "2 more reasons" in short
    assert "skipped: 30 (count x rule: reason: example)\n" in short
    assert "Shape 29" not in short
    assert all(f"Shape {index}" in full for index in range(30))
    assert "fuse 1x: Conv a" in full


def test_reasons_that_differ_in_numbers_and_names_are_one() -> None:
    declined = tuple(
        Declined("q", f"Conv conv{i}", f"conv{i}: 1x1 with {i} -> 8 channels, read by 'v{i}'") for i in (4, 16, 9)
    )
    guilty = Guilty(Action("q", ("g",), "Conv guilty"), "output 'y' differs")
    refused = Declined("q", "Conv guilty", "a check failed with this rewrite")
    step = Step("quantize", {}, PassResult(True, (), (*declined, refused), declined_beyond=5), 0.0)
    said = text(dataclasses.replace(REPORT, steps=(step,), guilty=(guilty,)))
    assert "3 x q: it: 1x1 with 4..16 -> 8 channels, read by ...: e.g. Conv conv4, ..." in said
    assert "skipped: 8 (" in said
    assert said.count("Conv guilty") == 1


def test_quantize_nodes_do_not_look_like_more_work() -> None:
    after = dataclasses.replace(AFTER, nodes=900, ops={"Conv": 60, "QuantizeLinear": 40, "DequantizeLinear": 60})
    lines = {" ".join(line.split()) for line in text(dataclasses.replace(REPORT, output=after)).splitlines()}
    assert "operators 860 800 -7 %" in lines
    assert "int8 marks (Q/DQ) 0 100 new" in lines
    assert "BatchNormalization 12 0 -100 %" in lines


LOSSY = Parity(
    True, Tier.LOSSY, (), feeds=4, evidence="samples", worst=1.0, sqnr=16.2,
    fidelity=(Fidelity("y", "logits.7", 16.2, 0.988, 0.5, "Softmax"), Fidelity("z", "z", 30.0, 0.99, None)),
)  # fmt: skip


def test_a_lossy_result_is_not_merely_passed() -> None:
    report = dataclasses.replace(REPORT, parity=LOSSY, calibrated=12, held_back=4, held_out=7)
    said = text(report)
    assert "SQNR 16.2 dB on 4 held-out samples" in said.splitlines()[0]
    assert "differ by SQNR 16.2 dB" in said
    assert "in 'y' ('logits.7' before its Softmax), the worst of 2 parts of the outputs, on 4 held-out samples" in said
    assert "samples: 12 to calibrate, 7 held out to judge the result\n" in said
    assert "metric: 0.96 -> nan on 7 held-out samples (higher is better)\n" in said
    assert "parity: passed" not in said


def test_top1_is_claimed_of_classes_only() -> None:
    assert "top-1 agreement 50.0 %" in parity_line(LOSSY, ranks={"y": 2})
    assert "same largest entry of the last axis 50.0 %" in parity_line(LOSSY)
    assert "50.0 %" not in parity_line(LOSSY, ranks={"y": 4})


def test_what_was_dropped_is_told_apart() -> None:
    slower = dataclasses.replace(LATENCY, verdict="slower", ratio=1.25)
    report = dataclasses.replace(REPORT, latency=None, attempt=Attempt(parity=LOSSY, latency=slower), held_back=4)
    first, _, rest = text(report).partition("tried and dropped:\n")
    assert "slower" not in first
    assert "speed not measured" in first
    assert "  parity: outputs differ by SQNR 16.2 dB" in rest
    assert "  latency: 1.25x slower" in rest


def test_a_result_that_went_nowhere_says_so() -> None:
    assert "nothing was written: name an output" in text(
        dataclasses.replace(REPORT, output=dataclasses.replace(AFTER, path=""))
    )
    assert "nothing was written" not in text(REPORT)


def test_scores_name_the_metric_and_its_unit() -> None:
    report = dataclasses.replace(REPORT, metric="sqnr", scores={"input": math.inf, "output": 31.25})
    assert "metric sqnr: inf dB -> 31.25 dB (higher is better)" in text(report)


def failed(*differences: Difference) -> str:
    parity = Parity(False, Tier.NUMERIC, differences, feeds=9, evidence="samples", worst=2.0)
    return as_text(document_of_parity(parity))


def test_differences_are_summed_up_by_output() -> None:
    said = failed(*(Difference("value", "y", f"off by {i}", i, float(i)) for i in range(8)))
    assert said.splitlines() == [
        "parity: FAILED (numeric)",
        "  value of 'y' on 8 of 9 feeds, worst on feed 7: off by 7",
    ]


def test_what_follows_from_another_interface_is_left_out() -> None:
    said = failed(Difference("inputs", "x", "float32 before, int64 now"), Difference("run", "", "cannot run", 0))
    assert "inputs of 'x': float32 before, int64 now" in said
    assert "cannot run" not in said


def test_a_report_without_output_shows_the_input() -> None:
    said = text(dataclasses.replace(REPORT, output=None, parity=None, latency=None, decision="unchanged", reason="why"))
    assert said.splitlines()[:2] == ["compress: unchanged", "why: why"]
    assert "float32[N, ?, 3]" in said


def test_unverified_is_said() -> None:
    unchecked = dataclasses.replace(REPORT, parity=None, evidence="none")
    assert "parity: not checked" in text(unchecked)
    idle = Step("slim", {}, PassResult(False, (), DECLINED), 0.0)
    unchecked = dataclasses.replace(unchecked, steps=(idle,))
    assert "parity: no rewrite applies, so there is nothing to compare" in text(unchecked)
    assert "parity: not checked" in text(dataclasses.replace(unchecked, verified=False))


def test_lossy_outputs_that_are_equal_have_no_infinite_ratio() -> None:
    equal = dataclasses.replace(LOSSY, worst=0.0, sqnr=math.inf, fidelity=(Fidelity("y", "y", math.inf, 1.0, 1.0),))
    said = text(dataclasses.replace(REPORT, parity=equal))
    assert "parity: the outputs are the same, on 4 samples\n" in said
    assert said.splitlines()[0].endswith("outputs the same on 4 samples")


def test_a_report_as_text_and_in_a_file(tmp_path: Path) -> None:
    assert str(REPORT) == text(REPORT).rstrip("\n")
    REPORT.save(tmp_path / "report.txt")
    assert (tmp_path / "report.txt").read_text() == str(REPORT) + "\n"
    REPORT.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == to_json(REPORT)
    REPORT.save(tmp_path / "report.MD")
    assert (tmp_path / "report.MD").read_text() == f"```text\n{REPORT}\n```\n"
    for name, why in (("r.pdf", r"suffix '\.pdf'"), ("report", "has no suffix"), (".json", "has no suffix")):
        with pytest.raises(InputError, match=rf"{why}.*fix: end the name in \.html, \.json, \.md or \.txt"):
            REPORT.save(tmp_path / name)
        assert not (tmp_path / name).exists()


def test_every_file_is_named() -> None:
    files = (WrittenFile("out.onnx", 300), WrittenFile("out.onnx.data", 60_000))
    report = dataclasses.replace(REPORT, files=files, removed_files=("out.onnx.0.data",), unused_files=("w.bin",))
    assert "files: out.onnx (300 B), out.onnx.data (60.00 kB)\n" in str(report)
    assert "removed: out.onnx.0.data" in str(report)
    assert "left: w.bin" in str(report)
    assert to_json(report)["files"][1] == {"path": "out.onnx.data", "bytes": 60_000}


def test_facts() -> None:
    assert "float32[unknown rank]" in as_text(document_of_facts(BEFORE))


def test_of_thousands_of_ports_some_are_shown() -> None:
    many = dataclasses.replace(BEFORE, outputs=tuple(PortFacts(f"y{i}", "float32", ()) for i in range(MAX_PORTS + 20)))
    shown = as_text(document_of_facts(many))
    slimmed = text(dataclasses.replace(REPORT, command="slim", input=many, output=AFTER))
    assert shown.count("output y") == slimmed.count("OUT: y") == MAX_PORTS
    assert "20 more" in shown
    assert "20 more" in slimmed


def test_latency_claims_only_what_the_verdict_says() -> None:
    same = dataclasses.replace(LATENCY, verdict="no difference", ratio=1.0, low=0.97, high=1.04)
    assert "no difference found" in latency_line(same)
    noisy = dataclasses.replace(same, low=1 / 8.3, high=1 / 0.763, a_ms=32.0, b_ms=24.0)
    told = "latency: too noisy to tell (0.76x to 8.3x); rerun on an idle machine: 32 -> 24 ms (1 thread)"
    assert latency_line(noisy) == told
    assert speed(noisy) == "speed too noisy to tell"
    assert "too noisy" in str(noisy)
    assert "1.25x slower" in latency_line(dataclasses.replace(LATENCY, verdict="slower", ratio=1.25))


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (9_999, "9,999 B"), (10_000, "10.00 kB"), (999_999, "1000.00 kB"),
                         (1_000_000, "1.00 MB"), (10**9, "1.00 GB"), (10**16, "10000.00 TB"), (None, "-")],
)  # fmt: skip
def test_sizes(count: int | None, shown: str) -> None:
    assert size(count) == shown
