"""References that are moved onto a face: where they come to lie, what of them is shown, and how the lips move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.method import warp
from idfsr_jax.method.landmarks import MEAN_SHAPE
from idfsr_jax.method.warp import MOUTH, inside_frame, pixel_centres

SIZE = 64
FACE = (MEAN_SHAPE * 0.35 + np.array([0.5, 0.42])).astype(np.float32)
WHOLE = np.eye(3, dtype=np.float32)[:2]
warp_references = jax.jit(warp.warp_references, static_argnames="mouth")
backward_map = jax.jit(warp.backward_map, static_argnames="size")


def warped(reference, reference_landmarks, landmarks, frame=WHOLE, present=1.0, mouth=1.0):
    moved, valid = warp_references(
        jnp.asarray(reference[None, None]),
        jnp.asarray(reference_landmarks[None, None]),
        jnp.asarray(frame[None, None]),
        jnp.full((1, 1), present),
        jnp.asarray(landmarks[None]),
        mouth,
    )
    return np.asarray(moved)[0, 0], np.asarray(valid)[0, 0, ..., 0]


def spot(at, width=0.03):
    """A picture with a bright Gaussian at a place."""
    distance = np.square(pixel_centres(SIZE) - at).sum(axis=-1)
    return np.repeat(np.exp(-distance / (2 * width**2))[..., None], 3, axis=-1).astype(np.float32)


def middle_of(picture):
    weight = np.maximum(picture[..., 0], 0.0) ** 2
    return (weight[..., None] * pixel_centres(SIZE)).sum(axis=(0, 1)) / weight.sum()


def test_a_reference_in_place_stays():
    picture = spot(FACE[30])
    moved, valid = warped(picture, FACE, FACE)
    np.testing.assert_allclose(moved[2:-2, 2:-2], picture[2:-2, 2:-2], atol=2e-3)
    assert valid[4:-4, 4:-4].min() == 1.0


@pytest.mark.parametrize("point", [30, 36, 8])
def test_a_turned_and_scaled_face_comes_back_onto_its_landmarks(point):
    turn = 1.15 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]], np.float32)
    there = ((FACE - 0.5) @ turn.T + 0.5 + np.array([0.03, -0.02])).astype(np.float32)
    moved, _ = warped(spot(there[point]), there, FACE)
    np.testing.assert_allclose(middle_of(moved), FACE[point], atol=0.01)


def test_only_the_lips_follow_an_expression():
    open_mouth = FACE.copy()
    open_mouth[MOUTH] += np.where(FACE[MOUTH, 1:] > FACE[60, 1], 0.06, 0.0) * np.array([0.0, 1.0], np.float32)
    low = backward_map(jnp.asarray(FACE[None]), jnp.asarray(open_mouth[None]), SIZE, jnp.ones(1))[0]
    still = backward_map(jnp.asarray(FACE[None]), jnp.asarray(open_mouth[None]), SIZE, jnp.zeros(1))[0]
    away = np.linalg.norm(np.asarray(low - still), axis=-1)

    def at(point):
        column, row = (open_mouth[point] * SIZE).astype(int)
        return away[row, column]

    assert at(57) == pytest.approx(0.06, abs=0.01)
    assert max(at(point) for point in (36, 39, 42, 45, 27, 0, 16)) < 0.004
    moved, _ = warped(spot(FACE[57], 0.02), FACE, open_mouth)
    np.testing.assert_allclose(middle_of(moved), open_mouth[57], atol=0.015)


def test_what_lies_beyond_the_photograph_is_not_shown():
    # The photograph ends in the middle of the crop.
    frame = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    moved, valid = warped(np.ones((SIZE, SIZE, 3), np.float32), FACE, FACE, frame)
    half = SIZE // 2
    assert valid[4:-4, 4 : half - 2].min() == 1.0 and valid[:, half + 2 :].max() == 0.0
    np.testing.assert_array_equal(moved[:, half + 2 :], 0.0)


def test_an_absent_reference_shows_nothing():
    moved, valid = warped(np.ones((SIZE, SIZE, 3), np.float32), FACE, FACE, present=0.0)
    assert np.abs(moved).max() == 0.0 and valid.max() == 0.0


def test_the_ramp_on_a_frame_s_border_is_a_pixel_wide():
    frame = np.array([[1.0, 0.0, -0.25], [0.0, 1.0, 0.0]], np.float32)
    shown = np.asarray(inside_frame(jnp.asarray(frame[None]), jnp.asarray(pixel_centres(SIZE)[None]), SIZE))[0, 8, :, 0]
    assert shown[SIZE // 4 - 1] == 0.0 and shown[SIZE // 4] == 1.0
