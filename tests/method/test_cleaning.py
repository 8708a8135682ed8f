import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import align_face, find_faces, resize_crop
from idfsr_jax.io.errors import BadWeights
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.method import cleaning
from idfsr_jax.method.cleaning import OWN_ERROR, WELL_KNOWN, InputCleaner, cleaned, read_input_cleaner
from idfsr_jax.method.degrade import degrade, fixed_degradation, resampling_tables
from idfsr_jax.runtime.randomness import step_key

WIDTHS = jnp.array([8, 16, 32, 48])
CAMERA = {"blur": 0.7, "noise": 8.0, "quality": 40}


@pytest.fixture(scope="module")
def params():
    return read_input_cleaner()


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


def errors(pictures, clean):
    """Root mean square differences in levels."""
    return 127.5 * np.sqrt(np.sum(np.square(pictures - clean), axis=(1, 2, 3)) / (3.0 * np.square(np.asarray(WIDTHS))))


def test_a_clean_picture_stays_and_one_of_a_camera_becomes_cleaner(params, pictures):
    clean, spoilt = pictures
    kept, mended = (cleaned(params, y, WIDTHS)[0] for y in pictures)
    assert np.all(errors(kept, clean) < 1.5)
    assert np.all(errors(mended, clean)[1:] < 0.9 * errors(spoilt, clean)[1:])


def test_a_clean_picture_is_believed_and_one_of_a_camera_is_not(params, pictures):
    believed, doubted = (cleaned(params, y, WIDTHS)[1] for y in pictures)
    assert np.all(believed > 0.7) and np.all(believed > doubted + 0.2)
    assert np.all(doubted[:2] < 0.1)  # and more of wide ones, of which the model knows less itself


def test_its_error_is_told(params, pictures):
    for y in pictures[1:]:
        mended, told = InputCleaner().apply({"params": params}, y, WIDTHS)
        assert np.all(np.abs(told - np.log(errors(mended, pictures[0]))) < np.log(2.0))


@pytest.mark.parametrize(("width", "own"), [(9, OWN_ERROR), (WELL_KNOWN, OWN_ERROR), (48, 3.0 * OWN_ERROR)])
def test_trust_is_the_weight_of_the_better_of_two_estimates(params, width, own):
    y, n = jnp.zeros((1, 64, 64, 3)), jnp.array([width])
    error = float(np.exp(InputCleaner().apply({"params": params}, y, n)[1])[0])
    assert float(cleaned(params, y, n)[1][0]) == pytest.approx(own**2 / (own**2 + error**2), abs=1e-5)


def test_pictures_are_of_8_bits_on_any_canvas_whatever_lies_beyond_them(params, crops):
    small = to_float(np.array(Image.fromarray(to_uint8(crops)[0]).resize((11, 11), Image.Resampling.BOX))[None])
    tight, believed = cleaned(params, small, jnp.array([11]))
    canvas = jnp.full((1, 40, 40, 3), 0.7).at[:, :11, :11].set(small)
    wide, as_much = cleaned(params, canvas, jnp.array([11]))
    np.testing.assert_allclose(wide[:, :11, :11], tight, atol=1.01 / 127.5)
    np.testing.assert_allclose(as_much, believed, atol=1e-4)
    assert not np.any(wide[:, 11:]) and not np.any(wide[:, :, 11:])
    np.testing.assert_array_equal(tight, to_float(to_uint8(tight)))


def test_other_weights_than_those_that_ship_are_refused(monkeypatch, tmp_path):
    other = tmp_path / "input_cleaner.safetensors"
    content = bytearray(cleaning.shipped_weights().read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    monkeypatch.setattr(cleaning, "shipped_weights", lambda: other)
    with pytest.raises(BadWeights, match=r"input_cleaner\.safetensors"):
        read_input_cleaner()
