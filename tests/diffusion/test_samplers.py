"""Samplers against diffusers' PyTorch schedulers and against Gaussian data, whose exact denoiser is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from idfsr_jax.config import DiffusionConfig, SampleConfig
from idfsr_jax.diffusion import samplers, schedule
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.method.degrade import resampling_tables
from idfsr_jax.method.sample import agreement_with, projection

SAMPLERS = ("dpm++2m", "ddim")
SHAPE = (2, 16, 16, 3)
MEAN, STD = 0.3, 0.5


def model(module, x, log_snr):
    """Any smooth function that reacts to all of its input, in either library."""
    return 0.8 * module.sin(1.3 * x + 0.1 * log_snr)


def denoise(x, log_snr):
    return model(jnp, x, log_snr[:, None, None, None])


def gaussian(x, log_snr):
    """The exact v for data from N(MEAN, STD^2)."""
    alpha, sigma = schedule.alpha_sigma(log_snr[:, None, None, None])
    x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)
    return (alpha * x - x0) / sigma


def run_diffusers(scheduler, steps, noise):
    """Their loop over their own timesteps; returns the result and the log-SNR of each."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()  # the rounding to be measured is ours
    scheduler.set_timesteps(steps)
    alphas = scheduler.alphas_cumprod[scheduler.timesteps].double()
    levels = torch.log(alphas / (1.0 - alphas))
    x = torch.from_numpy(noise).double()
    for index, t in enumerate(scheduler.timesteps):
        x = scheduler.step(model(torch, x, float(levels[index])), t, x).prev_sample
    return x.float().numpy(), jnp.asarray(levels.numpy(), jnp.float32)


def their_ddim():
    return DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing", clip_sample=False)


def their_dpm():
    return DPMSolverMultistepScheduler(
        prediction_type="v_prediction", timestep_spacing="trailing", solver_order=2, final_sigmas_type="zero"
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # diffusers
@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equals_diffusers_on_the_same_timesteps(sampler, steps):
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    scheduler = their_dpm() if sampler == "dpm++2m" else their_ddim()
    theirs, levels = run_diffusers(scheduler, steps, noise)
    ours = samplers.sample_at(denoise, jnp.asarray(noise), levels, sampler)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("sampler", "order"), [("dpm++2m", 2), ("ddim", 1)])
def test_solves_the_flow_of_gaussian_data_at_the_stated_order(sampler, order):
    noise = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
    alpha, sigma = (float(value) for value in schedule.alpha_sigma(jnp.float32(-10.0)))
    exact = MEAN + STD * (noise - alpha * MEAN) / np.sqrt(alpha**2 * STD**2 + sigma**2)
    errors = []
    for steps in (20, 40, 80):
        levels = jnp.linspace(-10.0, 14.0, steps)
        ours = samplers.sample_at(gaussian, noise, levels, sampler)
        errors.append(float(jnp.sqrt(jnp.mean(jnp.square(ours - exact)))))
    observed = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(observed - order) < 0.45), (errors, observed)
    assert errors[-1] < {1: 0.05, 2: 0.004}[order]


