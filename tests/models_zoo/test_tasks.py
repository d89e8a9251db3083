from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pytest

from models_zoo import SPLITS, paired_interval, ratio
from onnxslim.errors import InputError
from onnxslim.execution import Feed, Outputs
from onnxslim.samples import Sample
from tests.models_zoo.common import EVERY, entry, session


def _content(sample: Sample) -> str:
    parts = (f"{name} {array.shape}".encode() + array.tobytes() for name, array in sorted(sample.feed.items()))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _contents(samples: Iterable[Sample]) -> list[str]:
    return [_content(sample) for sample in samples]


@pytest.mark.parametrize("name", EVERY)
def test_fp32_scores_within_its_band(name: str) -> None:
    task = entry(name).scored()
    score = entry(name).score(session(name))
    low, high = task.band
    assert low <= score <= high, score


@pytest.mark.parametrize("name", EVERY)
def test_a_model_that_knows_nothing_scores_below_the_band(name: str) -> None:
    run = session(name)

    def blind(feed: Feed) -> Outputs:
        # The right shapes and dtypes, the same content whatever the input.
        return run({key: array if array.dtype == np.int64 else np.zeros_like(array) for key, array in feed.items()})

    def constant(feed: Feed) -> Outputs:
        return {key: np.ones_like(array) for key, array in blind(feed).items()}

    task = entry(name).scored()
    assert entry(name).score(constant, limit=min(40, task.usual // 3)) < task.band[0] - 0.2


@pytest.mark.parametrize("name", EVERY)
def test_splits_have_their_sizes_and_share_neither_ids_nor_contents(name: str) -> None:
    task = entry(name).scored()
    ids: dict[str, str] = {}
    contents: dict[str, str] = {}
    for split in SPLITS:
        samples = entry(name).samples(split)
        assert len(samples) == task.sizes[split]
        assert len(set(samples.ids)) == len(samples)
        for id in samples.ids:
            assert ids.setdefault(id, split) == split
        for content in _contents(samples.first(min(150, task.usual))):
            assert contents.setdefault(content, split) == split
    assert task.usual <= task.sizes["report"]


@pytest.mark.parametrize("name", EVERY)
def test_samples_are_the_same_each_time_and_fit_the_model(name: str) -> None:
    samples = entry(name).samples("calibration").first(8)
    first = _contents(samples)
    assert first == _contents(samples)
    assert first == _contents(entry(name).samples("calibration").first(8))
    assert len(set(first)) == 8
    for sample in samples:
        outputs = session(name)(sample.feed)
        assert all(np.isfinite(array).all() for array in outputs.values())


def test_limit_takes_the_first_samples() -> None:
    tallies = entry("digits_cnn").measure(session("digits_cnn"), limit=30)
    assert len(tallies["accuracy"]) == 30
    whole = entry("digits_cnn").measure(session("digits_cnn"))
    np.testing.assert_array_equal(whole["accuracy"][:30], tallies["accuracy"])


def test_unknown_split_is_an_error_that_names_the_near_one() -> None:
    with pytest.raises(InputError, match="did you mean 'report'"):
        entry("digits_cnn").samples("reports")


def test_digits_are_scored_on_images_that_were_not_trained_on() -> None:
    from models_zoo.entries.digits_cnn import indices

    training, selection, report = (set(indices(part).tolist()) for part in ("training", "selection", "report"))
    assert len(training) + len(selection) + len(report) == 1797
    assert not training & selection
    assert not training & report
    assert not selection & report
    assert set(indices("calibration").tolist()) < training


def test_agreement_of_a_model_with_itself_is_full_and_with_a_blind_one_is_not() -> None:
    task = entry("minilm_l3").scored()
    assert task.agreement is not None
    run = session("minilm_l3")
    samples = entry("minilm_l3").samples("report").first(40)
    same = task.agreement(run, run, samples)
    assert ratio(same["nearest neighbour"]) == 1.0
    assert ratio(same["cosine"]) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    noisy = task.agreement(
        lambda feed: {k: v + rng.normal(size=v.shape) if v.dtype == np.float32 else v for k, v in run(feed).items()},
        run,
        samples,
    )
    assert ratio(noisy["nearest neighbour"]) < 0.7
    assert ratio(noisy["cosine"]) < 0.7


def test_paired_interval_is_narrower_than_an_unpaired_one_and_holds_the_difference() -> None:
    rng = np.random.default_rng(5)
    right = (rng.random(600) < 0.9).astype(float)
    worse = right * (rng.random(600) < 0.97)
    a, b = (np.stack([column, np.ones(600)], 1) for column in (right, worse))
    low, high = paired_interval(a, b)
    assert low < ratio(a) - ratio(b) < high
    assert low > 0
    shuffled = b[rng.permutation(600)]
    wide_low, wide_high = paired_interval(a, shuffled)
    assert wide_high - wide_low > high - low
    assert paired_interval(a, a) == (0.0, 0.0)
    with pytest.raises(ValueError, match="same items"):
        paired_interval(a, b[:-1])
