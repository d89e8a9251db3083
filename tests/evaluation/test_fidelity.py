from __future__ import annotations

import math

import numpy as np
import pytest

from onnxslim.evaluation.compare import bound, exact, non_finite, numeric
from tests.nearness import Agreement, cosine, sqnr_db, top1_agreement


def test_sqnr_of_known_noise() -> None:
    generator = np.random.default_rng(0)
    signal = generator.standard_normal(100_000)
    noise = generator.standard_normal(100_000) * 0.01
    assert sqnr_db(signal, signal + noise) == pytest.approx(40, abs=0.1)
    assert sqnr_db(signal, signal) == math.inf
    assert sqnr_db(np.zeros(3), np.ones(3)) == -math.inf


def test_agreement_adds_up_over_arrays() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 10, 4))
    parts = Agreement().add(a[:3], b[:3]).add(a[3:], b[3:])
    assert parts.sqnr_db == pytest.approx(sqnr_db(a, b))
    assert parts.cosine == pytest.approx(cosine(a, b))
    assert parts.top1 == pytest.approx(top1_agreement(a, b))
    with pytest.raises(ValueError, match="shapes differ"):
        parts.add(a, b[:2])


def test_masked_infinities_do_not_count() -> None:
    a = np.array([1.0, -np.inf, 2.0])
    assert sqnr_db(a, a) == math.inf


def test_exact_sees_the_sign_of_zero() -> None:
    difference, _ = exact(np.array([0.0, 1.0]), np.array([-0.0, 1.0]), "y", 0)
    assert difference is not None
    assert "1 of 2 elements" in difference.detail
    assert exact(np.array([np.nan]), np.array([np.nan]), "y", 0) == (None, 0.0)


def test_the_bound_is_never_tighter_than_the_originals_own_difference() -> None:
    a, b = np.array([1.0], np.float32), np.array([1.003], np.float32)
    assert numeric(a, b, "y", 0, own=0.0, scale=1.0)[0] is not None
    assert numeric(a, b, "y", 0, own=0.001, scale=1.0)[0] is None
    np.testing.assert_allclose(bound(np.array([0.0, 10.0]), 0.0, 1.0), [1e-5, 1.01e-3])


def test_patterns_of_nan_and_infinity() -> None:
    inf, nan = np.inf, np.nan
    same = np.array([1, nan, inf, -inf])
    assert non_finite(same, same.copy(), "y", 0) is None
    for other in ([nan, nan, inf, -inf], [1, 0, inf, -inf], [1, nan, -inf, -inf], [1, nan, 3, -inf]):
        assert non_finite(same, np.array(other), "y", 0) is not None
