from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from models_zoo import catalogue, get
from onnxslim.errors import InputError

ZOO = Path(__file__).parents[2] / "models_zoo"


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InputError, match="did you mean 'minilm_l3'"):
        get("minilm_13")


def test_names_are_unique_over_the_modules() -> None:
    import importlib

    modules = [path.stem for path in (ZOO / "entries").glob("*.py")]
    found = [importlib.import_module(f"models_zoo.entries.{module}") for module in modules]
    names = [entry.name for module in found for entry in getattr(module, "ENTRIES", ())]
    assert len(set(names)) == len(names)
    # No module is forgotten in the list.
    assert set(names) == set(catalogue())


def test_packages_are_fetched_by_name_and_no_address_is_written_down() -> None:
    for path in ZOO.rglob("*.py"):
        assert not re.search(r"https?:|www\.|\.com\b|\.org\b", path.read_text("utf-8")), path


def test_the_digits_model_is_small() -> None:
    assert get("digits_cnn").path().stat().st_size < 1_000_000


def test_the_keyword_spotter_has_fewer_than_25_000_weights() -> None:
    import onnx

    path = get("keywords_cnn").path()
    assert path.stat().st_size < 150_000
    assert 20_000 < sum(math.prod(each.dims) for each in onnx.load(path).graph.initializer) < 25_000


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue())
def test_every_entry_can_be_fetched_is_of_its_opset_and_loads(name: str) -> None:
    import onnx
    import onnxruntime

    path = get(name).path()
    opsets = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    assert opsets[""] == get(name).opset
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    assert onnxruntime.InferenceSession(str(path), options).get_inputs()
