"""Loss values and weights against diffusers' SNR and against the loss on x0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr

from idfsr_jax.diffusion import loss, schedule


def test_min_snr_weight_equals_that_of_diffusers_training():
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    steps = torch.arange(0, 1000, 37)
    snr = compute_snr(scheduler, steps).double().numpy()
    ours = loss.min_snr_weight(jnp.asarray(np.log(snr), jnp.float32), 5.0)
    np.testing.assert_allclose(ours, np.minimum(snr, 5.0) / (snr + 1.0), rtol=1e-5)


@pytest.mark.parametrize(("snr", "weight"), [(1.0, 0.5), (3.0, 0.75), (5.0, 5 / 6), (9.0, 0.5), (49.0, 0.1)])
def test_min_snr_weight_at_plain_numbers(snr, weight):
    assert float(loss.min_snr_weight(jnp.log(jnp.float32(snr)), 5.0)) == pytest.approx(weight, rel=1e-6)


def test_min_snr_weight_is_finite_everywhere():
    weight = np.asarray(loss.min_snr_weight(jnp.array([-1e4, -80.0, 80.0, 1e4]), 5.0))
    assert np.all(np.isfinite(weight)) and np.all(weight >= 0.0)


def test_the_loss_is_the_truncated_loss_on_x0_one_number_per_example():
    rng = np.random.default_rng(0)
    x0, noise, v = (jnp.asarray(rng.standard_normal((3, 8, 8, 3)), jnp.float32) for _ in range(3))
    level = jnp.log(jnp.array([0.3, 2.0, 40.0]))
    estimate = schedule.x0_from_v(schedule.q_sample(x0, noise, level), v, level)
    expected = np.minimum([0.3, 2.0, 40.0], 5.0) * np.square(estimate - x0).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(loss.v_loss(v, x0, noise, level, 5.0), expected, rtol=1e-4)


def test_the_loss_vanishes_at_the_true_velocity_and_nowhere_near():
    rng = np.random.default_rng(1)
    x0, noise = (jnp.asarray(rng.standard_normal((2, 4, 4, 3)), jnp.float32) for _ in range(2))
    level = jnp.array([-1.0, 1.0])
    v = schedule.v_from_x0_and_noise(x0, noise, level)
    np.testing.assert_array_equal(loss.v_loss(v, x0, noise, level, 5.0), [0.0, 0.0])
    gradient = jax.grad(lambda v: loss.v_loss(v, x0, noise, level, 5.0).sum())(v + 0.1)
    assert np.all(np.asarray(gradient) > 0.0)