@pytest.mark.parametrize(("sampler", "steps"), [("dpm++2m", 20), ("ddim", 200)])
def test_reaches_mean_and_deviation_of_gaussian_data(sampler, steps):
    noise = jax.random.normal(jax.random.key(1), (1, 96, 96, 3))
    levels = schedule.log_snr(1.0 - jnp.arange(steps, dtype=jnp.float32) / steps, 64, DiffusionConfig())
    x0 = np.asarray(samplers.sample_at(gaussian, noise, levels, sampler))
    assert x0.mean() == pytest.approx(MEAN, abs=0.01)
    assert x0.std() == pytest.approx(STD, abs=0.01)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_denoiser_gives_its_picture(sampler):
    target = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, SHAPE), jnp.float32)
    config, noise = SampleConfig(sampler=sampler, steps=7), jax.random.normal(jax.random.key(0), SHAPE)
    ours = samplers.sample(lambda x, level: schedule.v_from_x0(x, target, level), noise, config, DiffusionConfig())
    np.testing.assert_allclose(ours, target, atol=2e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_result_satisfies_the_constraint_and_is_clipped_without_one(sampler):
    config, noise = SampleConfig(sampler=sampler, steps=5), jax.random.normal(jax.random.key(0), SHAPE)
    y = np.random.default_rng(3).integers(20, 236, (2, 4, 4, 3)).astype(np.uint8)
    tables = resampling_tables(16)
    both = [agreement_with(each, 1.0, tables) for each in y]
    project = projection(jax.tree.map(lambda *rows: np.concatenate(rows), *both))
    free = samplers.sample(lambda x, level: -3.0 * x, noise, config, DiffusionConfig())
    bound = samplers.sample(lambda x, level: -3.0 * x, noise, config, DiffusionConfig(), project)
    assert float(jnp.abs(free).max()) == 1.0
    small = [np.asarray(each).reshape(2, 4, 4, 4, 4, 3).mean((2, 4)) for each in (bound, free)]
    np.testing.assert_allclose(small[0], y / 127.5 - 1.0, atol=1e-5)
    assert np.abs(small[1] - (y / 127.5 - 1.0)).max() > 0.1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_is_one_program_that_follows_its_noise(sampler):
    traces, config = [], SampleConfig(sampler=sampler, steps=6)

    def counted(x, level):
        traces.append((x.shape, level.shape))
        return denoise(x, level)

    @jax.jit
    def run(noise):
        return samplers.sample(counted, noise, config, DiffusionConfig())

    some, others = (jax.random.normal(jax.random.key(seed), SHAPE) for seed in (0, 1))
    first, again, other = run(some), run(some), run(others)
    assert traces == [(SHAPE, SHAPE[:1])]
    np.testing.assert_array_equal(first, again)
    assert float(jnp.abs(first - other).max()) > 0.1
    program = jax.make_jaxpr(run)(some).jaxpr.eqns[0].params["jaxpr"]
    assert sum(equation.primitive.name == "scan" for equation in program.eqns) == 1


def test_levels_run_from_pure_noise_evenly_in_time():
    seen = []

    def recording(x, level):
        jax.debug.callback(lambda value: seen.append(float(value[0])), level, ordered=True)
        return denoise(x, level)

    noise = jnp.zeros((1, 128, 128, 3))
    samplers.sample(recording, noise, SampleConfig(steps=4), DiffusionConfig()).block_until_ready()
    jax.effects_barrier()
    expected = schedule.log_snr(jnp.array([1.0, 0.75, 0.5, 0.25]), 128, DiffusionConfig())
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_a_low_precision_network_leaves_the_sampler_in_float32():
    ours = samplers.sample(
        lambda x, level: denoise(x, level).astype(jnp.bfloat16),
        jnp.ones(SHAPE), SampleConfig(steps=3), DiffusionConfig(),
    )  # fmt: skip
    assert ours.dtype == jnp.float32


def test_no_steps_are_refused():
    with pytest.raises(BadConfig, match=r"SampleConfig\.steps is 0"):
        samplers.sample(denoise, jnp.zeros(SHAPE), SampleConfig(steps=0), DiffusionConfig())


@pytest.mark.parametrize("sampler", ["dpm++2m", "ddim"])
def test_the_last_state_alone_is_steered(sampler):
    config, diffusion = SampleConfig(sampler=sampler, steps=4), DiffusionConfig()
    noise = jax.random.normal(jax.random.key(2), SHAPE)
    states, levels = samplers.course(denoise, noise, config, diffusion, 16)
    level = jnp.full(SHAPE[0], levels[-1])
    moved = states[-1] + 0.1 * level[:, None, None, None]
    expected = jnp.clip(schedule.x0_from_v(moved, denoise(moved, level), level), -1.0, 1.0)
    steer = lambda x_t, log_snr: x_t + 0.1 * log_snr[:, None, None, None]  # noqa: E731
    draw = partial(samplers.sample, denoise, noise, config, diffusion)
    np.testing.assert_allclose(draw(steer=steer), expected, atol=1e-6)
    assert jnp.abs(draw() - expected).max() > 1e-3


@pytest.mark.parametrize("sampler", ["dpm++2m", "ddim"])
def test_the_course_ends_where_the_sampler_does(sampler):
    config, diffusion = SampleConfig(sampler=sampler, steps=5), DiffusionConfig()
    noise = jax.random.normal(jax.random.key(1), SHAPE)
    states, levels = samplers.course(denoise, noise, config, diffusion, 16)
    assert states.shape == (5, *SHAPE) and np.all(np.diff(levels) > 0)
    np.testing.assert_array_equal(states[0], noise)
    level = jnp.full(SHAPE[0], levels[-1])
    last = jnp.clip(schedule.x0_from_v(states[-1], denoise(states[-1], level), level), -1.0, 1.0)
    expected = samplers.sample(denoise, noise, config, diffusion)
    np.testing.assert_allclose(last, expected, atol=1e-6)
