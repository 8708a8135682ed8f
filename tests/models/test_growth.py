"""A denoiser of 64 px begins as one of 32 px did, in all that is coarse."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import Config, ModelConfig, UNetConfig
from idfsr_jax.diffusion.schedule import x0_from_v
from idfsr_jax.models.condition import Condition, paste
from idfsr_jax.models.denoiser import Denoiser, init_denoiser
from idfsr_jax.models.growth import grown, has_grown
from idfsr_jax.models.unet import UNet
from idfsr_jax.networks.blocks import block_means, upsample_nearest

LEVELS = (-9.0, -3.0, 0.0, 2.5)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.fixture(scope="module")
def large(tiny_config) -> Config:
    model = replace(tiny_config.model, patch=2 * tiny_config.model.patch, prior_detail_std=0.1)
    return replace(tiny_config, data=replace(tiny_config.data, size=2 * tiny_config.data.size), model=model)


@pytest.fixture(scope="module")
def condition(large) -> Condition:
    """With detail in every picture."""
    side, mask = large.data.size, np.zeros((1, large.data.size, large.data.size, 1), np.float32)
    mask[:, 16:48, 16:48] = 1.0
    ones = jnp.ones(1)
    hidden = normal(1, side, side, 3, seed=1) * (1.0 - mask)
    valid = jnp.ones((1, side, side, 1))
    return Condition(
        hidden, jnp.asarray(mask), normal(1, side, side, 3, seed=2), valid, normal(1, 128, seed=3), ones, 8.0 * ones
    )


def reduced(condition: Condition) -> Condition:
    pictures = {name: block_means(getattr(condition, name)) for name in ("hidden", "mask", "reference", "valid")}
    return condition.replace(**pictures, scale=condition.scale / 2)


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_the_network_computes_what_it_did_of_reduced_pictures(patch):
    small = ModelConfig(patch=patch, channels=(8,), blocks=(1,), attention_at=8, embedding=16, head_width=8)
    network, side = UNet(small), 4 * patch
    inputs = normal(2, 2 * side, 2 * side, 5), jnp.array([-2.0, 1.0]), jnp.array([4.0, 8.0]), normal(2, 128)
    means = inputs[0].reshape(2, side, 2, side, 2, 5).mean((2, 4))
    arguments = means, inputs[1] + 2.0 * np.log(2.0), inputs[2] / 2.0, inputs[3]
    noise = np.random.default_rng(0)
    params = jax.device_get(network.init(jax.random.key(0), *arguments)["params"])
    params = jax.tree.map(lambda leaf: leaf + noise.normal(0, 0.1, leaf.shape).astype(np.float32), params)
    expected = network.apply({"params": params}, *arguments)
    found = UNet(replace(small, patch=2 * patch)).apply({"params": grown({"unet": params}, patch)["unet"]}, *inputs)
    assert found.shape == (2, 2 * side, 2 * side, 3) and np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, np.repeat(np.repeat(expected, 2, 1), 2, 2), atol=1e-4)


@pytest.mark.parametrize("level", LEVELS)
def test_its_estimates_are_the_small_models_with_the_details_of_the_paste(
    tiny_config, tiny_weights, large, condition, level
):
    side, log_snr = large.data.size, jnp.full(1, level)
    x0, noise = normal(1, side, side, 3, seed=4), normal(1, side, side, 3, seed=5)
    alpha, sigma = jax.nn.sigmoid(level) ** 0.5, jax.nn.sigmoid(-level) ** 0.5
    x_t = alpha * x0 + sigma * noise
    params = grown(tiny_weights[0], tiny_config.model.patch)
    apply = jax.jit(partial(Denoiser(large.model).apply, {"params": params}))
    estimate = x0_from_v(x_t, apply(x_t, log_snr, condition), log_snr)

    # The same state for the small model: the means, scaled so that squares of signal and noise shares sum to one.
    higher = log_snr + 2.0 * np.log(2.0)
    small_x_t = block_means(x_t) * jax.nn.sigmoid(higher) ** 0.5 / alpha
    v = Denoiser(tiny_config.model).apply({"params": tiny_weights[0]}, small_x_t, higher, reduced(condition))
    of_small = x0_from_v(small_x_t, v, higher)
    np.testing.assert_allclose(block_means(estimate), of_small, atol=2e-4)
    assert np.abs(of_small - block_means(paste(condition, "full"))).max() > 0.05

    # And what is finer is the best linear estimate around the paste's, with its own deviation.
    fine = lambda picture: picture - upsample_nearest(block_means(picture))  # noqa: E731
    guess, s = fine(paste(condition, "full")), large.model.prior_detail_std
    gain = alpha * s**2 / (alpha**2 * s**2 + sigma**2)
    np.testing.assert_allclose(fine(estimate), guess + gain * (fine(x_t) - alpha * guess), atol=2e-4)


def test_what_is_fine_is_the_networks_to_change(large, condition):
    side = large.data.size
    params, x_t = init_denoiser(jax.random.key(0), large), normal(1, side, side, 3)
    fine = lambda picture: picture - upsample_nearest(block_means(picture))  # noqa: E731
    apply = lambda params: Denoiser(large.model).apply({"params": params}, x_t, jnp.zeros(1), condition)  # noqa: E731
    before = apply(params)
    params["unet"]["out"]["bias"] = normal(*params["unet"]["out"]["bias"].shape)
    change = apply(params) - before
    assert np.abs(fine(change)).max() > 0.05 and np.abs(block_means(change)).max() > 0.05


def test_only_pictures_twice_as_large_in_patches_twice_as_large_have_grown(tiny_config, large):
    assert has_grown(tiny_config, large)
    changed = {"patch": tiny_config.model.patch}, {"prior_detail_std": 0.0}, {"autoencoder": "somewhere"}
    others = [replace(large, model=replace(large.model, **each)) for each in changed]
    assert not any(has_grown(tiny_config, other) for other in (tiny_config, replace(large, data=tiny_config.data)))
    assert not any(has_grown(tiny_config, other) for other in others)
    larger = replace(large.model, patch=2 * large.model.patch)
    assert not has_grown(large, replace(large, data=replace(large.data, size=2 * large.data.size), model=larger))
    unet = replace(tiny_config.model, unet=UNetConfig(folder="somewhere"))
    assert not has_grown(replace(tiny_config, model=unet), large)
