"""Plans are values: they survive a file, and what they hold is applied to the bit without planning again."""

from __future__ import annotations

import enum
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import arrays, scalar_dtypes

import onnxslim
from models_zoo import get
from onnxslim.errors import InputError
from onnxslim.graph import load, to_bytes
from onnxslim.passes.prune import search as prune_search
from onnxslim.passes.quantize import search as quantize_search
from onnxslim.passes.sparse import sparsify
from onnxslim.pipeline import Context, Declined, Plan, Store, get_pass
from onnxslim.pipeline.keys import Keys
from onnxslim.pipeline.plan import StoredPlan, add_plans, decode, encode, read_plans, stored_plan, write_plans

DIGITS = get("digits_cnn")
SAMPLES = list(DIGITS.samples("calibration").first(24))


@dataclass(frozen=True)
class Decision:
    array: np.ndarray
    table: dict[Any, Any]
    inner: Decision | None = None
    dtype: np.dtype[Any] | None = None


class Colour(enum.StrEnum):
    RED = "red"


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@given(VALUES)
@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine
def test_plain_values_come_back_as_they_were(value: object) -> None:
    held: list[np.ndarray] = []
    tree = json.loads(json.dumps(encode(value, held)))
    back = decode(tree, held, {})
    assert back == value
    assert repr(back) == repr(value)  # 1 and 1.0 and True are equal


@pytest.fixture(name="folders")
def folders_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> pytest.TempPathFactory:
    return tmp_path_factory


@given(array=arrays(scalar_dtypes(), st.tuples(st.integers(0, 3), st.integers(0, 3))))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_arrays_and_dataclasses_come_back_from_a_file(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("plans") / "a.plan"
    inner = Decision(array.T, {("w", 1): np.float32(0.1)}, None, np.dtype(np.int8))
    plan = Plan(Decision(array, {"x": (1.5, None)}, inner), (Declined("rule", "site", "why"),), 3)
    write_plans(path, {"key": stored_plan(plan)})
    back = read_plans(path)["key"].plan([Decision])
    assert back.declined == plan.declined
    assert back.declined_beyond == 3
    for found, wanted in ((back.decided, plan.decided), (back.decided.inner, inner)):
        assert found.array.dtype == wanted.array.dtype
        assert found.array.tobytes() == wanted.array.tobytes()
        assert found.table == wanted.table
        assert found.dtype == wanted.dtype
    scalar = back.decided.inner.table["w", 1]
    assert type(scalar) is np.float32


@pytest.mark.parametrize(
    "value",
    [object(), np.zeros(2, ml_dtypes.bfloat16), np.dtype(ml_dtypes.bfloat16), ir.DataType.FLOAT, Colour.RED, Decision],
)
def test_what_would_not_come_back_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a plan cannot hold"):
        encode([value], [])


@pytest.mark.parametrize("kind", ["text", "zip", "index", "list", "deep", "array", "huge", "fields", "none", "type"])
def test_a_file_that_holds_no_plan_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    if kind == "text":
        path.write_text("no plan")
    else:
        write_plans(path, {"key": stored_plan(Plan(Decision(np.zeros(2), {})))})
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        if kind == "zip":
            members = {"other": b""}
        elif kind == "index":
            members["plans.json"] = b'{"format": 99, "plans": {}}'
        elif kind == "list":
            members["plans.json"] = b'{"format": 1, "plans": []}'
        elif kind == "deep":
            members["plans.json"] = b"[" * 100_000
        elif kind == "huge":
            header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4503599627370496,), }"
            members["key/0.npy"] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        elif kind == "fields":
            members["plans.json"] = (
                members["plans.json"].replace(b'"fields": {', b'"fields": [{', 1).replace(b"}}}", b"}]}}", 1)
            )
        elif kind == "none":
            members["plans.json"] = b'{"format": 1, "plans": {"key": {"arrays": 0, "plan": null}}}'
        elif kind == "array":
            members["key/0.npy"] = b"\x93NUMPY\x01\x00"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    with pytest.raises(InputError, match=r"no plan|another version"):
        read_plans(path)["key"].plan([] if kind == "type" else [Decision])


def test_keys_tell_contents_apart_and_nothing_else() -> None:
    keys = Keys()
    same = [(1, 1), ((1, "a"), (1, "a")), ({1, 2}, {2, 1}), (np.arange(3), np.arange(3))]
    other = [(1, 1.0), (1, True), (("a", "bc"), ("ab", "c")), ((1, (2,)), ((1,), 2)), (np.arange(3), np.arange(3.0))]
    assert all(keys.of(a) == Keys().of(b) for a, b in same)
    assert all(keys.of(a) != keys.of(b) for a, b in other)
    prune = get_pass("prune")
    assert keys.of(prune(ratio=0.5)) == keys.of(prune(ratio=0.5)) != keys.of(prune(ratio=0.25))  # type: ignore[call-arg]
    first, second = [object()], [object()]
    assert keys.of([1, 2]) == Keys().of([1, 2]) != keys.of((1, 2))
    assert keys.of(first) == keys.of(first) != keys.of(second)


def options(verb: str) -> dict[str, Any]:
    own: dict[str, dict[str, Any]] = {
        "prune": {"macs": 0.7},
        "quantize": {},
        "sparsify": {"sparsity": 0.5, "values": "int8"},
    }
    return own[verb] | {"bench": verb == "quantize", "min_sqnr": -99.0, "samples": SAMPLES}


