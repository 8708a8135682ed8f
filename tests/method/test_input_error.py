import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import align_face, find_faces, resize_crop
from idfsr_jax.io.errors import BadWeights
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.method import input_error
from idfsr_jax.method.degrade import degrade, fixed_degradation, resampling_tables
from idfsr_jax.method.input_error import OWN_ERROR, InputErrorNet, read_input_error_net, trust
from idfsr_jax.runtime.randomness import step_key

WIDTHS = jnp.array([8, 16, 32, 48])
CAMERA = {"blur": 0.7, "noise": 8.0, "quality": 40}


@pytest.fixture(scope="module")
def params():
    return read_input_error_net()


@pytest.fixture(scope="module")
def crops(_astronaut):
    (face,) = find_faces(_astronaut)
    crop = resize_crop(align_face(_astronaut, face).image, 128)
    return to_float(np.stack([crop] * len(WIDTHS)))


@pytest.fixture(scope="module")
def pictures(crops):
    """Made small alone, and as cameras leave them."""
    tables, key = resampling_tables(128), step_key(0, "test", 0)
    made = (fixed_degradation(len(WIDTHS), WIDTHS), fixed_degradation(len(WIDTHS), WIDTHS, **CAMERA))
    return [degrade(crops, each, tables, key)[1] for each in made]


def test_a_clean_picture_is_believed_and_one_of_a_camera_is_not(params, pictures):
    believed, doubted = (trust(params, y, WIDTHS) for y in pictures)
    assert np.all(doubted < 0.1) and np.all(believed > 4.0 * doubted) and np.all(believed[-2:] > 0.7)


def test_its_error_is_that_in_levels(params, pictures):
    clean, spoilt = pictures
    square = np.sum(np.square(spoilt - clean), axis=(1, 2, 3)) / (3.0 * np.square(np.asarray(WIDTHS)))
    told = InputErrorNet().apply({"params": params}, spoilt, WIDTHS)
    assert np.all(np.abs(told - np.log(127.5 * np.sqrt(square))) < np.log(2.0))


def test_trust_is_the_weight_of_the_better_of_two_estimates(params):
    y, n = jnp.zeros((1, 16, 16, 3)), jnp.array([9])
    error = float(np.exp(InputErrorNet().apply({"params": params}, y, n))[0])
    assert float(trust(params, y, n)[0]) == pytest.approx(OWN_ERROR**2 / (OWN_ERROR**2 + error**2), abs=1e-5)


def test_neither_the_canvas_nor_what_lies_beyond_the_picture_counts(params, crops):
    small = np.array(Image.fromarray(to_uint8(crops)[0]).resize((11, 11), Image.Resampling.BOX))
    tight = trust(params, to_float(small[None]), jnp.array([11]))
    canvas = jnp.full((1, 40, 40, 3), 0.7).at[:, :11, :11].set(to_float(small[None]))
    np.testing.assert_allclose(trust(params, canvas, jnp.array([11])), tight, atol=1e-5)


def test_other_weights_than_those_that_ship_are_refused(monkeypatch, tmp_path):
    other = tmp_path / "input_error_net.safetensors"
    content = bytearray(input_error.shipped_weights().read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    monkeypatch.setattr(input_error, "shipped_weights", lambda: other)
    with pytest.raises(BadWeights, match=r"input_error_net\.safetensors"):
        read_input_error_net()
