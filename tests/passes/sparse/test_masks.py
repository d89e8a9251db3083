from __future__ import annotations

import numpy as np
import pytest

from onnxslim.errors import InputError
from onnxslim.passes.sparse.masks import Pattern, least, zeros


def saliency(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_the_least_go_and_exactly_as_many(share: float) -> None:
    table = saliency(13, 17)
    going = zeros(table, share, Pattern())
    assert going.sum() == round(share * table.size)
    assert going.all() or not going.any() or table[going].max() < table[~going].min()


def test_least_of_more_than_there_are() -> None:
    assert least(saliency(4), 9).all()
    assert not least(saliency(4), -1).any()


@pytest.mark.parametrize("places", [1, 9])
@pytest.mark.parametrize(("pattern", "keep", "of"), [("2:4", 2, 4), ("1:4", 1, 4), ("3:5", 3, 5), ("1:2", 1, 2)])
def test_of_each_run_of_channels_so_many_stay(pattern: str, keep: int, of: int, places: int) -> None:
    channels = 4 * of + 1 if of > 2 else 9  # one is left over, and stays
    table = saliency(6, channels * places)
    going = zeros(table, 0.3, Pattern.parse(pattern), places).reshape(6, channels, places)
    whole = channels - channels % of
    runs = going[:, :whole].reshape(6, -1, of, places)
    assert (runs.sum(axis=2) == of - keep).all()
    assert not going[:, whole:].any()
    cost = table.reshape(6, channels, places)[:, :whole].reshape(runs.shape)
    assert (np.where(runs, cost, -1).max(axis=2) < np.where(runs, 2, cost).min(axis=2)).all()


@pytest.mark.parametrize("places", [1, 4])
@pytest.mark.parametrize("block", [(4, 1), (1, 8), (2, 3)])
def test_blocks_go_as_a_whole(block: tuple[int, int], places: int) -> None:
    outputs, channels = 10, 19
    table = saliency(outputs, channels * places)
    going = zeros(table, 0.4, Pattern.parse(f"{block[0]}x{block[1]}"), places).reshape(outputs, channels, places)
    tiles = 0
    for row in range(0, outputs, block[0]):
        for column in range(0, channels, block[1]):
            tile = going[row : row + block[0], column : column + block[1]]
            assert (tile == tile[:1, :1]).all()
            tiles += int(tile[0, 0].sum())
    every = -(-outputs // block[0]) * -(-channels // block[1]) * places
    assert tiles == int(0.4 * every)


@pytest.mark.parametrize("text", ["", "4:2", "2:2", "0:4", "0x4", "4x0", "2:4:8", "2/4", "-1:4", "half"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(InputError) as found:
        Pattern.parse(text)
    assert "2:4" in found.value.mend
    assert repr(text) in str(found.value)


def test_a_pattern_says_what_share_it_fixes() -> None:
    assert [Pattern.parse(text).share for text in ("2:4", "1:4", "4x1", "unstructured")] == [0.5, 0.75, None, None]
    assert Pattern.parse("1x1") == Pattern.parse("unstructured") == Pattern()
