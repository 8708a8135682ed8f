"""The face mask against scikit-image's polygons, and the tone of the LR face beneath it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from skimage.draw import polygon2mask

from idfsr_jax.method import mask as masks

SIZE = 64

face_mask = jax.jit(masks.face_mask, static_argnums=1, static_argnames="feather")
face_outline = jax.jit(masks.face_outline)
low_frequency_tone = jax.jit(masks.low_frequency_tone)


def drawn_face() -> Float[np.ndarray, "68 2"]:
    """68 points of a schematic face that fills about half of the crop, unit coordinates."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.24 * np.cos(angle), 0.48 + 0.32 * np.sin(angle)], axis=1)
    brow = np.stack([np.linspace(0, 1, 5), -0.02 * np.sin(np.linspace(0, np.pi, 5))], axis=1)
    brows = np.concatenate([brow * [0.14, 1] + [0.32, 0.42], brow * [0.14, 1] + [0.54, 0.42]])
    bridge = np.stack([np.full(4, 0.5), np.linspace(0.47, 0.56, 4)], axis=1)
    nostrils = np.stack([np.linspace(0.45, 0.55, 5), np.full(5, 0.59)], axis=1)
    turn = np.linspace(np.pi, 3 * np.pi, 7)[:-1]
    eye = np.stack([0.04 * np.cos(turn), 0.015 * np.sin(turn)], axis=1)
    turn = np.linspace(np.pi, 3 * np.pi, 13)[:-1]
    lips = np.stack([0.09 * np.cos(turn), 0.03 * np.sin(turn)], axis=1) + np.array([0.5, 0.68])
    turn = np.linspace(np.pi, 3 * np.pi, 9)[:-1]
    inner_lips = np.stack([0.07 * np.cos(turn), 0.01 * np.sin(turn)], axis=1) + np.array([0.5, 0.68])
    eyes = [eye + np.array([0.39, 0.47]), eye + np.array([0.61, 0.47])]
    return np.concatenate([jaw, brows, bridge, nostrils, *eyes, lips, inner_lips]).astype(np.float32)


def faces(noise: float, count: int = 6) -> Float[np.ndarray, "b 68 2"]:
    rng = np.random.default_rng(0)
    points = drawn_face() + rng.uniform(-0.08, 0.08, (count, 1, 2)) + rng.normal(0, noise, (count, 68, 2))
    return points.astype(np.float32)


def filled(outline: np.ndarray) -> np.ndarray:
    """scikit-image's polygon; it counts rows and columns from the centre of the first pixel."""
    return polygon2mask((SIZE, SIZE), outline[:, ::-1].astype(np.float64) * SIZE - 0.5)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_mask_is_the_polygon_of_jaw_and_raised_brows(noise):
    landmarks = faces(noise)
    mask = np.asarray(face_mask(jnp.asarray(landmarks), SIZE))[..., 0]
    for soft, outline in zip(mask, np.asarray(face_outline(jnp.asarray(landmarks)))):
        ours, theirs = soft > 0.5, filled(outline)
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97
        assert soft.sum() == pytest.approx(theirs.sum(), rel=0.04)


def test_the_feather_is_the_smoothstep_of_the_distance_to_the_outline():
    landmarks = faces(0.0, 1)
    outline = np.asarray(face_outline(jnp.asarray(landmarks)))[0].astype(np.float64)
    dense = np.concatenate([np.linspace(a, b, 1000) for a, b in zip(outline, np.roll(outline, -1, axis=0))])
    centres = (np.arange(SIZE) + 0.5) / SIZE
    pixels = np.stack(np.meshgrid(centres, centres), axis=-1)
    distance, _ = cKDTree(dense).query(pixels)
    for feather in (0.02, 0.08):
        ramp = np.clip(0.5 + np.where(filled(outline), distance, -distance) / (2 * feather), 0, 1)
        mask = np.asarray(face_mask(jnp.asarray(landmarks), SIZE, feather=feather))[0, ..., 0]
        np.testing.assert_allclose(mask, 3 * ramp**2 - 2 * ramp**3, atol=5e-3)


