"""Similarities and splines against scikit-image and SciPy; bilinear sampling against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates
from skimage.transform import SimilarityTransform, ThinPlateSplineTransform

from idfsr_jax.method.spline import similarity_transform
from idfsr_jax.method.spline import thin_plate_spline as spline
from idfsr_jax.networks.resample import sample_bilinear

SIZE = 64

thin_plate_spline = jax.jit(spline, static_argnames="regularisation")


def points(count: int, seed: int = 0) -> Float[np.ndarray, "b 68 2"]:
    """68 points strewn over the middle of the crop, none closer to another than landmarks usually are."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(np.arange(9), np.arange(9)), axis=-1).reshape(81, 2)
    chosen = np.stack([places[rng.permutation(81)[:68]] for _ in range(count)])
    return (0.25 + (chosen + rng.uniform(0.15, 0.85, chosen.shape)) / 18).astype(np.float32)


def moved(landmarks: np.ndarray, noise: float = 0.01, seed: int = 1) -> Float[np.ndarray, "b 68 2"]:
    """The landmarks turned, scaled, shifted and bent, in another way for each example."""
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-0.3, 0.3, len(landmarks)), rng.uniform(0.8, 1.2, len(landmarks))
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    result = (landmarks - 0.5) @ (turn * scale[:, None, None]).transpose(0, 2, 1) + 0.5
    shift = rng.uniform(-0.05, 0.05, (len(landmarks), 1, 2))
    return (result + shift + rng.normal(0, noise, landmarks.shape)).astype(np.float32)


def picture(astronaut: np.ndarray, size: int = SIZE) -> Float[np.ndarray, "1 s s 3"]:
    """The astronaut's face, [-1, 1]."""
    face = astronaut[:256, 96:352].reshape(size, 256 // size, size, 256 // size, 3).mean(axis=(1, 3))
    return (face[None] / 127.5 - 1).astype(np.float32)


def test_similarity_is_umeyamas():
    source, target = points(5), moved(points(5), 0.03)
    matrix, shift = similarity_transform(jnp.asarray(source), jnp.asarray(target))
    for i in range(5):
        expected = SimilarityTransform.from_estimate(source[i].astype(np.float64), target[i].astype(np.float64)).params
        np.testing.assert_allclose(np.asarray(matrix)[i], expected[:2, :2], atol=2e-6)
        np.testing.assert_allclose(np.asarray(shift)[i], expected[:2, 2], atol=2e-6)


def test_similarity_never_reflects():
    source = points(1)
    matrix, _ = similarity_transform(jnp.asarray(source), jnp.asarray(source * [-1, 1], jnp.float32))
    assert np.linalg.det(np.asarray(matrix)[0]) >= 0


def test_spline_is_scikit_images():
    source, target = points(4), moved(points(4), 0.02)
    queries = np.random.default_rng(2).uniform(0, 1, (4, 300, 2)).astype(np.float32)
    ours = np.asarray(thin_plate_spline(jnp.asarray(source), jnp.asarray(target), jnp.asarray(queries)))
    for i in range(4):
        theirs = ThinPlateSplineTransform.from_estimate(source[i].astype(np.float64), target[i].astype(np.float64))
        # a hundredth of a pixel of 128
        np.testing.assert_allclose(ours[i], theirs(queries[i].astype(np.float64)), atol=8e-5)


@pytest.mark.parametrize("regularisation", [0.01, 1.0])
def test_smoothed_spline_is_scipys_in_double_precision(regularisation):
    source, target = points(3), moved(points(3), 0.02)
    queries = np.random.default_rng(2).uniform(0, 1, (3, 300, 2)).astype(np.float32)
    ours = thin_plate_spline(
        jnp.asarray(source), jnp.asarray(target), jnp.asarray(queries), regularisation=regularisation
    )
    for i in range(3):
        centre = source[i].astype(np.float64).mean(axis=0)
        radius = np.sqrt(((source[i] - centre) ** 2).sum(axis=1).mean())
        # SciPy's kernel is r^2 log r, half of Bookstein's, so half of the diagonal weighs as much.
        theirs = RBFInterpolator(
            (source[i] - centre) / radius, target[i].astype(np.float64), kernel="thin_plate_spline",
            smoothing=(regularisation + 1e-6) / 2, degree=1,
        )  # fmt: skip
        np.testing.assert_allclose(np.asarray(ours)[i], theirs((queries[i] - centre) / radius), atol=3e-5)


def test_sampling_is_scipys_with_the_edge_continued():
    rng = np.random.default_rng(5)
    images = rng.normal(size=(3, 7, 10, 4)).astype(np.float32)
    at = rng.uniform(-0.3, 1.3, (3, 5, 6, 2)).astype(np.float32)
    ours = np.asarray(sample_bilinear(jnp.asarray(images), jnp.asarray(at)))
    for i in range(3):
        rows_columns = [at[i, ..., 1] * 7 - 0.5, at[i, ..., 0] * 10 - 0.5]
        for c in range(4):
            expected = map_coordinates(images[i, ..., c], rows_columns, order=1, mode="nearest")
            np.testing.assert_allclose(ours[i, ..., c], expected, atol=1e-5)


def test_sampling_at_pixel_centres_gives_the_pixels_for_any_shape_of_points():
    images = jnp.asarray(np.random.default_rng(6).normal(size=(2, 4, 6, 1)), jnp.float32)
    x, y = np.meshgrid((np.arange(6) + 0.5) / 6, (np.arange(4) + 0.5) / 4)
    grid = np.broadcast_to(np.stack([x, y], axis=-1), (2, 4, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(sample_bilinear(images, jnp.asarray(grid)), images, atol=2e-6)
    flat = sample_bilinear(images, jnp.asarray(grid.reshape(2, -1, 2)))
    np.testing.assert_allclose(flat, images.reshape(2, -1, 1), atol=2e-6)
    assert sample_bilinear(images, jnp.asarray(grid[:, 0, 0])).shape == (2, 1)


def test_a_one_pixel_image_can_be_sampled():
    images = jnp.asarray([[[[2.0, 3.0]]]])
    np.testing.assert_array_equal(sample_bilinear(images, jnp.asarray([[[0.1, 0.9]]])), [[[2.0, 3.0]]])


def test_coincident_points_leave_the_spline_finite():
    source, target = points(1), moved(points(1))
    source[:, 60:64] = source[:, 64:68]
    for regularisation in (0.0, 1.0):
        there = thin_plate_spline(*map(jnp.asarray, (source, target, source)), regularisation=regularisation)
        assert np.isfinite(there).all() and np.abs(np.asarray(there) - 0.5).max() < 1
