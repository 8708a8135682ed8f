"""Stable Diffusion's schedules against diffusers': their levels, and every step of a sampling run, v and epsilon."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from idfsr_jax.config import DiffusionConfig, SampleConfig, from_dict
from idfsr_jax.diffusion import samplers, schedule
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.latent.discrete import levels_of, sampling_timesteps

STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SHAPE = (1, 8, 8, 4)
STEPS = 10


def network(module, x, level, prediction):
    """Any smooth estimate of x0 that reacts to all of its input, as v or as epsilon, in either library."""
    alpha, sigma = module.sqrt(1.0 / (1.0 + module.exp(-level))), module.sqrt(1.0 / (1.0 + module.exp(level)))
    x0 = 0.8 * module.sin(1.3 * x + 0.1 * level)
    return (x - alpha * x0) / sigma if prediction == "epsilon" else (alpha * x - x0) / sigma


SCHEDULES = [("scaled_linear", 0.00085, 0.012), ("linear", 0.0001, 0.02)]


@pytest.mark.parametrize(("betas", "start", "end"), SCHEDULES)
@pytest.mark.parametrize("scheduler", [DDIMScheduler, DDPMScheduler])
def test_levels_are_those_of_diffusers(scheduler, betas, start, end):
    theirs = scheduler(beta_schedule=betas, beta_start=start, beta_end=end).alphas_cumprod.numpy()
    ours = levels_of(DiffusionConfig(schedule=betas, beta_start=start, beta_end=end))
    assert ours.shape == (1000,) and np.all(np.diff(ours) < 0)
    alphas, _ = schedule.alpha_sigma(jnp.asarray(ours))
    np.testing.assert_allclose(np.square(alphas), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("betas", "start", "end"), SCHEDULES)
def test_training_draws_each_of_the_levels_equally_often(betas, start, end):
    config = DiffusionConfig(schedule=betas, beta_start=start, beta_end=end)
    levels = levels_of(config)
    drawn = np.asarray(schedule.draw_log_snr(jax.random.key(0), 20_000, 64, config))
    timesteps = np.searchsorted(-levels, -drawn)
    np.testing.assert_array_equal(levels[timesteps], drawn)
    # Evenly spread, so 20 each, but for rounding at the edges.
    assert np.abs(np.bincount(timesteps, minlength=1000) - 20).max() <= 1
    again = schedule.draw_log_snr(jax.random.key(0), 20_000, 512, config)
    np.testing.assert_array_equal(again, drawn, "no resolution shifts it")


def test_the_last_instant_belongs_to_the_last_timestep():
    config = DiffusionConfig(schedule="scaled_linear", num_train_timesteps=3)
    found = schedule.log_snr(jnp.array([0.0, 0.3, 0.34, 0.7, 1.0]), 64, config)
    np.testing.assert_array_equal(found, levels_of(config)[[0, 0, 1, 2, 2]])


def test_a_model_that_was_described_before_there_was_a_choice_has_the_cosine():
    before = {"log_snr_min": -10.0, "log_snr_max": 10.0, "shift_base": 64, "min_snr_gamma": 5.0}
    config = from_dict(DiffusionConfig, before)
    assert config == DiffusionConfig() and config.schedule == "cosine"


@pytest.mark.parametrize("steps", [1, 4, 7, 20, 50, 999])
@pytest.mark.parametrize(("spacing", "offset"), [("trailing", 0), ("leading", 1), ("linspace", 0)])
def test_timesteps_are_those_of_diffusers(spacing, offset, steps):
    scheduler = DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(steps)
    config = DiffusionConfig(schedule="scaled_linear", timestep_spacing=spacing, steps_offset=offset)
    np.testing.assert_array_equal(sampling_timesteps(steps, config), scheduler.timesteps.numpy())


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
# diffusers' DPM-Solver++ has a leading spacing of its own.
@pytest.mark.parametrize(("sampler", "spacing"), [("ddim", "trailing"), ("ddim", "leading"), ("dpm++2m", "trailing")])
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_every_step_equals_diffusers(sampler, prediction, spacing):
    options = {**STABLE_DIFFUSION, "prediction_type": prediction, "timestep_spacing": spacing, "steps_offset": 1}
    if sampler == "ddim":
        scheduler = DDIMScheduler(**options, clip_sample=False, set_alpha_to_one=True)
    else:
        scheduler = DPMSolverMultistepScheduler(**options, solver_order=2, final_sigmas_type="zero")
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    sampling = SampleConfig(sampler=sampler, steps=STEPS)
    diffusion = DiffusionConfig(schedule="scaled_linear", timestep_spacing=spacing)
    levels = levels_of(diffusion)
    expected, timesteps = their_run(scheduler, noise, levels.astype(np.float64), prediction)
    seen = []

    def denoise(x, level):
        jax.debug.callback(lambda *values: seen.append([np.array(value) for value in values]), x, level, ordered=True)
        output = network(jnp, x, level[:, None, None, None], prediction)
        return output if prediction == "v_prediction" else schedule.v_from_noise(x, output, level)

    result = samplers.sample(denoise, jnp.asarray(noise), sampling, diffusion, bound=math.inf)
    jax.effects_barrier()
    np.testing.assert_array_equal(np.concatenate([level for _, level in seen]), levels[timesteps])
    for step, (ours, theirs) in enumerate(zip([*(x for x, _ in seen), result], expected, strict=True)):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0, err_msg=f"step {step}")
    table = np.asarray(samplers.sampling_table(sampling, diffusion, 8))
    np.testing.assert_array_equal(table[:, 0], levels[timesteps], "what an export carries")


@pytest.mark.parametrize(
    ("changes", "steps", "said"),
    [
        ({}, 1001, "1001 sampling steps are more than the schedule's 1000 timesteps"),
        ({"timestep_spacing": "leading", "steps_offset": 1}, 1000, "1000 leading steps, each 1 later, leave"),
    ],
)
def test_more_steps_than_there_are_timesteps_are_refused(changes, steps, said):
    with pytest.raises(BadConfig, match=said):
        schedule.sampling_levels(steps, 64, DiffusionConfig(schedule="scaled_linear", **changes))
