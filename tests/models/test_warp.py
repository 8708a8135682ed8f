"""The warp against scikit-image's transforms and SciPy's interpolation, and its gradients."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates
from skimage.transform import SimilarityTransform, ThinPlateSplineTransform

from idfsr_jax.models import warp
from idfsr_jax.models.warp import similarity_transform
from idfsr_jax.networks.resample import sample_bilinear

SIZE = 64

thin_plate_spline = jax.jit(warp.thin_plate_spline, static_argnames="regularisation")
warp_map = jax.jit(warp.warp_map, static_argnames=("kind", "regularisation"))
warp_reference = jax.jit(warp.warp_reference, static_argnames=("kind", "regularisation"))


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


def test_unregularised_landmarks_map_exactly():
    landmarks = points(4)
    reference = moved(landmarks)
    back = warp_map(*(jnp.asarray(x) for x in (reference, landmarks, landmarks)), "tps", regularisation=0.0)
    np.testing.assert_allclose(back, reference, atol=5e-5)


def test_regularisation_smooths_noisy_landmarks():
    """With a smooth true motion and 3% of noise, the default must come closer to the truth than the exact spline."""
    landmarks = points(8)
    truth = moved(landmarks, 0.0) + 0.02 * np.sin(6 * landmarks[..., ::-1])
    noisy = landmarks + np.random.default_rng(7).normal(0, 0.03 / np.sqrt(2), landmarks.shape)
    arrays = [jnp.asarray(x, jnp.float32) for x in (truth, noisy, landmarks)]

    def error(**how):
        return np.linalg.norm(np.asarray(warp_map(*arrays, "tps", **how)) - truth, axis=-1).mean()

    assert error() < 0.6 * error(regularisation=0.0)
    assert error() < 0.02


def test_coincident_landmarks_leave_the_spline_finite():
    landmarks = points(1)
    landmarks[:, 60:64] = landmarks[:, 64:68]
    reference = moved(points(1))
    for regularisation in (0.0, 1.0):
        back = warp_map(
            *(jnp.asarray(x) for x in (reference, landmarks, landmarks)), "tps", regularisation=regularisation
        )
        assert np.isfinite(back).all()
        assert np.abs(np.asarray(back) - 0.5).max() < 1


@pytest.mark.parametrize("kind", ["tps", "similarity", "none"])
def test_equal_landmarks_leave_the_picture(astronaut, kind):
    image, landmarks = jnp.asarray(picture(astronaut)), jnp.asarray(points(1))
    warped, valid = warp_reference(image, landmarks, landmarks, kind)
    np.testing.assert_allclose(warped, image, atol=2e-5)
    np.testing.assert_allclose(valid, 1, atol=1e-4)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("kind", ["tps", "similarity"])
def test_warp_is_the_map_evaluated_at_every_pixel(astronaut, kind, size):
    """The coarse nodes must not show; SciPy's sampling stands for ours."""
    image, landmarks = picture(astronaut, size), points(1)
    reference = moved(landmarks, 0.01)
    centres = (np.arange(size) + 0.5) / size
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(1, -1, 2).astype(np.float32)
    origin = np.asarray(warp_map(*(jnp.asarray(x) for x in (reference, landmarks, grid)), kind))[0]
    rows_columns = origin[:, ::-1].T.reshape(2, size, size) * size - 0.5
    expected = [map_coordinates(image[0, ..., c], rows_columns, order=1, mode="nearest") for c in range(3)]
    warped, valid = warp_reference(*(jnp.asarray(x) for x in (image, reference, landmarks)), kind)
    difference = np.abs(np.asarray(warped)[0] - np.stack(expected, axis=-1))
    assert difference.mean() < 1e-3
    assert difference.max() < (0.05 if kind == "tps" else 1e-3)
    inside = ((rows_columns >= 0) & (rows_columns <= size - 1)).all(axis=0)
    outside = ((rows_columns < -1) | (rows_columns > size)).any(axis=0)
    valid = np.asarray(valid)[0, ..., 0]
    assert inside.any() and outside.any()
    assert valid[inside].min() > 0.99 and valid[outside].max() < 0.01


def test_a_marked_landmark_arrives():
    """A bright spot at a landmark of the reference is found at that landmark of the target."""
    landmarks = points(1)
    reference = moved(landmarks, 0.01)
    centres = (np.arange(SIZE) + 0.5) / SIZE
    x, y = np.meshgrid(centres, centres)
    for k in (0, 30, 67):
        spot = np.exp(-((x - reference[0, k, 0]) ** 2 + (y - reference[0, k, 1]) ** 2) / (2 * 0.03**2))
        image = np.repeat(spot[None, ..., None], 3, axis=3).astype(np.float32)
        warped, _ = warp_reference(*(jnp.asarray(a) for a in (image, reference, landmarks)), "tps", regularisation=0.0)
        row, column = np.unravel_index(np.asarray(warped)[0, ..., 0].argmax(), (SIZE, SIZE))
        assert abs((column + 0.5) / SIZE - landmarks[0, k, 0]) < 1.5 / SIZE
        assert abs((row + 0.5) / SIZE - landmarks[0, k, 1]) < 1.5 / SIZE


def test_each_example_is_warped_by_its_own_landmarks(astronaut):
    image = np.repeat(picture(astronaut), 3, axis=0)
    image[1] *= -1
    landmarks, reference = points(3), moved(points(3))
    together = warp_reference(*(jnp.asarray(x) for x in (image, reference, landmarks)), "tps")
    for i in range(3):
        alone = warp_reference(*(jnp.asarray(x[i : i + 1]) for x in (image, reference, landmarks)), "tps")
        for ours, theirs in zip(together, alone):
            np.testing.assert_allclose(np.asarray(ours)[i], np.asarray(theirs)[0], atol=1e-4)


@pytest.mark.parametrize("argument", [0, 1, 2])
def test_gradient_agrees_with_finite_differences(argument):
    """Of a smooth picture: bilinear sampling has kinks at pixel centres, across which differences mean nothing."""
    centres = (np.arange(SIZE) + 0.5) / SIZE
    x, y = np.meshgrid(centres, centres)
    image = np.stack([np.sin(3 * x + y), np.cos(2 * y), x * y], axis=-1)[None].astype(np.float32)
    landmarks = points(1)
    arguments = [jnp.asarray(a) for a in (image, moved(landmarks, 0.005), landmarks)]
    weights = jnp.asarray(np.random.default_rng(3).uniform(0, 1, (1, SIZE, SIZE, 3)), jnp.float32)

    @jax.jit
    def loss(*arguments):
        warped, valid = warp_reference(*arguments, "tps")
        return (warped * valid * weights).mean()

    gradient = np.asarray(jax.jit(jax.grad(loss, argnums=argument))(*arguments))
    assert np.isfinite(gradient).all()
    direction = np.random.default_rng(4).normal(size=arguments[argument].shape)
    step = {0: 1e-1, 1: 1e-3, 2: 1e-3}[argument]

    def at(factor):
        changed = list(arguments)
        changed[argument] = changed[argument] + jnp.asarray(factor * step * direction, jnp.float32)
        return float(loss(*changed))

    assert (gradient * direction).sum() == pytest.approx((at(1) - at(-1)) / (2 * step), rel=0.05, abs=1e-5)


def test_an_unknown_kind_is_refused():
    landmarks = jnp.asarray(points(1))
    with pytest.raises(ValueError, match="warp kind"):
        inspect.unwrap(warp.warp_reference)(jnp.zeros((1, 8, 8, 3)), landmarks, landmarks, "bend")


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
