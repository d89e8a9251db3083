"""What `onnxslim.sparsify` refuses, and says."""

from __future__ import annotations

from typing import Any

import pytest

import onnxslim
from onnxslim.errors import InputError
from tests.documents import DIGITS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "magnitude"}, "by alone changes no weight"),
        ({"entries": 8, "allocation": "uniform"}, "allocation, entries alone changes no weight"),
        ({"by": "compensated", "sparsity": 0.5}, "by compensated needs samples"),
        ({"entries": 8, "sparsity": 0.5}, "entries is of a codebook"),
        ({"entries": 1, "values": "codebook"}, "entries is 1"),
        ({"pattern": "4:2"}, "pattern is '4:2'"),
    ],
)
def test_options_without_an_effect_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        onnxslim.sparsify(DIGITS, **options)


def test_without_samples_the_report_says_that_nothing_was_measured() -> None:
    result = onnxslim.sparsify(DIGITS, sparsity=0.5)
    assert result.report.decision == "sparsified"
    assert any("no samples" in note for note in result.report.notes)
    assert result.report.parity is None
    output = result.report.output
    assert output is not None
    assert sum(each.zeros for each in output.tensors) > 0.45 * output.parameters
