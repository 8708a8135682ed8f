"""ArcFace's network and chips in JAX; parity with PyTorch and onnxruntime is tested in tests/interop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.face import resize_crop
from idfsr_jax.face.chip import ARCFACE_CHIP, cut_chip
from idfsr_jax.io.images import to_float
from idfsr_jax.networks.chips import face_chips
from idfsr_jax.networks.id_encoder import IdEncoder, identity_of
from idfsr_jax.networks.iresnet import IResNet, iresnet_blocks


@pytest.fixture(scope="module")
def encoder():
    network = IResNet(iresnet_blocks((1, 1, 1, 1), (4, 4, 8, 8)), dimension=16)
    params = network.init(jax.random.key(0), jnp.zeros((1, 112, 112, 3)))["params"]
    return IdEncoder(params, "arcface-random", network)


def test_chips_equal_those_cut_on_the_host(face_crop):
    image = resize_crop(face_crop.image, 128)
    ours = np.asarray(face_chips(to_float(image)[None], jnp.asarray(face_crop.landmarks[None]), ARCFACE_CHIP))[0]
    host = cut_chip(image, face_crop.landmarks * 128, ARCFACE_CHIP).astype(np.float32)
    np.testing.assert_allclose(ours[20:100, 20:92], host[20:100, 20:92], atol=1.01)  # the host's are whole numbers


def test_fine_crops_are_antialiased(face_crop):
    """A checkerboard of single pixels in a 512 px crop is grey in the chip."""
    board = (np.indices((512, 512)).sum(0) % 2 * 2.0 - 1.0).astype(np.float32)
    landmarks = jnp.asarray(face_crop.landmarks[None])
    chips = face_chips(jnp.asarray(np.repeat(board[None, ..., None], 3, -1)), landmarks, ARCFACE_CHIP)
    assert np.abs(np.asarray(chips) - 127.5).max() < 3.0


def test_the_gradient_reaches_the_picture_and_equals_finite_differences(encoder, face_crop):
    image, points = resize_crop(face_crop.image, 64), face_crop.landmarks[None]
    center, direction = np.linspace(-0.1, 0.1, 16), np.random.default_rng(0).normal(size=16)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), encoder)
        value = lambda images, landmarks: jnp.sum(  # noqa: E731
            identity_of(wide, images, landmarks, jnp.asarray(center)) * direction
        )
        images = jnp.asarray(image[None] / 127.5 - 1.0)
        landmarks = jnp.asarray(points.astype(np.float64))
        gradients = jax.jit(jax.grad(value, argnums=(0, 1)))(images, landmarks)
        rng, step = np.random.default_rng(1), 1e-8  # bilinear samples have a kink at every pixel
        for place, argument in enumerate((images, landmarks)):
            along = jnp.asarray(rng.normal(size=argument.shape))
            moved = [(images, landmarks) for _ in range(2)]
            sides = []
            for sign, both in zip((1, -1), moved, strict=True):
                both = list(both)
                both[place] = argument + sign * step * along
                sides.append(float(value(*both)))
            expected = (sides[0] - sides[1]) / (2 * step)
            assert float(jnp.sum(gradients[place] * along)) == pytest.approx(expected, rel=1e-4)
            assert abs(expected) > 1e-4


def test_an_encoder_is_an_argument_of_compiled_code(encoder):
    """Its weights are leaves, and what it is decides what is compiled."""
    traces = []

    @jax.jit
    def dimension(encoder):
        traces.append(encoder.name)
        return jnp.zeros(encoder.dimension)

    assert dimension(encoder).shape == dimension(jax.tree.map(lambda x: x + 1, encoder)).shape == (16,)
    assert dimension(encoder.replace(name="another")).shape == (16,)
    assert traces == ["arcface-random", "another"]
