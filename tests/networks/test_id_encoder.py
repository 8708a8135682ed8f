"""The identity encoder against dlib's own, and its gradient against finite differences."""

import functools

import dlib
import face_recognition_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage

from idfsr_jax.face.chip import chip_transform, cut_chip
from idfsr_jax.networks import id_encoder
from idfsr_jax.networks.recognisers import unit_parts

descriptors_of = jax.jit(id_encoder.descriptors_of)


@pytest.fixture(scope="module")
def recogniser():
    return dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())


@pytest.fixture(scope="module")
def photograph():
    image = skimage.data.astronaut()
    predictor = dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())
    return image, predictor(image, dlib.get_frontal_face_detector()(image, 0)[0])


@pytest.fixture(scope="module")
def crop(photograph):
    """A square crop around the face, and its landmarks in unit coordinates."""
    image, shape = photograph
    left, top, side = 90, 0, 256
    points = np.array([(part.x, part.y) for part in shape.parts()], np.float32) + 0.5
    return image[top : top + side, left : left + side], (points - np.float32([left, top])) / side


def model_images(*crops):
    return jnp.asarray(np.stack(crops), jnp.float32) / 127.5 - 1.0


def cosine(first, second):
    return np.sum(first * second, -1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)


def test_descriptors_equal_dlibs_on_the_same_chips(recogniser, photograph):
    image, shape = photograph
    chip = dlib.get_face_chip(image, shape, size=150, padding=0.25)
    chips = [chip, chip[:, ::-1], np.roll(chip, (7, -11), (0, 1)), (0.4 * chip).astype(np.uint8), 255 - chip]
    chips.append(np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8))
    chips = np.ascontiguousarray(np.stack(chips))
    ours = id_encoder.chip_descriptors(id_encoder.load_id_encoder(), jnp.asarray(chips.astype(np.float32)))
    dlibs = np.array([recogniser.compute_face_descriptor(c) for c in chips])
    np.testing.assert_allclose(ours, dlibs, atol=5e-6)
    # The pictures do differ for the recogniser, so the comparison says something.
    assert np.linalg.norm(dlibs - dlibs[0], axis=1)[3:].min() > 0.1


def test_descriptor_from_the_crop_equals_dlibs_from_the_photograph(recogniser, photograph, crop):
    image, shape = photograph
    pixels, landmarks = crop
    ours = descriptors_of(id_encoder.load_id_encoder(), model_images(pixels), jnp.asarray(landmarks[None]))
    dlibs = np.array(recogniser.compute_face_descriptor(image, shape))
    assert cosine(np.asarray(ours[0]), dlibs) > 0.9995


def test_face_chips_equal_host_chips(crop):
    pixels, landmarks = crop
    turned = np.ascontiguousarray(pixels[::-1, ::-1])
    batch = jnp.asarray(np.stack([landmarks, 1.0 - landmarks]))
    chips = id_encoder.face_chips(model_images(pixels, turned), batch)
    for chip, picture, points in zip(chips, (pixels, turned), np.asarray(batch), strict=True):
        np.testing.assert_allclose(chip, cut_chip(picture, points * 256), atol=1.01)
    # Both faces stand upright in their chips, whichever way they lay in the crop.
    np.testing.assert_allclose(chips[0], chips[1], atol=0.1)


def test_face_chips_against_scipy(crop):
    """Linear interpolation at the positions that `chip_transform` gives, the border repeated."""
    scipy_ndimage = pytest.importorskip("scipy.ndimage")
    pixels, landmarks = crop
    shifted = landmarks - np.float32([0.5, 0.4])  # partly outside of the crop
    matrix = chip_transform(shifted * 256)
    rows, columns = np.mgrid[0:150, 0:150] + 0.5
    where = np.stack([columns, rows, np.ones_like(rows)], axis=0)
    x, y = np.tensordot(matrix, where, 1) - 0.5
    expected = np.stack(
        [
            scipy_ndimage.map_coordinates(pixels[..., c].astype(float), [y, x], order=1, mode="nearest")
            for c in (0, 1, 2)
        ],
        axis=-1,
    )
    chip = id_encoder.face_chips(model_images(pixels), jnp.asarray(shifted[None]))[0]
    np.testing.assert_allclose(chip, expected, atol=0.05)


def test_fine_crops_are_antialiased(crop):
    """A checkerboard of single pixels in a 512 px crop is grey in the chip."""
    landmarks = jnp.asarray(crop[1][None])
    board = (np.indices((512, 512)).sum(0) % 2 * 2.0 - 1.0).astype(np.float32)
    chips = id_encoder.face_chips(jnp.asarray(np.repeat(board[None, ..., None], 3, -1)), landmarks)
    assert np.abs(np.asarray(chips) - 127.5).max() < 3.0


def test_gradient_equals_finite_differences(crop):
    pixels, landmarks = crop
    center = np.full(128, 0.01)
    direction = np.random.default_rng(0).normal(size=128)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), id_encoder.load_id_encoder())
        small = jnp.asarray(pixels.reshape(64, 4, 64, 4, 3).mean((1, 3))[None] / 127.5 - 1.0)
        points = jnp.asarray(landmarks[None], jnp.float64)

        @jax.jit
        @functools.partial(jax.grad, has_aux=True)
        def gradients_and_values(images):
            many = jnp.repeat(points, images.shape[0], axis=0)
            identity = id_encoder.identity_of(params, images, many, jnp.asarray(center))
            values = identity @ jnp.asarray(direction)
            return values.sum(), values

        x, y = np.round(landmarks[[30, 36, 48]] * 64).astype(int).T
        # One small step at a time, as ReLU and max pooling have kinks; float32 would drown in rounding.
        step = 1e-5
        nudges = np.zeros((3, *small.shape[1:]))
        nudges[range(3), y, x, range(3)] = step
        gradient, values = gradients_and_values(jnp.concatenate([small, small + nudges, small - nudges]))
        gradient, values = np.asarray(gradient)[0], np.asarray(values)
        np.testing.assert_allclose(gradient[y, x, range(3)], (values[1:4] - values[4:7]) / (2 * step), rtol=1e-4)
        assert np.abs(gradient[y, x]).min() > 1e-4
        assert gradient[0, 0, 0] == 0.0  # the corner of the crop lies outside of the chip


def test_identity_is_the_centred_unit_descriptor(crop):
    pixels, landmarks = crop
    params, images, points = id_encoder.load_id_encoder(), model_images(pixels), jnp.asarray(landmarks[None])
    center = jnp.linspace(-0.1, 0.1, 128)
    identity = jax.jit(id_encoder.identity_of)(params, images, points, center)
    offset = np.asarray(descriptors_of(params, images, points)) - np.asarray(center)
    np.testing.assert_allclose(identity, offset / np.linalg.norm(offset, axis=-1, keepdims=True), atol=1e-6)


def test_a_descriptor_on_the_centre_has_a_finite_gradient():
    center = jnp.ones(128)
    gradient = jax.grad(lambda d: unit_parts(d, center, (128,))[0].sum())(center)
    assert np.isfinite(np.asarray(gradient)).all()
