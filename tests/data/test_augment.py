import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.data.augment import FLIP_68, mirror_landmarks
from idfsr_jax.face import align_face, central_face, find_faces

LEFT_EYE, RIGHT_EYE = range(36, 42), range(42, 48)


@pytest.fixture
def landmarks(face_crop):
    return face_crop.landmarks


def test_flip_is_an_involution_that_exchanges_sides():
    np.testing.assert_array_equal(FLIP_68[FLIP_68], np.arange(68))
    assert sorted(FLIP_68[LEFT_EYE]) == list(RIGHT_EYE)
    assert sorted(FLIP_68[range(17, 22)]) == list(range(22, 27))
    fixed = [8, *range(27, 31), 33, 51, 57, 62, 66]
    np.testing.assert_array_equal(np.flatnonzero(FLIP_68 == np.arange(68)), fixed)


def test_mirrored_landmarks_are_what_dlib_finds_on_the_mirrored_photograph(astronaut, landmarks):
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    found = align_face(mirrored, central_face(find_faces(mirrored), mirrored, "mirrored"))
    distance = np.linalg.norm(found.landmarks - mirror_landmarks(landmarks), axis=1)
    assert distance.mean() < 0.02
    assert distance.max() < 0.06  # A wrong partner would lie farther off.


def test_mirroring_twice_changes_nothing(landmarks):
    np.testing.assert_allclose(mirror_landmarks(mirror_landmarks(landmarks)), landmarks, atol=1e-6)


def test_landmarks_are_mirrored_alike_in_numpy_and_jax_and_in_batches(landmarks):
    expected = mirror_landmarks(landmarks)
    assert isinstance(expected, np.ndarray) and expected.dtype == np.float32
    batch = jax.jit(mirror_landmarks)(jnp.stack([jnp.asarray(landmarks)] * 2))
    np.testing.assert_allclose(batch, np.stack([expected] * 2), atol=1e-7)
