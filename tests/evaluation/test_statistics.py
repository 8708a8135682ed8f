import numpy as np
import pytest

from idfsr_jax.evaluation import metrics
from idfsr_jax.evaluation.statistics import real_pairs, summary


def test_kernel_distance_equals_the_sums_of_its_definition():
    """Binkowski et al. 2018, equation 4, term by term."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 5)), rng.normal(size=(4, 5)) + 0.5

    def k(a, b):
        return (a @ b / 5 + 1) ** 3

    xx = np.mean([k(x[i], x[j]) for i in range(6) for j in range(6) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(4) for j in range(4) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert metrics.kernel_distance(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-12)


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(1)
    values = [metrics.kernel_distance(rng.normal(size=(20, 8)), rng.normal(size=(20, 8))) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert np.min(values) < 0


def test_real_pairs_of_a_toy_set():
    """Twenty people in the plane, two photographs each; cosines and thresholds counted by hand."""
    turns = 2 * np.pi * np.arange(20) / 20
    angles = np.stack([turns, turns + 0.1], axis=1).reshape(-1)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    facts = real_pairs(vectors, np.repeat(np.arange(20), 2))
    assert facts["same"] == pytest.approx(np.cos(0.1))
    assert (facts["same_pairs"], facts["different_pairs"]) == (20, 40 * 39 // 2 - 20)
    # 7 of 760 pairs may be accepted; the nearest different people are 2 pi / 20 - 0.1 apart, and 20 pairs tie there.
    assert facts["acceptance"]["0.01"]["threshold"] == pytest.approx(np.cos(np.pi / 10 - 0.1))
    assert facts["acceptance"]["0.01"]["threshold"] > np.cos(np.pi / 10 - 0.1) - 1e-12
    assert facts["acceptance"]["0.01"]["same"] == 1.0
    assert "0.001" not in facts["acceptance"]  # 760 pairs cannot tell one in a thousand


def test_a_summary_counts_what_failed():
    facts = summary([1.0, None, 3.0, 2.0], ["a", "a", "b", "b"])
    assert (facts["count"], facts["missing"], facts["people"]) == (3, 1, 2)
    assert facts["mean"] == pytest.approx(2.0)
    low, high = facts["interval"]
    assert low == 1.0 and high == 2.5
    assert summary([None], ["a"]) == {"count": 0, "missing": 1}