@pytest.mark.parametrize("verb", ["prune", "quantize", "sparsify"])
def test_a_plan_applied_elsewhere_gives_the_same_bytes_and_plans_nothing(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = getattr(onnxslim, verb), tmp_path / "digits.plan"
    given = options(verb) | {"bench": False}
    run(DIGITS.path(), tmp_path / "first.onnx", plan=path, **given)
    assert path.exists()

    def planning(*args: object, **kwargs: object) -> None:
        raise AssertionError("it was planned again")

    for search in (prune_search.Search, quantize_search.Int8Search, sparsify.SparseSearch):
        monkeypatch.setattr(search, "__init__", planning)
    run(DIGITS.path(), tmp_path / "second.onnx", plan=path, **given)
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


def test_a_run_that_ends_after_planning_plans_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, prune = tmp_path / "digits.plan", get_pass("prune")
    given = options("prune")

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prune, "apply", killed)
        with pytest.raises(KeyboardInterrupt):
            onnxslim.prune(DIGITS.path(), tmp_path / "first.onnx", plan=path, **given)
    assert not (tmp_path / "first.onnx").exists()
    held = read_plans(path)
    assert [type(each) for each in held.values()] == [StoredPlan]
    with monkeypatch.context() as patch:
        patch.setattr(prune_search.Search, "run", killed)
        report = onnxslim.prune(DIGITS.path(), tmp_path / "second.onnx", plan=path, **given).report
    assert report.decision == "pruned", report.reason


def test_a_plan_is_of_one_model_and_one_set_of_options(tmp_path: Path) -> None:
    path, prune = tmp_path / "a.plan", get_pass("prune")
    context = Context(samples=SAMPLES, store=Store(path))
    for ratio in (0.25, 0.5):
        model = load(DIGITS.path())
        prune(ratio=ratio).run(model, context)  # type: ignore[call-arg]
    assert len(read_plans(path)) == 2
    again = load(DIGITS.path())
    prune(ratio=0.5).run(again, Context(samples=SAMPLES, store=Store(path)))  # type: ignore[call-arg]
    assert to_bytes(again) == to_bytes(model)
    assert len(read_plans(path)) == 2


@pytest.mark.slow
def test_a_plan_is_of_the_run_options_that_a_pass_decides_by(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    for target in ("x86-vnni", "arm64", "x86-vnni"):
        given = options("quantize") | {"bench": False, "target": target}
        planned = onnxslim.quantize(DIGITS.path(), plan=path, **given)
        fresh = onnxslim.quantize(DIGITS.path(), **given)
        assert to_bytes(planned.model) == to_bytes(fresh.model)
    assert len(read_plans(path)) == 2 * 4  # of each pass for each target


def test_writers_add_to_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    for name in ("first", "second"):
        add_plans(path, {name: stored_plan(Plan(1))})
    assert sorted(read_plans(path)) == ["first", "second"]
    (tmp_path / "b.plan").write_text("no plan")
    with pytest.raises(InputError, match="no plan"):
        add_plans(tmp_path / "b.plan", {"third": stored_plan(Plan(1))})


@pytest.mark.parametrize(
    ("plan", "said"),
    [("out.onnx", "overwrite the plan"), ("", "no path"), ("samples/a.plan", "would be a sample"), ("no/a", "folder")],
)
def test_a_plan_that_could_not_be_written_is_refused_before_the_work(
    plan: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    for number, sample in enumerate(SAMPLES[:12]):
        feed: dict[str, Any] = dict(sample.feed)
        np.savez(folder / f"{number}.npz", **feed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sparsify.SparseSearch, "__init__", None)
    with pytest.raises(InputError, match=said):
        onnxslim.sparsify(DIGITS.path(), "out.onnx", samples="samples", sparsity=0.5, plan=plan)
    assert not Path("out.onnx").exists()


def test_the_command_line_takes_a_plan(tmp_path: Path) -> None:
    from onnxslim.cli import main

    folder = tmp_path / "samples"
    folder.mkdir()
    for number, sample in enumerate(SAMPLES[:12]):
        feed: dict[str, Any] = dict(sample.feed)
        np.savez(folder / f"{number}.npz", **feed)
    line = ["prune", str(DIGITS.path()), "--samples", str(folder), "--ratio", "0.5", "--no-bench", "--quiet"]
    line += ["--min-sqnr", "-99", "--plan", str(tmp_path / "a.plan"), "-o"]
    assert main([*line, str(tmp_path / "first.onnx")]) == 0
    assert main([*line, str(tmp_path / "second.onnx")]) == 0
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    (tmp_path / "a.plan").write_text("no plan")
    assert main([*line, str(tmp_path / "third.onnx")]) == 2
    assert not (tmp_path / "third.onnx").exists()


def test_a_plan_that_changes_the_model_is_a_fault_of_the_pass(tmp_path: Path) -> None:
    prune = get_pass("prune")

    class Hasty(prune):  # type: ignore[valid-type, misc]
        def plan(self, model: ir.Model, context: Context) -> object:
            model.graph.outputs[0].name = "renamed"
            return super().plan(model, context)

    with pytest.raises(TypeError, match="changed the model while it planned"):
        Hasty(ratio=0.5).run(load(DIGITS.path()), Context(samples=SAMPLES, store=Store(tmp_path / "a.plan")))


def test_the_report_says_that_a_plan_was_applied(tmp_path: Path) -> None:
    given = options("prune") | {"plan": tmp_path / "a.plan"}
    first, second = (onnxslim.prune(DIGITS.path(), **given).report for _ in range(2))
    assert not any("applied" in note for note in first.notes)
    assert f"1 plan was applied from {tmp_path / 'a.plan'}" in second.notes
