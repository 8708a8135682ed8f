"""Samplers: from noise to a picture in one `lax.scan`.

DDIM and DPM-Solver++(2M) differ only in the numbers of one linear step,

    x_next = on_x x + on_x0 x0 + on_previous x0_previous,

where x0 is the present estimate of the clean picture and x0_previous the one before it. So each sampler is a function
from noise levels to a table of these numbers, and the loop is written once. DPM-Solver's lambda is log_snr / 2.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import DiffusionConfig, SampleConfig
from idfsr_jax.diffusion.schedule import alpha_sigma, sampling_levels, x0_from_v
from idfsr_jax.io.errors import BadConfig

Denoise = Callable[[Float[Array, "b h w c"], Float[Array, "b"]], Float[Array, "b h w c"]]
"""(x_t, log_snr of each example) -> v."""

Project = Callable[[Float[Array, "b h w c"]], Float[Array, "b h w c"]]
"""x0 estimate -> x0 estimate."""

Steer = Callable[[Float[Array, "b h w c"], Float[Array, "b"]], Float[Array, "b h w c"]]
"""(x_t, log_snr of each example) -> x_t."""


def sample(
    denoise: Denoise,
    noise: Float[Array, "b h w c"],
    config: SampleConfig,
    diffusion: DiffusionConfig,
    project: Project | None = None,
    bound: float = 1.0,
    steer: Steer | None = None,
) -> Float[Array, "b h w c"]:
    """Draws pictures, or latents, by `config.steps` calls of the denoiser.

    They are at the levels of `schedule.sampling_levels`. The last step is of first order and goes to
    no noise at all, that is, returns the last estimate of x0. Every estimate is clipped to [-bound, bound], then
    projected; so the result satisfies whatever `project` enforces, and leaves the bound only as far as that moves it.

    To be jitted by the caller, with the denoiser's parameters as an argument; `denoise` is traced once.

    Args:
      denoise: predicts v. Guidance and consistency are the caller's business (`steer`, `project`): `config.guidance`
        and `config.consistency` are not read here.
      noise: where to start, standard normal; b may be symbolic (`jax.export`), and h shifts the schedule.
      config: sampler and number of steps.
      diffusion: the schedule.
      project: applied to every x0 estimate, for example `method.sample.projection`.
      bound: of the values of what is sampled; infinity clips nothing.
      steer: applied to the last state, before the denoiser makes the result of it.

    Raises:
      BadConfig: fewer than one step, or more than the schedule has.
    """
    if config.steps < 1:
        raise BadConfig(f"SampleConfig.steps is {config.steps}; it must be at least 1.")
    levels = sampling_levels(config.steps, noise.shape[1], diffusion)

    def refine(x0: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        x0 = jnp.clip(x0, -bound, bound)
        return x0 if project is None else project(x0)

    return sample_at(denoise, noise, levels, config.sampler, refine, steer)


def sample_at(
    denoise: Denoise,
    noise: Float[Array, "b h w c"],
    levels: Float[Array, "steps"],
    sampler: Literal["dpm++2m", "ddim"] = "dpm++2m",
    refine: Project = lambda x0: x0,
    steer: Steer | None = None,
) -> Float[Array, "b h w c"]:
    """The sampling loop on any noise levels.

    Args:
      denoise: predicts v.
      noise: where to start: x_t at the first level.
      levels: log-SNR of each call of the denoiser, increasing; after the last one the x0 estimate is returned.
      sampler: which table to follow.
      refine: applied to every x0 estimate; DDIM's estimate of the noise follows the refined x0.
      steer: applied to the state at the last level.
    """

    def step(carry: tuple[Array, Array], row: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        index, level, numbers = row
        if steer is not None:
            log_snr = jnp.broadcast_to(level, noise.shape[:1])
            steered = jax.lax.cond(index == levels.shape[0], steer, lambda x, log_snr: x, carry[0], log_snr)
            carry = (steered, carry[1])
        return _advanced(denoise, refine, carry, level, numbers), None

    rows = (1 + jnp.arange(levels.shape[0], dtype=jnp.int32), levels, _TABLES[sampler](levels))
    (x, _), _ = jax.lax.scan(step, (noise, jnp.zeros_like(noise)), rows)
    return x


def course(
    denoise: Denoise,
    noise: Float[Array, "b h w c"],
    config: SampleConfig,
    diffusion: DiffusionConfig,
    size: int,
    bound: float = 1.0,
) -> tuple[Float[Array, "steps b h w c"], Float[Array, "steps"]]:
    """The states x_t that a sampler gives to the denoiser, one after the other, and their log-SNR.

    The denoiser's last call is left out, as no state comes of it.

    Args:
      denoise: predicts v.
      noise: x_t of the first step.
      config: sampler and number of steps.
      diffusion: bounds of the schedule.
      size: side of what is sampled.
      bound: of the values of every estimate.
    """
    levels = sampling_levels(config.steps, size, diffusion)
    refine: Project = lambda x0: jnp.clip(x0, -bound, bound)  # noqa: E731

    def step(carry: tuple[Array, Array], row: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        x, x0 = _advanced(denoise, refine, carry, *row)
        return (x, x0), x

    rows = (levels[:-1], _TABLES[config.sampler](levels)[:-1])
    _, states = jax.lax.scan(step, (noise, jnp.zeros_like(noise)), rows)
    return jnp.concatenate([noise[None], states]), levels


def _advanced(
    denoise: Denoise, refine: Project, carry: tuple[Array, Array], level: Array, numbers: Array
) -> tuple[Array, Array]:
    """(x, the last estimate) one step on."""
    x, x0_previous = carry
    on_x, on_x0, on_previous = numbers
    level = jnp.broadcast_to(level, x.shape[:1])
    x0 = refine(x0_from_v(x, denoise(x, level).astype(x.dtype), level))
    return on_x * x + on_x0 * x0 + on_previous * x0_previous, x0


def _ddim_table(levels: Float[Array, "steps"]) -> Float[Array, "steps 3"]:
    """DDIM without noise (Song et al. 2021, equation 12), which is DPM-Solver++ of first order."""
    on_x, on_x0, _ = _first_order(levels)
    return _close(on_x, on_x0, jnp.zeros_like(on_x))


def _dpm_2m_table(levels: Float[Array, "steps"]) -> Float[Array, "steps 3"]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2); the first and the last step are of first order."""
    on_x, on_x0, h = _first_order(levels)
    # x0 extrapolated to the middle of the step: D = (1 + k) x0 - k x0_previous with k = 1 / (2 r) = h / (2 h_previous).
    k = jnp.concatenate([jnp.zeros_like(h[:1]), h[1:] / (2.0 * h[:-1])])
    return _close(on_x, on_x0 * (1.0 + k), -on_x0 * k)


