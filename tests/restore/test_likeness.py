"""Groups, agreement and choice by hand-made unit vectors whose answer is known."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from idfsr_jax.restore.likeness import (
    SAME_PERSON,
    Likeness,
    agreement,
    face_probabilities,
    group_by_person,
    is_told,
    likeness_to_others,
    mean_direction,
    reliability,
    shared_out,
)


def people(counts: list[int], spread: float, seed: int = 0) -> np.ndarray:
    """Unit vectors around one random direction for each person."""
    rng = np.random.default_rng(seed)
    vectors = np.concatenate([rng.normal(size=128) + spread * rng.normal(size=(count, 128)) for count in counts])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_people_fall_into_groups_the_largest_first():
    identities = people([2, 5, 1], spread=0.5)
    groups = group_by_person(identities)
    assert [group.tolist() for group in groups] == [[2, 3, 4, 5, 6], [0, 1], [7]]


@pytest.mark.parametrize("seed", range(10))
def test_groups_are_those_of_scipys_average_linkage(seed):
    identities = people([4, 3, 3], spread=1.3, seed=seed)
    labels = fcluster(linkage(pdist(identities, "cosine"), "average"), 1.0 - SAME_PERSON, "distance")
    expected = {tuple(np.flatnonzero(labels == label)) for label in set(labels)}
    assert {tuple(group) for group in group_by_person(identities)} == expected


def test_agreement_is_the_mean_of_all_pairs():
    vectors = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 1, 0]], np.float32)
    assert agreement(vectors) == pytest.approx((0.6 + 0.0 + 0.8) / 3)
    assert agreement(vectors[:1]) == pytest.approx(0.71)


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_reliability_is_the_cosine_of_a_mean_to_the_truth(count):
    """Simulated: unit length in expectation, noise of known strength around one direction."""
    rng = np.random.default_rng(count)
    truth = np.zeros(4000)
    truth[0] = 1.0
    photographs = np.sqrt(0.6) * truth + np.sqrt(0.4 / 4000) * rng.normal(size=(300, count, 4000))
    means = photographs.mean(axis=1)
    cosine = (means @ truth / np.linalg.norm(means, axis=1)).mean()
    assert reliability(count, 0.6) == pytest.approx(cosine, abs=0.01)


def test_reliability_stays_between_0_and_1():
    assert reliability(3, -0.2) == 0.0
    assert reliability(3, 1.2) == pytest.approx(1.0)


def test_each_is_compared_with_the_mean_of_the_others():
    identities = people([4], spread=0.7)
    others = identities[[0, 1, 3]].mean(axis=0)
    expected = identities[2] @ others / np.linalg.norm(others)
    assert likeness_to_others(identities)[2] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(likeness_to_others(identities[:1])).all()


def test_a_mean_direction_has_unit_length():
    vectors = np.eye(3, dtype=np.float32)[:2]
    np.testing.assert_allclose(mean_direction(vectors), np.array([1, 1, 0]) / np.sqrt(2), atol=1e-6)


def probabilities_of(cosines: list[float], sides: list[int]) -> np.ndarray:
    return face_probabilities([Likeness(*each) for each in zip(cosines, sides, strict=True)])


def test_the_most_alike_face_is_the_most_probable():
    probabilities = probabilities_of([0.2, 0.7, 0.3], [32, 32, 32])
    assert probabilities.sum() == pytest.approx(1.0)
    assert np.argmax(probabilities) == 1 and is_told(probabilities)


def test_small_faces_tell_less():
    cosines = [0.7, 0.64, 0.62, 0.6]
    largest = [probabilities_of(cosines, [side] * 4).max() for side in (6, 12, 32)]
    assert largest == sorted(largest)
    assert not is_told(probabilities_of(cosines, [6] * 4))


def test_a_small_face_is_not_taken_because_all_small_faces_are_alike():
    """What is usual for a stranger at 8 px, and for the person at 32 px."""
    assert np.argmax(probabilities_of([0.71, 0.65], [8, 32])) == 1


@pytest.mark.parametrize("only", [True, False])
def test_what_speaks_against_a_face(only):
    assert Likeness(0.65, 16).against(only=only) == Likeness(0.45, 24).against(only=only) == ""
    for cosine, side in ((0.8, 8), (0.7, 12), (0.5, 16)):
        assert Likeness(cosine, side).against(only=only) == ("" if only else "too small to tell")
    for side in (8, 24, 64):
        assert Likeness(-0.5, side).against(only=only) == "unlike the person"
        assert Likeness(-0.5, side, turn=0.6).against(only=only) == "perhaps turned away"
    assert Likeness(0.9, 64, turn=0.6).against(only=only) == ""


@pytest.mark.parametrize(
    ("evidences", "faces"),
    [
        ([[5.0, 1.0], [4.0, 3.0]], [0, 1]),  # Either alone would take the first.
        ([[1.0, 9.0], [2.0, 5.0]], [1, 0]),
        ([[5.0, -3.0], [-4.0, -1.0]], [0, None]),  # The other one is nobody's.
        ([[-5.0], [-1.0]], [None, None]),
        ([[6.0], [5.0]], [None, None]),  # It is one of two people, and nobody can tell of whom.
        ([[6.0], [2.0]], [0, None]),
        ([[1.0, -9.0, -9.0]], [None]),  # More like the person than a stranger, but not by enough.
        ([[5.0, 4.5, -9.0], [-9.0, -9.0, 8.0]], [None, 2]),
        ([[5.0, 4.5], [-9.0, 9.0]], [0, 1]),  # The second face is the other person's, so the first is told.
    ],
)
def test_faces_are_shared_out_so_that_all_together_are_likest(evidences, faces):
    assert shared_out(np.array(evidences)) == faces


def test_no_command_waits_for_what_few_need():
    code = "import sys, idfsr_jax.restore.likeness; sys.exit('scipy.optimize' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
