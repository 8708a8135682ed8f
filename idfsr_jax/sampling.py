"""From a condition to a picture: the denoiser inside a sampler, one compiled call."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import data_consistency
from idfsr_jax.diffusion.samplers import Denoise, Project, guided, sample
from idfsr_jax.models.condition import Condition, without_identity
from idfsr_jax.models.denoiser import Denoiser
from idfsr_jax.models.latent import Autoencoder, encode_condition, to_pixels


@partial(jax.jit, static_argnames="config")
def restore_crops(
    params: Any,
    condition: Condition,
    key: PRNGKeyArray,
    config: Config,
    low_resolution: Float[Array, "b n n 3"] | None = None,
    consistency: Float[Array, ""] | float = 0.0,
    autoencoder: Autoencoder | None = None,
) -> Float[Array, "b s s 3"]:
    """Samples one restoration per condition, in [-1, 1].

    Args:
      params: the denoiser's parameters.
      condition: what is known, in pixels.
      key: source of the noise.
      config: static; `config.sample` says how to sample.
      low_resolution: the LR pictures y, for data consistency; all of one scale. None leaves it out.
      consistency: strength of the projection onto pictures that down-sample to y, 0 to 1. Of latents only the picture
        that they decode to is projected.
      autoencoder: of the latents that the denoiser works on; None where it works on pixels.
    """
    project: Project | None = None
    if low_resolution is not None:
        project = data_consistency(low_resolution, condition.hidden.shape[1], consistency)  # type: ignore[arg-type]
    return sample_crops(params, condition, key, config, project, autoencoder)


def sample_crops(
    params: Any,
    condition: Condition,
    key: PRNGKeyArray,
    config: Config,
    project: Project | None = None,
    autoencoder: Autoencoder | None = None,
) -> Float[Array, "b s s 3"]:
    """What `restore_crops` compiles; `project` is applied to every estimate of the result, of latents to the last."""
    network = partial(Denoiser(config.model).apply, {"params": params})
    seen = encode_condition(condition, config.model.mask, autoencoder)
    batch, side, _, channels = seen.hidden.shape
    shape = (batch, side, side, channels)
    denoise: Denoise = lambda x_t, log_snr: network(x_t, log_snr, seen)  # noqa: E731
    if config.sample.guidance != 1.0:
        null = without_identity(seen)
        denoise = guided(denoise, lambda x_t, log_snr: network(x_t, log_snr, null), config.sample.guidance)
    noise = config.sample.temperature * jax.random.normal(jax.random.fold_in(key, 0), shape)
    run = partial(sample, denoise, key, shape, config.sample, config.diffusion, side, noise=noise)
    if autoencoder is None:
        return run(project=project)
    # Latents have no bound, and none of them is to agree with a picture.
    pictures = to_pixels(run(bound=math.inf), autoencoder)
    return pictures if project is None else project(pictures)


def with_sampling(config: Config, steps: int | None, guidance: float | None) -> Config:
    """The configuration with other sampling steps and guidance, where they are given."""
    sample = config.sample
    sample = replace(
        sample,
        steps=sample.steps if steps is None else steps,
        guidance=sample.guidance if guidance is None else guidance,
    )
    return replace(config, sample=sample)
