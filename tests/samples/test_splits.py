from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.errors import InputError
from onnxslim.samples import Sample, Samples, sample_set_hash, split
from tests.calibration.nets import images


def numbered(count: int) -> list[Sample]:
    return [Sample(f"s{i}", {"x": np.full((1, 2), i, np.float32)}) for i in range(count)]


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 10**6).map(str), min_size=3, max_size=40), st.randoms())
def test_parts_are_disjoint_complete_filled_and_independent_of_order(ids: set[str], random: object) -> None:
    samples = [Sample(name, {"x": np.array([i], np.float32)}) for i, name in enumerate(sorted(ids))]
    parts = split(samples)
    sets = [set(part.ids) for part in (parts.calibration, parts.selection, parts.report)]
    assert set.union(*sets) == ids
    assert sum(map(len, sets)) == len(ids)
    assert min(map(len, sets)) >= 1
    for found, share in zip(sets, (0.5, 0.25, 0.25), strict=True):
        assert abs(len(found) - share * len(ids)) <= 1
    random.shuffle(samples)  # type: ignore[attr-defined]
    again = split(samples)
    assert [set(p.ids) for p in (again.calibration, again.selection, again.report)] == sets


def test_the_split_never_changes() -> None:
    parts = split(numbered(12))
    assert parts.calibration.ids == ("s0", "s2", "s3", "s7", "s10", "s11")
    assert parts.selection.ids == ("s1", "s5", "s6")
    assert parts.report.ids == ("s4", "s8", "s9")


class Once:
    """A source without indices."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


@pytest.mark.parametrize("kind", [list, Once])
def test_parts_are_read_again_and_again_in_the_order_of_the_source(kind: type) -> None:
    parts = split(kind(numbered(9)))
    for part in (parts.calibration, parts.selection, parts.report):
        assert [sample.id for sample in part] == [sample.id for sample in part] == list(part.ids)
        assert len(part) == len(part.ids)


@pytest.mark.parametrize("kind", [lambda samples: samples, Once])
def test_a_source_that_changes_is_found_out(kind: Callable[[list[Sample]], Samples]) -> None:
    samples = numbered(9)
    parts = split(kind(samples))
    samples[0] = Sample("other", samples[0].feed)
    with pytest.raises(InputError, match="'s0' is gone since the samples were split"):
        [list(part) for part in (parts.calibration, parts.selection, parts.report)]


def test_few_samples_claim_nothing() -> None:
    assert not split(numbered(7)).can_claim
    assert "no change of a score can be claimed: 7 distinct samples, at least 8" in split(numbered(7)).notes[0]
    parts = split(numbered(8))
    assert parts.can_claim
    assert parts.notes == ()


def test_equal_data_never_lies_in_two_parts() -> None:
    samples = [Sample(f"s{i}", {"x": np.full((1, 2), i % 10, np.float32)}) for i in range(30)]
    parts = split(samples)
    contents = [
        {float(sample.feed["x"][0, 0]) for sample in part}
        for part in (parts.calibration, parts.selection, parts.report)
    ]
    assert sum(map(len, contents)) == 10
    assert "20 of 30 samples repeat the data of others" in parts.notes[0]


def test_constant_data_is_noted() -> None:
    samples = [Sample(str(i), {"x": np.zeros((1, 2), np.float32)}) for i in range(20)]
    parts = split(samples)
    assert not parts.can_claim
    assert any("all 20 samples hold the same data" in note for note in parts.notes)


def test_ids_must_differ_and_there_must_be_samples() -> None:
    with pytest.raises(InputError, match="two samples have the id 's1'"):
        split([*numbered(3), Sample("s1", {"x": np.ones((1, 2), np.float32)})])
    with pytest.raises(InputError, match="no samples to split"):
        split([])


def test_the_hash_of_a_set_is_of_ids_names_dtypes_shapes_and_data_in_order() -> None:
    base = images(3)
    x = base[0].feed["x"]
    variants = [
        base,
        [base[1], base[0], base[2]],
        base[:2],
        [Sample("other", base[0].feed), *base[1:]],
        [Sample("s000", {"y": x}), *base[1:]],
        [Sample("s000", {"x": x.astype(np.float64)}), *base[1:]],
        [Sample("s000", {"x": x.reshape(3, 1, 8, 8)}), *base[1:]],
        [Sample("s000", {"x": x + 1e-6}), *base[1:]],
    ]
    assert len({sample_set_hash(variant) for variant in variants}) == len(variants)
    labelled = [Sample(s.id, {"x": np.asfortranarray(s.feed["x"])}, label=3) for s in base]
    assert sample_set_hash(labelled) == sample_set_hash(base)
    texts = [[Sample("a", {"x": np.array(t, object)})] for t in (["a", "bc"], ["ab", "c"])]
    assert sample_set_hash(texts[0]) != sample_set_hash(texts[1])
