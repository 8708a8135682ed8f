"""From a condition to a picture: the denoiser inside a sampler, one compiled call."""

from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.diffusion.samplers import sample
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.denoiser import Denoiser


@partial(jax.jit, static_argnames=("config", "sizes"))
def sample_pictures(
    params: Any, condition: Condition, noise: Float[Array, "b s s 3"], config: Config, sizes: tuple[int, ...]
) -> Float[Array, "b s s 3"]:
    """Samples one restoration per condition, in [-1, 1].

    Args:
      params: of the denoiser.
      condition: what is known of each.
      noise: standard normal; the temperature of `config.sample` scales it.
      config: static.
      sizes: length of each recogniser's part of the identity.
    """
    network = Denoiser(config.model, sizes)
    features = network.apply({"params": params}, condition, method="encode")

    def denoise(x_t: Float[Array, "b s s 3"], log_snr: Float[Array, " b"]) -> Float[Array, "b s s 3"]:
        return network.apply({"params": params}, x_t, log_snr, condition, features)  # type: ignore[return-value]

    key, size = jax.random.key(0), noise.shape[1]  # no sampler that is used here draws further noise
    start = config.sample.temperature * noise
    return sample(denoise, key, noise.shape, config.sample, config.diffusion, size, noise=start)  # type: ignore[arg-type]
