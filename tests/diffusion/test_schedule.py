"""The schedule against its formula in float64, conversions and weights against diffusers and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr

from idfsr_jax.config import DiffusionConfig
from idfsr_jax.diffusion import schedule

CONFIG = DiffusionConfig()


def normal(seed, shape=(4, 8, 8, 3)):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("size", [32, 64, 128, 512])
def test_log_snr_is_the_shifted_cosine_between_its_bounds(size):
    t = np.linspace(0.0, 1.0, 257)
    ours = np.asarray(schedule.log_snr(jnp.asarray(t, jnp.float32), size, CONFIG))
    shift = 2.0 * np.log(CONFIG.shift_base / size)
    low, high = (np.arctan(np.exp(-0.5 * (bound - shift))) for bound in (CONFIG.log_snr_max, CONFIG.log_snr_min))
    np.testing.assert_allclose(ours, -2.0 * np.log(np.tan(low + t * (high - low))) + shift, atol=2e-5)
    np.testing.assert_allclose(ours[[0, -1]], [CONFIG.log_snr_max, CONFIG.log_snr_min], atol=1e-5)
    assert np.all(np.diff(ours) < 0)


def test_doubling_the_side_takes_two_log_two_of_log_snr():
    t = jnp.linspace(0.2, 0.8, 7)
    wide = DiffusionConfig(log_snr_min=-30.0, log_snr_max=30.0)
    difference = schedule.log_snr(t, 64, wide) - schedule.log_snr(t, 128, wide)
    np.testing.assert_allclose(difference, 2.0 * np.log(2.0), atol=1e-4)


def test_drawn_levels_fall_one_into_each_stratum_and_follow_the_key():
    drawn = np.asarray(schedule.draw_log_snr(jax.random.key(3), 16, 64, CONFIG))
    edges = np.asarray(schedule.log_snr(jnp.linspace(1.0, 0.0, 17), 64, CONFIG))
    assert np.histogram(drawn, edges)[0].tolist() == [1] * 16
    np.testing.assert_array_equal(drawn, schedule.draw_log_snr(jax.random.key(3), 16, 64, CONFIG))
    assert not np.array_equal(drawn, schedule.draw_log_snr(jax.random.key(4), 16, 64, CONFIG))


def test_alpha_and_sigma_are_those_of_the_log_snr():
    level = np.linspace(-10.0, 10.0, 41)
    alpha, sigma = (np.asarray(value, np.float64) for value in schedule.alpha_sigma(jnp.asarray(level, jnp.float32)))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=3e-7)
    np.testing.assert_allclose(2.0 * np.log(alpha / sigma), level, atol=1e-5)


@pytest.mark.parametrize("level", [-10.0, -2.0, 0.0, 3.0, 10.0])
def test_the_forward_process_preserves_variance(level):
    x0, noise = normal(0, (1, 256, 256, 3)), normal(1, (1, 256, 256, 3))
    x_t = np.asarray(schedule.q_sample(x0, noise, jnp.array([level])))
    assert x_t.std() == pytest.approx(1.0, abs=0.01)
    assert np.corrcoef(x_t.ravel(), np.ravel(x0))[0, 1] == pytest.approx(np.sqrt(1 / (1 + np.exp(-level))), abs=0.01)


def test_noise_and_velocity_equal_diffusers():
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    steps = torch.tensor([0, 100, 500, 999])
    x0, noise = normal(0), normal(1)
    alphas = scheduler.alphas_cumprod[steps].double().numpy()
    level = jnp.asarray(np.log(alphas / (1.0 - alphas)), jnp.float32)
    pair = [torch.from_numpy(np.array(value)) for value in (x0, noise)]
    theirs = scheduler.add_noise(*pair, steps).numpy()
    np.testing.assert_allclose(schedule.q_sample(x0, noise, level), theirs, atol=1e-6)
    theirs = scheduler.get_velocity(*pair, steps).numpy()
    np.testing.assert_allclose(schedule.v_from_x0_and_noise(x0, noise, level), theirs, atol=1e-6)


def test_every_conversion_is_inverted_by_its_partner():
    x0, noise = normal(0), normal(1)
    level = jnp.array([-4.0, -1.0, 2.0, 4.0])
    x_t = schedule.q_sample(x0, noise, level)
    v = schedule.v_from_x0_and_noise(x0, noise, level)
    found = {
        "x0_from_v": (schedule.x0_from_v(x_t, v, level), x0),
        "v_from_x0": (schedule.v_from_x0(x_t, x0, level), v),
        "noise_from_x0": (schedule.noise_from_x0(x_t, x0, level), noise),
        "v_from_noise": (schedule.v_from_noise(x_t, noise, level), v),
    }
    for name, (ours, expected) in found.items():
        np.testing.assert_allclose(ours, expected, atol=2e-5, err_msg=name)


def test_min_snr_weight_equals_that_of_diffusers_training():
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    steps = torch.arange(0, 1000, 37)
    snr = compute_snr(scheduler, steps).double().numpy()
    ours = schedule.min_snr_weight(jnp.asarray(np.log(snr), jnp.float32), 5.0)
    np.testing.assert_allclose(ours, np.minimum(snr, 5.0) / (snr + 1.0), rtol=1e-5)


@pytest.mark.parametrize(("snr", "weight"), [(1.0, 0.5), (3.0, 0.75), (5.0, 5 / 6), (9.0, 0.5), (49.0, 0.1)])
def test_min_snr_weight_at_plain_numbers(snr, weight):
    assert float(schedule.min_snr_weight(jnp.log(jnp.float32(snr)), 5.0)) == pytest.approx(weight, rel=1e-6)


def test_min_snr_weight_is_finite_everywhere():
    weight = np.asarray(schedule.min_snr_weight(jnp.array([-1e4, -80.0, 80.0, 1e4]), 5.0))
    assert np.all(np.isfinite(weight)) and np.all(weight >= 0.0)
