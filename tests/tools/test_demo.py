from __future__ import annotations

from typing import Any

import pytest

from tools.demo import failures, print_facts

GOOD: dict[str, Any] = {
    "model": "m",
    "source": "package",
    "target": "x86-vnni",
    "decision": "compressed",
    "bytes": [10_000_000, 3_000_000],
    "smaller": 3.33,
    "latency": {"ratio": 0.75, "low": 0.7, "high": 0.8, "verdict": "faster", "a_ms": 20.0, "b_ms": 15.0},
    "metric": "character accuracy",
    "lines": 150,
    "score": [0.96, 0.95],
    "score_change_interval": [-0.02, 0.01],
    "report": {"reason": "int8 is slower here"},
}


def test_what_must_be_shown_was_shown() -> None:
    assert failures(GOOD) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decision": "kept float"}, "int8 is slower here"),
        ({"smaller": 2.9}, "2.90x smaller"),
        ({"score": [0.96, 0.92]}, "character accuracy fell"),
        ({"latency": GOOD["latency"] | {"ratio": 0.9}}, "1.11x as fast"),
        ({"latency": None}, "was not measured"),
    ],
)
def test_each_miss_is_named(change: dict[str, Any], said: str) -> None:
    (failure,) = failures(GOOD | change)
    assert said in failure


def test_speed_is_asked_for_only_with_vnni(capsys: pytest.CaptureFixture[str]) -> None:
    slower = GOOD | {"target": "x86-avx2", "latency": GOOD["latency"] | {"ratio": 1.1, "verdict": "slower"}}
    assert failures(slower) == []
    print_facts(slower)
    out = capsys.readouterr().out
    assert "no VNNI" in out
    assert "slower" in out
