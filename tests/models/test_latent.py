"""What crosses over into latents and back, and that pixels cross nothing; diffusers' network, random weights."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import ModelConfig
from idfsr_jax.data.degrade import area_downsample
from idfsr_jax.diffusion.schedule import q_sample, x0_from_v
from idfsr_jax.errors import BadConfig, BadWeights
from idfsr_jax.face import resize_crop
from idfsr_jax.models.autoencoder import AutoencoderKL
from idfsr_jax.models.condition import Condition, make_condition, paste
from idfsr_jax.models.denoiser import Denoiser, init_denoiser
from idfsr_jax.models.latent import (
    Autoencoder,
    autoencoder_of,
    encode_condition,
    encode_example,
    require_autoencoder,
    to_model_space,
    to_pixels,
)
from idfsr_jax.sampling import restore_crops

SIZE, SIDE = 32, 16

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own


@pytest.fixture(scope="module")
def config(latent_config):
    return latent_config.model


@pytest.fixture(scope="module")
def autoencoder(config) -> Autoencoder:
    found = autoencoder_of(config)
    assert found is not None
    return found


@pytest.fixture
def x0(face_crop):
    return jnp.asarray(resize_crop(face_crop.image, SIZE), jnp.float32)[None] / 127.5 - 1.0


@pytest.fixture
def conditions(x0, face_crop, config):
    """Makes the condition of an enlarged LR picture, whose reference is the mirrored face."""
    landmarks, identity = jnp.asarray(face_crop.landmarks)[None], jnp.full((1, 128), 128**-0.5)
    scale, made = jnp.full((1,), 4.0), jax.jit(make_condition, static_argnames="config")
    return lambda y_up: made(y_up, landmarks, x0[:, :, ::-1], landmarks, identity, scale, config)


@pytest.fixture
def condition(x0, conditions) -> Condition:
    return conditions(0.8 * x0)


encode, decode = jax.jit(to_model_space), jax.jit(to_pixels)
encode_all = jax.jit(encode_example, static_argnames="kind")


def test_pixels_cross_nothing(x0, condition):
    assert autoencoder_of(ModelConfig()) is None
    assert to_model_space(x0, None) is x0 and to_pixels(x0, None) is x0
    assert encode_condition(condition, "full", None) is condition
    assert encode_example(x0, condition, "full", None) == (x0, condition)


def test_latents_are_the_networks_means_scaled(x0, autoencoder):
    @jax.jit
    def bare(params, images):
        network = AutoencoderKL(autoencoder.config)
        mean = network.apply({"params": params}, images, method="encode").mean
        return mean, network.apply({"params": params}, mean, method="decode")

    mean, decoded = bare(autoencoder.params, x0)
    latents = encode(x0, autoencoder)
    assert latents.shape == (1, SIDE, SIDE, 4)
    np.testing.assert_allclose(latents, (mean - 0.1) * 3.0, atol=1e-5)
    np.testing.assert_allclose(decode(latents, autoencoder), np.clip(decoded, -1, 1), atol=1e-4)


def test_every_part_of_a_condition_is_encoded_as_it_should(x0, condition, autoencoder):
    latents, encoded = encode_all(x0, condition, "full", autoencoder)
    expected = lambda picture: np.asarray(encode(picture, autoencoder))  # noqa: E731
    means = lambda plane: np.asarray(plane).reshape(1, SIDE, 2, SIDE, 2, 1).mean((2, 4))  # noqa: E731
    mask, valid = means(condition.mask), means(condition.valid)
    np.testing.assert_allclose(latents, expected(x0), atol=1e-5)
    np.testing.assert_allclose(encoded.hidden, expected(condition.hidden), atol=1e-5)
    np.testing.assert_allclose(encoded.reference, expected(condition.reference) * valid, atol=1e-5)
    np.testing.assert_allclose(encoded.valid, valid, atol=1e-6)
    np.testing.assert_allclose(encoded.mask, mask, atol=1e-6)
    np.testing.assert_allclose(paste(encoded, "full"), expected(paste(condition, "full")), atol=1e-5)
    assert 0.05 < mask.mean() < 0.9 and not np.allclose(encoded.pasted, encoded.hidden, atol=0.1)
    for name in ("identity", "identity_present", "scale"):
        np.testing.assert_array_equal(getattr(encoded, name), getattr(condition, name))


def test_a_missing_reference_is_zero_in_latents_too(x0, condition, autoencoder):
    nothing = {"valid": jnp.zeros_like(condition.valid), "reference": jnp.zeros_like(condition.reference)}
    _, encoded = encode_all(x0, condition.replace(**nothing), "full", autoencoder)
    assert not np.any(encoded.reference) and not np.any(encoded.valid)
    np.testing.assert_allclose(encoded.pasted, encoded.hidden, atol=1e-6)


def test_the_lr_face_reaches_no_latent_under_the_full_mask(x0, conditions, autoencoder):
    """Masked in pixels, before the encoder, which would smear the face over its neighbours."""
    make = lambda y_up: encode_all(x0, conditions(y_up), "full", autoencoder)[1]  # noqa: E731
    inside = np.asarray(conditions(x0).mask) == 1.0
    other = jnp.asarray(np.where(inside, -np.asarray(x0), x0))
    for a, b in zip(jax.tree.leaves(make(other)), jax.tree.leaves(make(x0)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(make(-x0).hidden != make(x0).hidden)


def test_untrained_the_noisiest_estimate_is_the_encoded_paste(x0, condition, latent_config, autoencoder):
    latents, encoded = encode_all(x0, condition, "full", autoencoder)
    params = init_denoiser(jax.random.key(0), latent_config)
    level = jnp.full((1,), -10.0)
    x_t = q_sample(latents, jax.random.normal(jax.random.key(1), latents.shape), level)
    v = jax.jit(Denoiser(latent_config.model).apply)({"params": params}, x_t, level, encoded)
    pasted = encode(paste(condition, "full"), autoencoder)
    np.testing.assert_allclose(x0_from_v(x_t, v, level), pasted, atol=0.05)
    assert np.abs(np.asarray(pasted - latents)).max() > 0.3


def test_untrained_a_restoration_is_the_decoded_paste_and_made_consistent(x0, condition, latent_config, autoencoder):
    # A prior that expects hardly any error, in place of a network that has learnt to correct it.
    config = replace(latent_config, model=replace(latent_config.model, prior_std=1e-3))
    params = init_denoiser(jax.random.key(0), config)
    y = area_downsample(0.5 * x0, 4)
    restore = partial(restore_crops, params, condition, jax.random.key(2), config, y, autoencoder=autoencoder)
    restored = restore(consistency=jnp.zeros(()))
    expected = decode(encode(paste(condition, "full"), autoencoder), autoencoder)
    assert restored.shape == (1, SIZE, SIZE, 3) and float(jnp.std(restored)) > 0.05
    np.testing.assert_allclose(restored, expected, atol=0.02)
    assert np.abs(area_downsample(restored, 4) - y).max() > 0.1
    np.testing.assert_allclose(area_downsample(restore(consistency=jnp.ones(())), 4), y, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("latent_channels", 8, r"latent_channels is 8, but .* has 4; give 4"), ("latent_reduction", 8, "has 2; give 2")],
)
def test_latents_of_another_shape_are_refused(config, field, value, said):
    with pytest.raises(BadConfig, match=said):
        autoencoder_of(replace(config, **{field: value}))


def test_a_missing_autoencoder_is_refused(config, tmp_path):
    with pytest.raises(BadWeights, match=r"nowhere.*cannot be read"):
        autoencoder_of(replace(config, autoencoder=str(tmp_path / "nowhere")))


def test_an_autoencoder_of_grey_pictures_is_refused(config, write_autoencoder_of, tmp_path):
    write_autoencoder_of(tmp_path, in_channels=1, out_channels=1)
    with pytest.raises(BadConfig, match="1 channels in and 1 out; give an autoencoder of RGB"):
        autoencoder_of(replace(config, autoencoder=str(tmp_path)))


def test_names_tell_weights_and_scales_apart_and_not_places(config, autoencoder, write_autoencoder_of, tmp_path):
    def name_of(place: str, **values):
        write_autoencoder_of(tmp_path / place, **values)
        return autoencoder_of(replace(config, autoencoder=str(tmp_path / place)))

    same, other, scaled = name_of("same"), name_of("other", seed=1), name_of("scaled", scaling_factor=0.5)
    assert same.name == autoencoder.name and len({same.name, other.name, scaled.name}) == 3
    require_autoencoder(same, autoencoder, "the model")
    require_autoencoder(None, None, "the model")
    for found, wanted in [(other, autoencoder), (None, autoencoder), (autoencoder, None)]:
        with pytest.raises(BadConfig, match=r"^the model: was trained with the autoencoder .*, not .*\.$"):
            require_autoencoder(found, wanted, "the model")
