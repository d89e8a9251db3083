from __future__ import annotations

import numpy as np
import pytest

from models_zoo import ratio
from models_zoo.entries.ppocrv4_det import agreement, find_boxes, measure
from models_zoo.pages import page
from onnxslim.execution import Feed, Outputs
from onnxslim.samples import Sample


def test_lines_of_a_page_lie_inside_it_and_do_not_overlap() -> None:
    rendered = page("report", "some page", 320)
    assert rendered.picture.shape == (320, 320, 3)
    assert len(rendered.boxes) >= 3
    covered = np.zeros((320, 320), int)
    for left, top, right, bottom in rendered.boxes:
        assert 0 <= left < right <= 320
        assert 0 <= top < bottom <= 320
        covered[top:bottom, left:right] += 1
    assert covered.max() == 1
    again = page("report", "some page", 320)
    np.testing.assert_array_equal(again.picture, rendered.picture)
    assert again.boxes == rendered.boxes


def test_regions_become_boxes_that_are_grown_and_faint_or_tiny_ones_are_left_out() -> None:
    map = np.zeros((60, 100), np.float32)
    map[20:30, 20:60] = 0.9
    map[40:50, 20:60] = 0.4
    map[5:7, 5:7] = 0.9
    grow = 10 * 40 * 1.6 / (2 * (10 + 40))
    np.testing.assert_allclose(find_boxes(map), [[20 - grow, 20 - grow, 60 + grow, 30 + grow]])
    assert find_boxes(np.zeros_like(map)).shape == (0, 4)


def test_f1_counts_missed_and_surplus_boxes() -> None:
    first = np.zeros((80, 100), np.float32)
    first[20:24, 20:60] = 0.9
    (box,) = find_boxes(first)
    labels = np.array([box, [70, 60, 90, 70]])
    samples = [Sample("one", {"x": first}, labels), Sample("two", {"x": np.zeros_like(first)}, labels[:0])]

    def run(feed: Feed) -> Outputs:
        return {"map": feed["x"][None, None]}

    tallies = measure(run, samples)
    assert tallies["box F1"].tolist() == [[2, 3], [0, 0]]
    assert ratio(tallies["box F1"]) == pytest.approx(2 / 3)
    assert 0.5 < ratio(tallies["pixel IoU"]) < 1


def test_agreement_is_the_iou_of_two_maps() -> None:
    wide, narrow = np.zeros((1, 1, 8, 8), np.float32), np.zeros((1, 1, 8, 8), np.float32)
    wide[..., :4, :] = 0.8
    narrow[..., :3, :] = 0.8
    samples = [Sample("one", {"x": wide})]
    tally = agreement(lambda feed: {"y": narrow}, lambda feed: {"y": wide}, samples)["map IoU"]
    assert tally.tolist() == [[24, 32]]
