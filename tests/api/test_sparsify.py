"""What `onnxslim.sparsify` refuses, and says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxslim
from onnxslim import Result
from onnxslim.errors import InputError
from onnxslim.pipeline import get_pass
from tests.documents import DIGITS, write_digit_samples
from tests.passes.sparse.nets import digits


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "magnitude"}, "by alone changes no weight"),
        ({"entries": 8, "allocation": "uniform"}, "allocation, entries alone changes no weight"),
        ({"by": "compensated", "sparsity": 0.5}, "by compensated needs samples"),
        ({"entries": 8, "sparsity": 0.5}, "entries is of a codebook"),
        ({"entries": 1, "values": "codebook"}, "entries is 1"),
        ({"min_sqnr": 40.0, "sparsity": 0.5}, "min_sqnr needs samples"),
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


@pytest.mark.parametrize("verb", [onnxslim.sparsify, onnxslim.compress])
@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("record", [False, True])
def test_a_packed_model_that_nothing_makes_smaller_stays_packed(
    verb: Callable[..., Result], external: bool, record: bool, tmp_path: Path
) -> None:
    packed, again = tmp_path / "packed.onnx", tmp_path / "again" / "again.onnx"
    again.parent.mkdir()
    onnxslim.sparsify(digits(0.9), packed, encoding="folded", external_data=external)
    options = {"encoding": "dense"} if verb is onnxslim.sparsify else {"recipe": recipe_file(tmp_path)}
    result = verb(str(packed), again, record=record, **options)
    held, left = onnx.load(packed), onnx.load(again)
    assert result.report.decision == "unchanged"
    assert [each.op_type for each in left.graph.node] == [each.op_type for each in held.graph.node]
    assert [each.op_type for each in result.model.graph] == [each.op_type for each in held.graph.node]
    assert left.ByteSize() <= held.ByteSize() + 200 * record
    assert not any("unpacked" in note for note in result.report.notes)
    assert any("onnxslim decode makes them plain" in note for note in result.report.notes)


def recipe_file(folder: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text('[[pass]]\nname = "slim"\n\n[[pass]]\nname = "encode"\nencoding = "dense"\n', "utf-8")
    return path


@pytest.mark.parametrize("lossy", ["sparsify", "prune", "quantize"])
def test_weights_are_not_changed_once_they_are_packed(lossy: str, tmp_path: Path) -> None:
    write_digit_samples(tmp_path / "samples", 8)
    recipe = [get_pass(name)() for name in ("slim", "encode", lossy)]
    with pytest.raises(InputError, match=f"{lossy} comes after encode"):
        onnxslim.compress(DIGITS, tmp_path / "out.onnx", samples=tmp_path / "samples", recipe=recipe)
    assert not (tmp_path / "out.onnx").exists()
