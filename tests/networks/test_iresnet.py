"""ArcFace's network and chips in JAX; parity with PyTorch and onnxruntime is tested in tests/interop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.face import resize_crop
from idfsr_jax.face.chip import ARCFACE_CHIP, cut_chip
from idfsr_jax.io.images import to_float
from idfsr_jax.networks.chips import face_chips
from idfsr_jax.networks.id_encoder import IdEncoder
from idfsr_jax.networks.iresnet import IResNet


@pytest.fixture(scope="module")
def encoder():
    network = IResNet(((4, 2), (4, 2), (8, 2), (8, 2)), dimension=16)
    params = network.init(jax.random.key(0), jnp.zeros((1, 112, 112, 3)))["params"]
    return IdEncoder(params, "arcface-random", network)


def test_chips_equal_those_cut_on_the_host(face_crop):
    image = resize_crop(face_crop.image, 128)
    ours = np.asarray(face_chips(to_float(image)[None], jnp.asarray(face_crop.landmarks[None]), ARCFACE_CHIP))[0]
    host = cut_chip(image, face_crop.landmarks * 128, ARCFACE_CHIP).astype(np.float32)
    np.testing.assert_allclose(ours[20:100, 20:92], host[20:100, 20:92], atol=1.01)  # the host's are whole numbers


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
