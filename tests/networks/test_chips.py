import jax
import jax.numpy as jnp
import numpy as np

from idfsr_jax.networks.chips import face_chips, moved_landmarks


def test_landmarks_are_moved_by_similarities(face_crop):
    """Every face's points are a similarity of what they were: complex numbers w with w' = p w + q."""
    landmarks = np.repeat(face_crop.landmarks[None], 400, 0)
    moved = np.asarray(moved_landmarks(jax.random.key(0), jnp.asarray(landmarks), 0.03), np.float64)
    before, after = (points[..., 0] + 1j * points[..., 1] for points in (landmarks.astype(np.float64), moved))
    middle = before - before.mean(1, keepdims=True)
    p = (after * middle.conj()).sum(1) / np.square(np.abs(middle)).sum(1)
    q = after.mean(1) - before.mean(1)
    np.testing.assert_allclose(after - after.mean(1, keepdims=True), p[:, None] * middle, atol=1e-6)
    for drawn in (p.real - 1, p.imag, q.real, q.imag):
        assert abs(drawn.mean()) < 0.006 and 0.027 < drawn.std() < 0.033
    assert np.abs(np.corrcoef([p.real, p.imag, q.real, q.imag]) - np.eye(4)).max() < 0.2


def test_without_deviation_nothing_moves(face_crop):
    landmarks = jnp.asarray(face_crop.landmarks[None])
    np.testing.assert_allclose(moved_landmarks(jax.random.key(0), landmarks, 0.0), landmarks, atol=1e-7)


def test_a_chip_by_moved_landmarks_shows_the_face_moved(face_crop):
    """Landmarks a twentieth to the right: the chip shows what lies there, the face a twentieth to the left."""
    image = jnp.asarray(face_crop.image, jnp.float32)[None] / 127.5 - 1.0
    landmarks = jnp.asarray(face_crop.landmarks[None])
    step = 0.05
    side = image.shape[1]
    rolled = jnp.roll(image, -round(step * side), axis=2)
    by_landmarks = np.asarray(face_chips(image, landmarks + jnp.array([round(step * side) / side, 0.0])))
    by_picture = np.asarray(face_chips(rolled, landmarks))
    np.testing.assert_allclose(by_landmarks, by_picture, atol=0.1)
