"""Stable Diffusion's schedules against diffusers': their levels, and every step of a sampling run, v and epsilon."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from idfsr_jax.diffusion import samplers, schedule
from idfsr_jax.diffusion.discrete import discrete_log_snr, spaced_timesteps

STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SHAPE = (1, 8, 8, 4)
STEPS = 10


def network(module, x, level, prediction):
    """Any smooth estimate of x0 that reacts to all of its input, as v or as epsilon, in either library."""
    alpha, sigma = module.sqrt(1.0 / (1.0 + module.exp(-level))), module.sqrt(1.0 / (1.0 + module.exp(level)))
    x0 = 0.8 * module.sin(1.3 * x + 0.1 * level)
    return (x - alpha * x0) / sigma if prediction == "epsilon" else (alpha * x - x0) / sigma


@pytest.mark.parametrize(("betas", "start", "end"), [("scaled_linear", 0.00085, 0.012), ("linear", 0.0001, 0.02)])
def test_levels_are_those_of_diffusers(betas, start, end):
    theirs = DDIMScheduler(beta_schedule=betas, beta_start=start, beta_end=end).alphas_cumprod.double().numpy()
    ours = discrete_log_snr(betas, start=start, end=end)
    # Theirs is a product of a thousand factors in float32.
    np.testing.assert_allclose(1.0 / (1.0 + np.exp(-ours)), theirs, rtol=2e-4, atol=1e-7)
    assert ours.shape == (1000,) and np.all(np.diff(ours) < 0)


@pytest.mark.parametrize("steps", [1, 4, 7, 20, 50, 999])
@pytest.mark.parametrize(("spacing", "offset"), [("trailing", 0), ("leading", 1), ("linspace", 0)])
def test_timesteps_are_those_of_diffusers(spacing, offset, steps):
    scheduler = DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(steps)
    np.testing.assert_array_equal(spaced_timesteps(spacing, steps, offset=offset), scheduler.timesteps.numpy())


def their_run(scheduler, noise, levels, prediction):
    """What their network sees at every step, and the result; float64, so that the rounding is ours."""
    scheduler.alphas_cumprod = torch.from_numpy(1.0 / (1.0 + np.exp(-levels)))
    scheduler.set_timesteps(STEPS)
    x, seen = torch.from_numpy(noise).double(), []
    for t in scheduler.timesteps:
        seen.append(x.numpy().copy())
        output = network(torch, x, torch.tensor(levels[int(t)]), prediction)
        x = scheduler.step(output, t, x).prev_sample
    return [*seen, x.numpy()], scheduler.timesteps.numpy()


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # diffusers
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("sampler", ["ddim", "dpm++2m"])
def test_every_step_equals_diffusers(sampler, prediction, spacing):
    levels = discrete_log_snr()
    options = {**STABLE_DIFFUSION, "prediction_type": prediction, "timestep_spacing": spacing, "steps_offset": 1}
    if sampler == "ddim":
        scheduler = DDIMScheduler(**options, clip_sample=False, set_alpha_to_one=True)
    else:
        scheduler = DPMSolverMultistepScheduler(**options, solver_order=2, final_sigmas_type="zero")
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    expected, timesteps = their_run(scheduler, noise, levels, prediction)
    seen = []

    def denoise(x, level):
        jax.debug.callback(lambda value: seen.append(np.array(value)), x, ordered=True)
        output = network(jnp, x, level[:, None, None, None], prediction)
        return output if prediction == "v_prediction" else schedule.v_from_noise(x, output, level)

    at = jnp.asarray(levels[timesteps], jnp.float32)
    result = samplers.sample_at(denoise, jax.random.key(0), jnp.asarray(noise), at, sampler)
    jax.effects_barrier()
    assert len(seen) == STEPS
    for step, (ours, theirs) in enumerate(zip([*seen, np.asarray(result)], expected, strict=True)):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0, err_msg=f"step {step}")
