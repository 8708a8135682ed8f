"""What crosses over into latents and back; diffusers' network, random weights."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.diffusion.schedule import q_sample, x0_from_v
from idfsr_jax.face import resize_crop
from idfsr_jax.io.errors import BadConfig, BadWeights
from idfsr_jax.latent.autoencoder import AutoencoderKL
from idfsr_jax.latent.space import (
    Autoencoder,
    autoencoder_of,
    encode_condition,
    require_autoencoder,
    to_model_space,
    to_pixels,
)
from idfsr_jax.method.condition import Condition, References, make_condition
from idfsr_jax.method.degrade import resampling_tables
from idfsr_jax.method.denoiser import denoiser_of, empty_condition, init_denoiser
from idfsr_jax.method.sample import agreement_with, sample_pictures

SIZE, SIDE, K, SIZES = 32, 16, 2, (192,)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own


@pytest.fixture(scope="module")
def config(latent_config):
    return latent_config.model


@pytest.fixture(scope="module")
def autoencoder(config) -> Autoencoder:
    return autoencoder_of(config)


@pytest.fixture(scope="module")
def x0(face_crop):
    return jnp.asarray(resize_crop(face_crop.image, SIZE), jnp.float32)[None] / 127.5 - 1.0


@pytest.fixture(scope="module")
def conditions(x0, face_crop, config):
    """Makes the condition of an enlarged LR picture, whose two references are the mirrored face and a darker one."""
    landmarks = jnp.asarray(face_crop.landmarks)[None]
    references = References(
        jnp.stack([x0[:, :, ::-1], 0.5 * x0], axis=1),
        jnp.stack([landmarks, landmarks], axis=1),
        jnp.broadcast_to(jnp.eye(3)[:2], (1, K, 2, 3)),
        jnp.ones((1, K)),
        jnp.full((1, K, 192), 192**-0.5),
    )
    identity = jnp.full((1, 192), 192**-0.5)
    made = jax.jit(make_condition, static_argnames="patch")

    def make(y_up, reveal=0.0, present=(1.0, 1.0)):
        shown = references.replace(present=jnp.asarray([present]))
        given = (landmarks, shown, identity, jnp.full((1,), 4.0), jnp.full((1,), reveal))
        return made(y_up, *given, patch=config.pixels_per_place)

    return make


@pytest.fixture(scope="module")
def condition(x0, conditions) -> Condition:
    return conditions(0.8 * x0, reveal=0.5)


encode, decode, encode_all = jax.jit(to_model_space), jax.jit(to_pixels), jax.jit(encode_condition)


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
    encoded, (latents,) = encode_all(condition, autoencoder, x0)
    expected = lambda picture: np.asarray(encode(picture, autoencoder))  # noqa: E731
    means = lambda plane: np.asarray(plane).reshape(1, SIDE, 2, SIDE, 2, 1).mean((2, 4))  # noqa: E731
    np.testing.assert_allclose(latents, expected(x0), atol=1e-5)
    np.testing.assert_allclose(encoded.hidden, expected(condition.hidden), atol=1e-5)
    np.testing.assert_allclose(encoded.guess, expected(condition.guess), atol=1e-5)
    for i in range(K):
        valid = means(condition.valid[:, i])
        np.testing.assert_allclose(encoded.valid[:, i], valid, atol=1e-6)
        np.testing.assert_allclose(encoded.references[:, i], expected(condition.references[:, i]) * valid, atol=1e-5)
    mask = means(condition.mask)
    np.testing.assert_allclose(encoded.mask, mask, atol=1e-6)
    assert 0.05 < mask.mean() < 0.9 and not np.allclose(encoded.guess, encoded.hidden, atol=0.1)
    assert encoded.pose.shape == (1, SIDE, SIDE, 6)
    for name in ("pose", "reference_identities", "identity", "identity_present", "scale"):
        np.testing.assert_array_equal(getattr(encoded, name), getattr(condition, name))


def test_a_missing_reference_is_zero_in_latents_too(x0, conditions, autoencoder):
    encoded, _ = encode_all(conditions(x0, present=(0.0, 1.0)), autoencoder, x0)
    assert not np.any(encoded.references[:, 0]) and not np.any(encoded.valid[:, 0])
    assert np.any(encoded.references[:, 1]) and np.any(encoded.valid[:, 1])
    np.testing.assert_allclose(encoded.guess, encoded.hidden, atol=1e-5)


def test_the_lr_face_reaches_no_latent_where_nothing_is_revealed(x0, conditions, autoencoder):
    """Masked in pixels, before the encoder, which would smear the face over its neighbours."""
    make = lambda y_up: encode_all(conditions(y_up), autoencoder, x0)[0]  # noqa: E731
    inside = np.asarray(conditions(x0).mask) == 1.0
    other = jnp.asarray(np.where(inside, -np.asarray(x0), x0))
    for a, b in zip(jax.tree.leaves(make(other)), jax.tree.leaves(make(x0)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(make(-x0).hidden != make(x0).hidden)


def test_an_empty_condition_has_the_shapes_of_both(x0, condition, config, autoencoder):
    for diffused, made in ((False, condition), (True, encode_all(condition, autoencoder, x0)[0])):
        empty = empty_condition(1, SIZE, K, config, SIZES, diffused=diffused)
        assert [leaf.shape for leaf in jax.tree.leaves(empty)] == [leaf.shape for leaf in jax.tree.leaves(made)]


def test_untrained_the_noisiest_estimate_is_the_encoded_guess(x0, condition, latent_config, autoencoder):
    encoded, (latents,) = encode_all(condition, autoencoder, x0)
    params = init_denoiser(jax.random.key(0), latent_config, SIZES)
    level = jnp.full((1,), -10.0)
    x_t = q_sample(latents, jax.random.normal(jax.random.key(1), latents.shape), level)
    v = jax.jit(denoiser_of(latent_config, SIZES).apply)({"params": params}, x_t, level, encoded)
    np.testing.assert_allclose(x0_from_v(x_t, v, level), encoded.guess, atol=0.05)
    assert np.abs(np.asarray(encoded.guess - latents)).max() > 0.3


def test_untrained_a_restoration_is_the_decoded_guess_and_made_to_agree(x0, condition, latent_config, autoencoder):
    # A prior that expects hardly any error, in place of a network that has learnt to correct it.
    config = replace(latent_config, model=replace(latent_config.model, prior_std=1e-3))
    params, noise = init_denoiser(jax.random.key(0), config, SIZES), jnp.ones((1, SIDE, SIDE, 4))
    restore = lambda held: sample_pictures(params, condition, noise, config, SIZES, held, autoencoder)  # noqa: E731
    y = np.random.default_rng(0).integers(64, 192, (8, 8, 3), np.uint8)
    agreements = [agreement_with(y, strength, resampling_tables(SIZE)) for strength in (0.0, 1.0)]
    free, held = (restore(agreement) for agreement in agreements)
    assert free.shape == (1, SIZE, SIZE, 3) and float(jnp.std(free)) > 0.05
    np.testing.assert_allclose(free, decode(encode(condition.guess, autoencoder), autoencoder), atol=0.02)
    down = agreements[0].down[0, :8]
    small = lambda picture: np.einsum("ij,bjkc,lk->bilc", down, picture, down)  # noqa: E731
    assert np.abs(small(free) - y / 127.5 + 1.0).max() > 0.1
    np.testing.assert_allclose(small(held)[0], y / 127.5 - 1.0, atol=1e-4)


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
