import numpy as np
import pytest

from idfsr_jax.config import ReferenceMixture
from idfsr_jax.data.pairs import (
    MOST_EMBEDDED,
    choose_embedded,
    choose_reference,
    nearest_in_pose,
    nearest_others,
    reference_probabilities,
)
from idfsr_jax.errors import BadConfig
from idfsr_jax.method.references import normalised_shapes

PERSON = np.array([0] * 8 + [1] * 3 + [2] * 2 + [3] + [4] * 30)
MEMBERS = tuple(np.flatnonzero(PERSON == who) for who in range(5))
SHAPES = normalised_shapes(np.random.default_rng(0).uniform(size=(len(PERSON), 68, 2)).astype(np.float32))


def _draw(target, mixture, count=2000, person=PERSON, members=MEMBERS, shapes=SHAPES):
    rng = np.random.default_rng(1)
    probabilities = reference_probabilities(mixture)
    return [choose_reference(rng, target, person, members, shapes, probabilities) for _ in range(count)]


def test_mixture_is_honoured():
    count = 4000
    drawn = _draw(0, ReferenceMixture(same=2.0, other=1.0, own=1.0), count)
    for kind, share in (("same", 0.5), ("other", 0.25), ("own", 0.25)):
        tolerance = 4 * np.sqrt(share * (1 - share) / count)
        assert abs(np.mean([k == kind for k, _ in drawn]) - share) < tolerance


def test_each_kind_is_what_it_says():
    for target in (0, 9, 12, 20):
        for kind, record in _draw(target, ReferenceMixture(0.4, 0.3, 0.3), 500):
            if kind == "own":
                assert record == target
            else:
                assert record != target and (PERSON[record] == PERSON[target]) == (kind == "same")


def test_same_draws_every_other_photograph_alike():
    records = [record for _, record in _draw(3, ReferenceMixture(1.0, 0.0, 0.0), 7000)]
    values, counts = np.unique(records, return_counts=True)
    assert sorted(values) == [0, 1, 2, 4, 5, 6, 7]
    assert np.sum((counts - 1000) ** 2 / 1000) < 22.5  # chi-squared, 6 degrees of freedom, p = 0.001


def test_people_with_one_photograph_fall_back_to_themselves():
    assert {kind for kind, _ in _draw(13, ReferenceMixture(1.0, 0.0, 0.0), 50)} == {"own"}
    assert {kind for kind, _ in _draw(13, ReferenceMixture(0.0, 1.0, 0.0), 50)} == {"other"}


def test_a_single_person_has_no_other():
    person, members = np.zeros(3, int), (np.arange(3),)
    drawn = _draw(1, ReferenceMixture(0.0, 1.0, 0.0), 50, person, members, SHAPES[:3])
    assert {kind for kind, _ in drawn} == {"same"} and {record for _, record in drawn} == {0, 2}
    alone = _draw(0, ReferenceMixture(0.0, 1.0, 0.0), 5, np.zeros(1, int), (np.arange(1),), SHAPES[:1])
    assert set(alone) == {("own", 0)}


@pytest.mark.parametrize("target", [0, 13, 43])
def test_nearest_others_against_scipy(target):
    from scipy.spatial import cKDTree

    others = np.flatnonzero(PERSON != PERSON[target])
    for count in (1, 5, 16, 100):
        _, near = cKDTree(SHAPES[others]).query(SHAPES[target], k=min(count, len(others)))
        expected = others[np.atleast_1d(near)]
        np.testing.assert_array_equal(nearest_others(SHAPES, PERSON, target, count), expected)


def test_shapes_ignore_place_and_size_but_not_tilt():
    face = np.random.default_rng(2).uniform(size=(1, 68, 2)).astype(np.float32)
    plain = normalised_shapes(face)
    np.testing.assert_allclose(normalised_shapes(face * 0.5 + np.float32(0.2)), plain, atol=1e-5)
    assert np.abs(normalised_shapes(face[..., ::-1].copy()) - plain).max() > 0.1
    assert np.all(np.isfinite(normalised_shapes(np.zeros((1, 68, 2), np.float32))))


def test_the_nearest_pose_is_found_wherever_and_however_large_the_face_is():
    poses = np.random.default_rng(2).uniform(size=(5, 68, 2)).astype(np.float32)
    for place, pose in enumerate(poses):
        assert nearest_in_pose(pose * np.float32(0.5) + np.float32(0.1), poses) == place


def test_embedded_photographs():
    rng = np.random.default_rng(4)
    drawn = [choose_embedded(rng, 2, MEMBERS[0], 0.3) for _ in range(3000)]
    own = [records for records in drawn if 2 in records]
    assert all(len(records) == 1 for records in own)
    assert abs(len(own) / len(drawn) - 0.3) < 4 * np.sqrt(0.21 / len(drawn))
    others = [records for records in drawn if 2 not in records]
    assert {len(records) for records in others} == set(range(1, MOST_EMBEDDED + 1))
    assert all(len(set(records)) == len(records) and set(records) <= set(MEMBERS[0]) for records in others)
    np.testing.assert_array_equal(choose_embedded(rng, 13, MEMBERS[3], 0.0), [13])


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (-1.0, 1.0, 1.0), (float("nan"), 1.0, 1.0)])
def test_senseless_mixtures_are_refused(weights):
    with pytest.raises(BadConfig):
        reference_probabilities(ReferenceMixture(*weights))