def test_mask_is_one_on_the_face_and_zero_away_from_it():
    landmarks = faces(0.0)
    mask = np.asarray(face_mask(jnp.asarray(landmarks), SIZE))[..., 0]
    assert mask.min() == 0.0 and mask.max() == 1.0
    assert (mask[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    for part in (33, 30, 39, 42, 51, 57, 62):
        column, row = (landmarks[:, part] * SIZE).astype(int).T
        assert (mask[np.arange(len(mask)), row, column] == 1).all()


def test_raised_brows_cover_the_forehead_also_of_a_tilted_head():
    upright = drawn_face()
    turn = np.deg2rad(30)
    tilted = (upright - 0.5) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + 0.5
    for points in (upright, tilted.astype(np.float32)):
        up = points[36:48].mean(axis=0) - points[48:68].mean(axis=0)
        mask = np.asarray(face_mask(jnp.asarray(points)[None], SIZE))[0, ..., 0]
        for share, covered in ((0.3, 1.0), (1.0, 0.0)):
            column, row = ((points[17:27].mean(axis=0) + share * up) * SIZE).astype(int)
            assert mask[row, column] == covered


def test_noise_that_ties_a_loop_into_the_outline_makes_no_hole():
    landmarks = drawn_face()
    landmarks[[7, 8]] = landmarks[[8, 7]]  # the chin's outline crosses itself
    landmarks[[3, 4]] = landmarks[[4, 3]]
    mask = np.asarray(face_mask(jnp.asarray(landmarks)[None], SIZE, feather=0.01))[0, ..., 0]
    plain = np.asarray(face_mask(jnp.asarray(drawn_face())[None], SIZE, feather=0.01))[0, ..., 0]
    ours, theirs = mask > 0.5, plain > 0.5
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97


def test_what_a_curled_jaw_winds_around_twice_is_inside():
    landmarks = drawn_face()
    landmarks[7:10] = [[0.62, 0.77], [0.5, 0.62], [0.38, 0.77]]
    assert not filled(np.asarray(face_outline(jnp.asarray(landmarks)[None]))[0])[46, 32]  # a hole, by the even-odd rule
    mask = np.asarray(face_mask(jnp.asarray(landmarks)[None], SIZE, feather=0.01))[0, ..., 0]
    assert mask[46, 32] == 1


def test_a_mirrored_outline_has_the_mirrored_mask():
    landmarks = faces(0.01)
    mirrored = landmarks * [-1, 1] + [1, 0]  # the polygon now runs the other way round
    expected = np.asarray(face_mask(jnp.asarray(landmarks), SIZE))[:, :, ::-1]
    np.testing.assert_allclose(face_mask(jnp.asarray(mirrored, jnp.float32), SIZE), expected, atol=1e-5)


def test_landmarks_in_one_place_give_a_finite_mask_and_gradient():
    landmarks = jnp.full((1, 68, 2), 0.5)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: face_mask(x, 16).sum()))(landmarks)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_gradient_agrees_with_finite_differences():
    landmarks = jnp.asarray(faces(0.005, 2))
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 1)), jnp.float32)

    @jax.jit
    def loss(x):
        return (face_mask(x, SIZE) * weights).sum()

    gradient = np.asarray(jax.jit(jax.grad(loss))(landmarks))
    assert np.isfinite(gradient).all()
    direction = jnp.asarray(np.random.default_rng(2).normal(size=landmarks.shape), jnp.float32)
    step = 1e-4
    numeric = (loss(landmarks + step * direction) - loss(landmarks - step * direction)) / (2 * step)
    assert (gradient * direction).sum() == pytest.approx(float(numeric), rel=0.03)


def test_tone_is_the_masked_gaussian_mean():
    rng = np.random.default_rng(4)
    image = rng.uniform(-1, 1, (2, SIZE, SIZE, 3)).astype(np.float32)
    mask = np.asarray(face_mask(jnp.asarray(faces(0.0, 2)), SIZE))
    tone = np.asarray(low_frequency_tone(jnp.asarray(image), jnp.asarray(mask)))
    for i in range(2):
        sigma = SIZE * np.sqrt(4 / np.pi * mask[i].mean()) / 3 / (2 * np.sqrt(2 * np.log(2)))

        def blur(x, sigma=sigma):
            return gaussian_filter(x.astype(np.float64), (sigma, sigma, 0), mode="constant", truncate=12)

        expected = blur(image[i] * mask[i]) / blur(mask[i])
        on_face = mask[i, ..., 0] > 0
        np.testing.assert_allclose(tone[i][on_face], expected[on_face], atol=2e-5)


def test_tone_keeps_the_light_and_loses_the_features():
    mask = face_mask(jnp.asarray(drawn_face())[None], SIZE)
    x = (np.arange(SIZE) + 0.5) / SIZE
    face = np.asarray(mask)[0, ..., 0] == 1

    def tone_of(pattern):
        image = np.broadcast_to(pattern[None, None, :, None], (1, SIZE, SIZE, 3)).astype(np.float32)
        return np.asarray(low_frequency_tone(jnp.asarray(image), mask))[0, ..., 0], image[0, ..., 0]

    kept, even = tone_of(np.full(SIZE, 0.3))
    np.testing.assert_allclose(kept[face], even[face], atol=1e-5)
    kept, side_light = tone_of(x - 0.5)
    assert np.corrcoef(kept[face], side_light[face])[0, 1] > 0.97
    assert 0.4 < np.polyfit(side_light[face], kept[face], 1)[0] < 1
    kept, features = tone_of(np.sin(2 * np.pi * x / 0.12))
    assert kept[face].std() < 0.08 * features[face].std()


def test_tone_sees_nothing_but_the_face_and_survives_an_empty_mask():
    rng = np.random.default_rng(5)
    mask = face_mask(jnp.asarray(drawn_face())[None], SIZE)
    image = jnp.asarray(rng.uniform(-1, 1, (1, SIZE, SIZE, 3)), jnp.float32)
    np.testing.assert_array_equal(
        low_frequency_tone(image, mask), low_frequency_tone(jnp.where(mask > 0, image, 1.0), mask)
    )
    empty = jnp.zeros_like(mask)
    value, gradient = jax.jit(jax.value_and_grad(lambda m: low_frequency_tone(image, m).sum()))(empty)
    assert value == 0
    assert np.isfinite(gradient).all()
