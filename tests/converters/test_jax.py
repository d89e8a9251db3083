"""JAX, Flax and their faults; needs ``make frameworks``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxslim
from onnxslim.errors import CheckFailed
from tests.converters.environments import python_of

pytestmark = pytest.mark.frameworks
NETS = "tests.converters.jax_nets"


@pytest.fixture(scope="module")
def python() -> str:
    return python_of("jax")


@pytest.mark.parametrize("name", ["linen", "applied", "module", "jitted"])
def test_functions_and_modules(python: str, name: str) -> None:
    report = onnxslim.convert(f"{NETS}:{name}", python=python).report
    assert report.parity.passed
    assert report.parity.feeds == 3
    names = {"linen": ["image"], "applied": ["input_0"], "module": ["x"], "jitted": ["x", "more_bias", "more_scale"]}
    assert [each.name for each in report.inputs] == names[name]


def test_an_axis_of_changing_size(python: str) -> None:
    report = onnxslim.convert(f"{NETS}:linen", python=python, dynamic=["image:0=batch"]).report
    assert report.parity.feeds == 6


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("otherwhentraced", "value of"),
        ("dropout_on", "other outputs on every run|cannot be exported"),
        ("unknown_operation", "jax2onnx cannot export"),
    ],
)
def test_faults(python: str, tmp_path: Path, name: str, said: str) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(CheckFailed, match=said):
        onnxslim.convert(f"{NETS}:{name}", target, python=python)
    assert not target.exists()


def test_a_sample_is_the_example(python: str) -> None:
    rows = np.random.default_rng(0).normal(size=(4, 2, 16)).astype(np.float32)
    report = onnxslim.convert(
        f"{NETS}:rows_alone", python=python, samples=[{"x": each} for each in rows], source_kind="jax"
    ).report
    assert report.parity.evidence == "samples"
    assert report.parity.feeds == 4
