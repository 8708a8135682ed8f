"""Which photographs stand beside a face."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.method import condition
from idfsr_jax.method.condition import References
from idfsr_jax.method.references import likest, nearest_first

B, K, COUNT, SIZE = 4, 5, 3, 2
nearest_references = jax.jit(condition.nearest_references, static_argnums=2)


def drawn():
    """Faces, and candidates that can be told apart by any field."""
    rng = np.random.default_rng(0)
    numbers = np.arange(1, B * K + 1, dtype=np.float32).reshape(B, K)
    candidates = References(
        images=jnp.asarray(np.broadcast_to(numbers[..., None, None, None] / 100, (B, K, SIZE, SIZE, 3))),
        landmarks=jnp.asarray(rng.uniform(size=(B, K, 68, 2)).astype(np.float32)),
        frames=jnp.asarray(np.broadcast_to(numbers[..., None, None], (B, K, 2, 3))),
        present=jnp.ones((B, K)),
        identities=jnp.asarray(np.broadcast_to(numbers[..., None], (B, K, 7))),
    )
    return jnp.asarray(rng.uniform(size=(B, 68, 2)).astype(np.float32)), candidates


def test_those_are_taken_that_lie_nearest_by_their_landmarks():
    faces, candidates = drawn()
    references, chosen = nearest_references(candidates, faces, COUNT)
    pairs = zip(np.asarray(faces), np.asarray(candidates.landmarks), strict=True)
    expected = np.stack([nearest_first(face, several)[:COUNT] for face, several in pairs])
    assert len({tuple(row) for row in expected}) > 1
    np.testing.assert_array_equal(chosen, expected)
    for name in ("images", "landmarks", "frames", "present", "identities"):
        rows = [np.asarray(getattr(candidates, name))[i, expected[i]] for i in range(B)]
        np.testing.assert_array_equal(getattr(references, name), np.stack(rows))


def test_shift_and_size_of_a_face_do_not_count():
    faces, candidates = drawn()
    _, chosen = nearest_references(candidates, faces, COUNT)
    _, moved = nearest_references(candidates, 0.5 * faces + 0.2, COUNT)
    np.testing.assert_array_equal(moved, chosen)


def test_places_for_which_there_is_no_photograph_say_nothing():
    faces, candidates = drawn()
    present = jnp.asarray(np.float32([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]))
    unread = jnp.where(present[..., None, None] > 0, candidates.landmarks, jnp.nan)
    references, chosen = nearest_references(candidates.replace(present=present, landmarks=unread), faces, COUNT)
    np.testing.assert_array_equal(references.present, np.float32([[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]]))
    assert sorted(chosen[1].tolist()) == [-1, 1, 3] and chosen[2].tolist() == [-1, -1, -1]
    absent = np.asarray(references.present) == 0
    np.testing.assert_array_equal(references.landmarks[absent], np.asarray(faces)[np.nonzero(absent)[0]])
    np.testing.assert_array_equal(references.frames[absent], np.broadcast_to(np.eye(2, 3), (absent.sum(), 2, 3)))
    assert not np.any(references.images[absent]) and not np.any(references.identities[absent])


def test_fewer_candidates_than_places_are_enough():
    faces, candidates = drawn()
    one = jax.tree.map(lambda leaf: leaf[:, :1], candidates)
    references, chosen = nearest_references(one, faces, COUNT)
    assert np.asarray(chosen).tolist() == [[0, -1, -1]] * B
    np.testing.assert_array_equal(references.present, np.float32([[1, 0, 0]] * B))


def test_the_nearest_is_told_up_to_shift_and_scale():
    rng = np.random.default_rng(0)
    face = rng.uniform(size=(68, 2))
    moved = 3.0 * face + np.array([5.0, -2.0])
    far, near = moved + rng.normal(scale=0.6, size=(68, 2)), moved + rng.normal(scale=0.03, size=(68, 2))
    assert nearest_first(face, np.stack([far, near, moved])).tolist() == [2, 1, 0]
    assert nearest_first(face, np.zeros((0, 68, 2))).tolist() == []


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (20, 12)])
def test_three_in_five_photographs_are_shown_and_they_are_those_nearest_the_identity(count, shown):
    rng = np.random.default_rng(count)
    cosines = rng.permutation(np.linspace(-0.5, 0.9, count))
    units = np.stack([cosines, np.sqrt(1.0 - cosines**2)], axis=1).astype(np.float32)
    chosen = likest(np.array([1.0, 0.0], np.float32), units)
    assert len(chosen) == shown and np.all(np.diff(chosen) > 0)
    rest = np.delete(np.arange(count), chosen)
    assert shown in (0, count) or cosines[chosen].min() > cosines[rest].max()
