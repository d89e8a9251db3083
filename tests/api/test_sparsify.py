"""What `onnxslim.sparsify` refuses, and says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim import Result
from onnxslim.errors import InputError
from onnxslim.execution import open_session
from onnxslim.pipeline import get_pass, make_pass
from onnxslim.samples import Sample
from tests.documents import DIGITS, write_digit_samples
from tests.passes.sparse.nets import digits


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "magnitude"}, "by alone changes no weight"),
        ({"entries": 8, "allocation": "uniform"}, "allocation, entries alone changes no weight"),
        ({"by": "compensated", "sparsity": 0.5}, "by compensated needs samples"),
        ({"entries": 8, "sparsity": 0.5}, "entries requires values=codebook"),
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


def test_int8_weights_that_get_no_zeros_are_no_sparse_model(tmp_path: Path) -> None:
    write_digit_samples(tmp_path / "samples", 24)
    quantized = onnxslim.quantize(DIGITS, samples=tmp_path / "samples", search=False, keep_slow=True, bench=False).model
    result = onnxslim.sparsify(quantized, sparsity=0.5, bench=False)
    assert result.report.decision == "kept all weights"
    assert "no weight could be made sparse" in result.report.reason


def test_what_was_only_slimmed_is_called_so() -> None:
    assert onnxslim.sparsify(DIGITS).report.decision in ("slimmed", "unchanged")
    assert onnxslim.sparsify(digits(0.9)).report.decision == "sparsified"


def test_a_recipe_without_encode_is_told_what_it_lacks() -> None:
    passes = [get_pass("slim")(), make_pass(get_pass("sparsify"), {"sparsity": 0.6})]
    notes = onnxslim.compress(DIGITS, recipe=passes, bench=False).report.notes
    assert any("encode behind sparsify" in note for note in notes)
    notes = onnxslim.compress(DIGITS, recipe=[*passes, get_pass("encode")()], bench=False).report.notes
    assert not any("encode behind sparsify" in note for note in notes)


def test_the_folder_of_the_output_is_looked_for_first(tmp_path: Path) -> None:
    def samples() -> Iterator[Sample]:
        raise AssertionError("nothing was to be read")
        yield

    with pytest.raises(InputError, match="the folder of the output is not there"):
        onnxslim.sparsify(DIGITS, tmp_path / "no" / "x.onnx", sparsity=0.5, samples=samples())


def test_small_weights_are_told_of() -> None:
    declined = [each for step in onnxslim.sparsify(DIGITS, sparsity=0.5).report.steps for each in step.result.declined]
    assert any(each.reason.startswith("it has fewer than 1,024 numbers") for each in declined)


def test_nodes_that_unpack_are_no_macs() -> None:
    from onnxslim.analysis import model_cost

    packed = onnxslim.sparsify(digits(0.8), encoding="folded").model
    assert any(node.op_type in ("MatMulInteger", "CumSum") for node in packed.graph)
    dense = onnxslim.sparsify(digits(0.8), encoding="dense").model
    assert model_cost(packed).total.macs == model_cost(dense).total.macs


def test_zeros_that_save_nothing_are_not_made(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sparsity": 0.3, "encoding": "standard", "bench": False}
    result = onnxslim.sparsify(DIGITS, tmp_path / "out.onnx", **options)
    assert result.report.decision == "kept all weights"
    assert "the file would be no smaller" in result.report.reason
    arrays = [onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "out.onnx").graph.initializer]
    assert sum(int((each == 0).sum()) for each in arrays) < 100
    assert onnxslim.sparsify(DIGITS, **(options | {"encoding": "dense"})).report.decision == "sparsified"


def test_a_small_cnn_in_int4_is_a_small_file(tmp_path: Path) -> None:
    from models_zoo import get

    entry, out = get("keywords_cnn"), tmp_path / "small.onnx"
    data = list(entry.samples("calibration").first(32))
    given: dict[str, Any] = {"values": "int4", "samples": data, "min_sqnr": 1, "bench": False}
    _, report = onnxslim.sparsify(entry.path(), out, strip=True, **given)
    assert report.decision == "sparsified"
    assert out.stat().st_size <= 20_000
    graph = onnx.load(out).graph
    assert Counter(node.op_type for node in graph.node)["Cast"] == 1
    assert not graph.value_info
    # Bit for bit what the same codes and scales give with all that was dropped and shared.
    told, _ = onnxslim.sparsify(entry.path(), encoding="dense", **given)
    one, other = (open_session(each, threads=1).run for each in (str(out), told))
    for sample in data[:4]:
        assert np.array_equal(one(sample.feed)["logits"], other(sample.feed)["logits"])
