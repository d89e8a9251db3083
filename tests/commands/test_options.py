from __future__ import annotations

import click
import pytest

from onnxslim.commands.options import byte_size, finite, make_recipe, output_path
from onnxslim.commands.samples import dimensions, numbers
from onnxslim.errors import InputError


@pytest.mark.parametrize(
    ("text", "size"), [("1GiB", 1 << 30), ("500 MB", 500_000_000), ("1048576", 1 << 20), ("1.5kib", 1536), ("7b", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert byte_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "0", "1 XB", "1e9", "0.1b"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        byte_size(text)


def test_dimensions_and_numbers() -> None:
    assert dimensions("320x48") == (320, 48)
    assert numbers("1,-0.5") == (1.0, -0.5)
    for function, text in (
        (dimensions, "320*48"),
        (dimensions, ""),
        (numbers, "1,,2"),
        (numbers, ""),
        (finite, "nan"),
        (finite, "-inf"),
    ):
        with pytest.raises(click.BadParameter):
            function(text)


def test_output_path() -> None:
    assert output_path("a", "b", False) == "b"
    assert output_path("a", None, True) == "a"
    with pytest.raises(InputError, match="--in-place"):
        output_path("a", None, False)


def test_options_given_become_passes_in_order() -> None:
    assert make_recipe(None, {"slim": {}, "quantize": {}}) is None
    made = make_recipe(None, {"slim": {}, "quantize": {"per_tensor": True}})
    assert made is not None
    assert [each.name for each in made] == ["slim", "quantize"]
    assert made[1].per_tensor is True  # type: ignore[attr-defined]
