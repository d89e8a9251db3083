"""The parts of a conversion, without any framework."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from onnxslim.converters.blame import agreeing
from onnxslim.converters.child import TracedStep
from onnxslim.converters.detect import detect
from onnxslim.converters.frameworks.base import LoadRequest, Refused, last_line, random_example
from onnxslim.converters.frameworks.kinds import module_of
from onnxslim.converters.inputs import changing_axes, sizes_to_try
from onnxslim.converters.verify import within_rounding
from onnxslim.errors import InputError
from onnxslim.execution import Port

FLOAT = np.dtype(np.float32)


def test_sizes_whose_names_an_exporter_made_up_change_together() -> None:
    ports = [Port("a", FLOAT, ("unk__8", 4), ""), Port("b", FLOAT, ("unk__9", 4), "")]
    assert changing_axes(ports) == {"a": {0: "axis 0"}, "b": {0: "axis 0"}}
    feed = {name: np.zeros((1, 4), np.float32) for name in "ab"}
    tried = [made for _, made in sizes_to_try(feed, changing_axes(ports))]
    assert [(len(each["a"]), len(each["b"])) for each in tried] == [(1, 1), (2, 2), (5, 5)]
    named = [Port("a", FLOAT, ("rows", 4), ""), Port("b", FLOAT, ("columns", 4), "")]
    assert changing_axes(named) == {"a": {0: "rows"}, "b": {0: "columns"}}


def test_rounding_explains_four_times_what_kernels_differ_by() -> None:
    before = np.array([10.0, -20.0], np.float32)
    assert within_rounding(before, before + np.float32(0.39), "y", 0, 0.1)[0] is None
    difference, worst = within_rounding(before, before + np.float32(0.5), "y", 0, 0.1)
    assert difference is not None
    assert worst == pytest.approx(1.25, rel=1e-3)
    whole = np.array([1, -128, 127], np.int8)
    near = np.array([2, -127, 126], np.int8)
    assert within_rounding(whole, near, "y", 0, 0.25)[0] is None
    assert within_rounding(whole, np.array([3, -128, 127], np.int8), "y", 0, 0.25)[0] is not None


def test_kernels_that_differ_by_too_much_prove_nothing() -> None:
    before = np.array([10.0, -20.0], np.float32)
    difference, _ = within_rounding(before, before + 1, "y", 0, 2.0)
    assert difference is not None
    assert "too much to tell" in difference.detail
    nan = np.array([np.nan, -20.0], np.float32)
    assert within_rounding(before, nan, "y", 0, 0.1)[0] is not None


def test_a_value_is_found_with_its_channels_elsewhere() -> None:
    value = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    steps = [TracedStep("conv", value, (), "")]
    assert agreeing(steps, {(2, 3, 5, 6): [np.moveaxis(value, -1, 1)]}, 0.0) == [True]
    assert agreeing(steps, {(2, 3, 6, 5): [np.swapaxes(value, 1, 3)]}, 0.0) == [False]


def test_the_last_line_of_a_traceback_is_the_error_itself() -> None:
    error = ValueError("\x1b[1mtwo\nlines\x1b[0m")
    error.add_note("a note\nof two lines")
    assert last_line(error) == "ValueError: two lines"


def test_made_up_inputs_need_sizes() -> None:
    made = random_example([("x", (None, 3), np.dtype("float32")), ("ids", (None, 4), np.dtype("int64"))])
    assert made["x"].shape == (1, 3)
    assert made["ids"].min() >= 0
    quantized = random_example([("q", (None, 400), np.dtype("int8"))])["q"]
    assert quantized.min() < -100
    assert quantized.max() > 100
    with pytest.raises(Refused, match="axis 1 of input 'x' has no size"):
        random_example([("x", (None, None, 3), np.dtype("float32"))])
    with pytest.raises(Refused, match="no inputs can be made up"):
        random_example([("words", (1,), np.dtype("O"))])


def test_whose_an_object_is() -> None:
    library = type("Net", (), {"__module__": "flax.linen.module", "apply": lambda self, x: x})
    net = library()
    for found in (net, net.apply, functools.partial(net.apply, 1)):
        assert module_of(LoadRequest("m:f", loaded=found)) == "jax_functions"
    with pytest.raises(Refused, match="no converter knows"):
        module_of(LoadRequest("m:f", loaded=3))


def test_a_folder_of_paddle_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "anything.pdiparams").touch()
    found = detect(tmp_path)
    assert found.converter is not None
    assert found.converter.kind == "paddle"
    path = tmp_path / "anything.json"
    path.touch()
    with pytest.raises(InputError, match="no converter takes it"):
        detect(path)
    assert detect(path, "paddle").converter is not None
