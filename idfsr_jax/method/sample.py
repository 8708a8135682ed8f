"""From a condition to a picture: the denoiser inside a sampler, one compiled call."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from idfsr_jax.config import Config
from idfsr_jax.diffusion.samplers import Denoise, Project, Steer, sample
from idfsr_jax.diffusion.schedule import x0_from_v
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.degrade import ResamplingTables, on_canvas
from idfsr_jax.method.denoiser import denoiser_of
from idfsr_jax.method.finish import finished
from idfsr_jax.method.guidance import Guide, guidance_share, pull


@flax.struct.dataclass
class Agreement:
    """LR pictures that results shall agree with, of any width, filled up with zeros to one of `most` pixels.

    Attributes:
      y: the LR pictures, in [-1, 1].
      down: D, from S pixels to n, the mean of areas.
      up: R, a smooth right inverse of it, D R = I.
      strength: 0 (not at all) to 1 (but for clipping, the result made small is y).
    """

    y: Float[np.ndarray | Array, "b most most 3"]
    down: Float[np.ndarray | Array, "b most S"]
    up: Float[np.ndarray | Array, "b S most"]
    strength: Float[np.ndarray | Array, "b"]


def agreement_with(y: UInt8[np.ndarray, "n n 3"], strength: float, tables: ResamplingTables) -> Agreement:
    """What holds one result to its LR picture.

    Args:
      y: the LR picture.
      strength: 0 to 1.
      tables: of resampling, with a place for its width.
    """
    n = y.shape[0]
    down, inverse = np.asarray(tables.down)[0, n - tables.least], smooth_inverse(n, tables)
    return Agreement(on_canvas(y, tables), down[None], inverse[None], np.full(1, strength, np.float32))


def consistency_at(n: int, consistency: float) -> float:
    """How strongly a result is held to a LR picture that is wholly to be trusted: c ** min(1, (16 / n) ** 2).

    The wider it is, the more it says of who it shows, and the less of that may be lost. No agreement, 0, stays none.

    Args:
      n: the picture's width, pixels.
      consistency: c, up to 16 pixels, 0 to 1.
    """
    return consistency ** min(1.0, (16.0 / n) ** 2)


def smooth_inverse(n: int, tables: ResamplingTables) -> Float32[np.ndarray, "S most"]:
    """A right inverse of the reduction to n pixels by the mean of areas; columns past n are zero.

    The pseudo-inverse of D repeats pixels and would print its blocks into the face; U (D U)^-1 is as exact, and smooth,
    with U the bicubic enlargement.
    """
    down, up = (np.asarray(table)[n - tables.least] for table in (tables.down[0], tables.up))
    inverse = np.zeros_like(up)
    inverse[:, :n] = up[:, :n] @ np.linalg.inv(np.asarray(down[:n] @ up[:, :n], np.float64))
    return inverse


def projection(agreement: Agreement) -> Project:
    """x0 + strength R (y - D x0 D^T) R^T: pictures that are y when made small (Wang et al. 2023, "DDNM")."""

    def both(matrix: Float[Array, "b i j"], images: Float[Array, "b j j 3"]) -> Float[Array, "b i i 3"]:
        return jnp.einsum("bij,bjkc,blk->bilc", matrix, images, matrix, precision="highest")

    def project(x0: Float[Array, "b S S 3"]) -> Float[Array, "b S S 3"]:
        rest = jnp.asarray(agreement.y) - both(jnp.asarray(agreement.down), x0)
        return x0 + jnp.asarray(agreement.strength)[:, None, None, None] * both(jnp.asarray(agreement.up), rest)

    return project


@partial(jax.jit, static_argnames=("config", "sizes"))
def sample_pictures(
    params: Any,
    condition: Condition,
    noise: Float[Array, "b side side c"],
    config: Config,
    sizes: tuple[int, ...],
    agreement: Agreement | None = None,
    autoencoder: Any = None,
    guide: Guide | None = None,
    finish: Any = None,
) -> Float32[Array, "b s s 3"]:
    """Samples one restoration per condition, in [-1, 1].

    Args:
      params: of the denoiser.
      condition: what is known of each, in pixels.
      noise: standard normal, of what is diffused; the temperature of `config.sample` scales it.
      config: static.
      sizes: length of each recogniser's part of the identity.
      agreement: with LR pictures; None leaves it out. Of latents the picture that they decode to is made to agree.
      autoencoder: of the latents that are diffused; None of pixels.
      guide: who pulls the last state towards the identity, `config.sample.guidance` steps; None leaves it out.
      finish: parameters of `method.finish.Finish`, of pixels; None leaves it out.
    """
    if autoencoder is not None:
        from idfsr_jax.latent.space import encode_condition, to_pixels

        condition, _ = encode_condition(condition, autoencoder)
    network = denoiser_of(config, sizes)
    features = network.apply({"params": params}, condition, method="encode")

    def denoise(x_t: Float[Array, "b h w c"], log_snr: Float[Array, " b"]) -> Float[Array, "b h w c"]:
        return network.apply({"params": params}, x_t, log_snr, condition, features)  # type: ignore[return-value]

    project = None if agreement is None else projection(agreement)

    def pictures_of(x0: Float[Array, "b h w c"]) -> Float[Array, "b s s 3"]:
        pictures = jnp.clip(x0, -1.0, 1.0) if autoencoder is None else to_pixels(x0, autoencoder)
        return pictures if project is None else project(pictures)

    strength = jnp.zeros(noise.shape[0]) if agreement is None else jnp.asarray(agreement.strength)
    steer = None
    if guide is not None and config.sample.guidance > 0:
        share = guidance_share(config.data.size / condition.scale, strength)
        steer = steering(denoise, pictures_of, condition, guide, config.sample.guidance, share)
    run: Any = partial(sample, denoise, config.sample.temperature * noise, config.sample, config.diffusion)  # type: ignore[arg-type]
    if autoencoder is not None:
        pictures = to_pixels(run(bound=math.inf, steer=steer), autoencoder)
        return pictures if project is None else project(pictures)
    drawn = run(project=project, steer=steer)
    if finish is None:
        return drawn
    return finished(finish, drawn, condition, strength, pictures_of)


def steering(
    denoise: Denoise,
    pictures_of: Callable[[Float[Array, "b h w c"]], Float[Array, "b s s 3"]],
    condition: Condition,
    guide: Guide,
    steps: int,
    share: Float[Array, " b"],
) -> Steer:
    """What `guidance.pull` does to a state of known noise level.

    Args:
      denoise: predicts v.
      pictures_of: estimates of x0 to pictures in [-1, 1].
      condition: of each; its mask has the side of what is diffused.
      guide: who looks.
      steps: how many.
      share: how much of each step's length is taken; see `guidance.guidance_share`.
    """

    def steer(x_t: Float[Array, "b h w c"], log_snr: Float[Array, " b"]) -> Float[Array, "b h w c"]:
        estimate = lambda x_t: pictures_of(x0_from_v(x_t, denoise(x_t, log_snr), log_snr))  # noqa: E731
        return pull(x_t, estimate, condition, guide, steps, share)

    return steer