_TABLES = {"dpm++2m": _dpm_2m_table, "ddim": _ddim_table}


def _first_order(levels: Float[Array, "steps"]) -> tuple[Array, Array, Array]:
    """Factors of x and x0 in DPM-Solver++'s first-order step (Lu et al. 2022), and h, the steps in lambda.

    x_next = (sigma_next / sigma) x - alpha_next (exp(-h) - 1) x0.
    """
    alpha, sigma = alpha_sigma(levels)
    h = 0.5 * (levels[1:] - levels[:-1])
    return sigma[1:] / sigma[:-1], -alpha[1:] * jnp.expm1(-h), h


def _close(*columns: Float[Array, "rest"]) -> Float[Array, "steps 3"]:
    """Columns to table, with the last step added: to no noise, which leaves x0."""
    return jnp.concatenate([jnp.stack(columns, axis=1), jnp.array([[0.0, 1.0, 0.0]])])


def sampling_table(config: SampleConfig, diffusion: DiffusionConfig, size: int) -> Float[Array, "steps 4"]:
    """What `sample` follows, for whoever writes the loop elsewhere: log-SNR, on_x, on_x0, on_previous."""
    levels = sampling_levels(config.steps, size, diffusion)
    return jnp.concatenate([levels[:, None], _TABLES[config.sampler](levels)], axis=1)
