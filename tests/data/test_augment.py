import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.data.augment import FLIP_68, mirror, mirror_landmarks, own_reference, recolour, slight_movement
from idfsr_jax.face import align_face, choose_face, find_faces

LEFT_EYE, RIGHT_EYE = range(36, 42), range(42, 48)


@pytest.fixture
def crop(astronaut):
    return align_face(astronaut, choose_face(find_faces(astronaut), astronaut, "astronaut", rule="central"))


def test_flip_is_an_involution_that_exchanges_sides():
    np.testing.assert_array_equal(FLIP_68[FLIP_68], np.arange(68))
    assert sorted(FLIP_68[LEFT_EYE]) == list(RIGHT_EYE)
    assert sorted(FLIP_68[range(17, 22)]) == list(range(22, 27))
    fixed = [8, *range(27, 31), 33, 51, 57, 62, 66]
    np.testing.assert_array_equal(np.flatnonzero(FLIP_68 == np.arange(68)), fixed)


def test_mirrored_landmarks_are_what_dlib_finds_on_the_mirrored_photograph(astronaut, crop):
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    found = align_face(mirrored, choose_face(find_faces(mirrored), mirrored, "mirrored", rule="central"))
    expected = mirror(crop.image, crop.landmarks)[1]
    distance = np.linalg.norm(found.landmarks - expected, axis=1)
    assert distance.mean() < 0.02
    assert distance.max() < 0.06  # A wrong partner would lie farther off.


def test_mirroring_twice_changes_nothing(crop):
    image, landmarks = mirror(*mirror(crop.image, crop.landmarks))
    np.testing.assert_array_equal(image, crop.image)
    np.testing.assert_allclose(landmarks, crop.landmarks, atol=1e-6)


def test_landmarks_are_mirrored_alike_in_numpy_and_jax_and_in_batches(crop):
    expected = mirror_landmarks(crop.landmarks)
    assert isinstance(expected, np.ndarray) and expected.dtype == np.float32
    batch = jax.jit(mirror_landmarks)(jnp.stack([jnp.asarray(crop.landmarks)] * 2))
    np.testing.assert_allclose(batch, np.stack([expected] * 2), atol=1e-7)


def test_movement_is_small_and_never_the_same():
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1.0]]).T
    moved = [
        np.abs((slight_movement(np.random.default_rng(seed)) @ corners - corners)[:2]).max() for seed in range(100)
    ]
    assert 0.15 > max(moved) > min(moved) > 0


def test_own_reference_carries_its_landmarks_along(crop):
    side = 128
    image, landmarks = own_reference(np.random.default_rng(3), crop.image, crop.landmarks, side)
    assert image.shape == (side, side, 3) and image.dtype == np.uint8 and landmarks.dtype == np.float32
    faces = find_faces(image)
    found = choose_face(faces, image, "own", rule="central").landmarks / side
    assert np.linalg.norm(found - landmarks, axis=1).mean() < 0.025
    # It is no copy: neither of the crop nor of its mirror image.
    plain = mirror(crop.image, crop.landmarks)[0]
    step = max(1, len(plain) // side)
    assert np.abs(image.mean((0, 1)) - plain[::step, ::step].mean((0, 1))).max() > 2


def test_recolouring_keeps_order_and_extremes(crop):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for seed in range(20):
        curve = recolour(np.random.default_rng(seed), ramp)[0].astype(int)
        assert np.all(np.diff(curve, axis=0) >= 0)
        assert np.all(curve[0] == 0) and np.all(curve[-1] > 180)
