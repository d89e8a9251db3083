from __future__ import annotations

import re

import numpy as np
import pytest

from models_zoo import SPLITS
from models_zoo.ctc import edits
from models_zoo.entries.ppocrv4_rec import alphabet, decode
from models_zoo.fonts import fonts
from models_zoo.render import Look, fit, picture, text_line
from models_zoo.seeds import generator
from models_zoo.texts import line, words


def test_no_font_family_and_no_word_is_in_two_splits() -> None:
    families = {split: {re.split(r"[-.]", font.name)[0] for font in fonts(split)} for split in SPLITS}
    # DejaVu Sans, Sans Mono and Serif are one design.
    families["calibration"] = {family[:6] for family in families["calibration"]}
    for split in SPLITS:
        assert families[split]
        for other in SPLITS:
            if other != split:
                assert not families[split] & families[other]
                assert not set(words(split)) & set(words(other))


@pytest.mark.parametrize("split", SPLITS)
def test_lines_are_varied_and_made_of_letters_that_the_model_knows(split: str) -> None:
    known = set(alphabet())
    lines = [line(split, generator("test", str(number))) for number in range(300)]
    assert len(set(lines)) > 250
    assert set("".join(lines)) <= known
    assert any(c.isdigit() for c in "".join(lines))
    assert any(c.isupper() for c in "".join(lines))
    assert all(3 <= len(text) <= 60 for text in lines)


def test_a_line_is_the_same_each_time_and_another_id_is_another_line() -> None:
    one, again, other = (text_line("report", id) for id in ("a", "a", "b"))
    assert one.text == again.text
    assert one.font == again.font
    np.testing.assert_array_equal(one.picture, again.picture)
    assert other.text != one.text or other.picture.shape != one.picture.shape


def test_a_clean_picture_has_its_ink_where_the_text_is() -> None:
    path = str(fonts("report")[0].path())
    look = Look(height=(30, 30), blur=(0, 0), noise=(0, 0), contrast=(200, 200), tilt=0)
    wide, narrow = (picture(text, path, generator("x"), look) for text in ("....HHHH", "...."))
    assert wide.dtype == np.uint8
    assert wide.shape[2] == 3
    assert wide.shape[1] > 2 * narrow.shape[1]
    # Shading changes the paper by less than 40 from side to side.
    inked = np.abs(wide.astype(float) - wide[:1, :, :]).mean(axis=2) > 100
    assert inked[:, wide.shape[1] // 2 :].mean() > 3 * inked[:, : wide.shape[1] // 4].mean() > 0


def test_fit_keeps_the_aspect_orders_bgr_and_scales_to_one() -> None:
    source = np.zeros((24, 100, 3), np.uint8)
    source[..., 0] = 255
    fitted = fit(source, 48)
    assert fitted.shape == (3, 48, 200)
    np.testing.assert_allclose(fitted[2], 1.0)
    np.testing.assert_allclose(fitted[:2], -1.0)
    assert fit(source, 48, widest=192).shape == (3, 48, 192)


def test_ctc_reading_merges_repeats_and_drops_blanks() -> None:
    letters = list(alphabet())
    a, b = letters.index("a"), letters.index("b")
    steps = [0, a, a, 0, a, b, b, 0, len(letters) - 1, b]
    scores = np.zeros((1, len(steps), len(letters)), np.float32)
    scores[0, np.arange(len(steps)), steps] = 1
    assert decode(scores) == "aab b"


@pytest.mark.parametrize(("a", "b", "distance"), [("", "", 0), ("abc", "", 3), ("flaw", "lawn", 2), ("ab", "ba", 2)])
def test_edits(a: str, b: str, distance: int) -> None:
    assert edits(a, b) == edits(b, a) == distance
