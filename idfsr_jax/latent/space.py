"""From pictures to the latents that are diffused in place of pixels, and back (Rombach et al. 2022).

Whatever knows a face (degradation, landmarks, mask, references, recognisers) works on pictures at their full side.
Here they cross over to what the denoiser sees, through a frozen autoencoder.
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import flax.struct
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.config import AutoencoderConfig, ModelConfig
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.latent.autoencoder import AutoencoderKL, load_autoencoder, reduction, scale_latents, unscale_latents
from idfsr_jax.latent.tiles import decode_tiled
from idfsr_jax.method.condition import Condition


@flax.struct.dataclass
class Autoencoder:
    """A frozen autoencoder: its parameters are leaves, so that it can be an argument of compiled functions.

    Attributes:
      params: of the network, float32.
      config: of the network.
      name: names its weights; see `autoencoder_name`.
    """

    params: Any
    config: AutoencoderConfig = flax.struct.field(pytree_node=False)
    name: str = flax.struct.field(pytree_node=False)


def to_model_space(images: Float[Array, "*n b s s 3"], autoencoder: Autoencoder) -> Float[Array, "*n b side side c"]:
    """Pictures in [-1, 1] as the denoiser has them: scaled latents of about unit variance.

    A latent is its posterior's mean: of autoencoders that latents are diffused of, the variance is next to nothing.
    Leading axes are gone through one by one, in the memory of a single batch.
    """

    def encode(batch: Float[Array, "b s s 3"]) -> Float[Array, "b side side c"]:
        network = AutoencoderKL(autoencoder.config)
        posterior = network.apply({"params": autoencoder.params}, batch, method="encode")
        return scale_latents(posterior.mean, autoencoder.config)  # type: ignore[union-attr]

    if images.ndim == 4:
        return encode(images)
    batches = images.reshape(-1, *images.shape[-4:])
    latents = jax.lax.map(encode, batches)
    return latents.reshape(*images.shape[:-4], *latents.shape[1:])


def to_pixels(latents: Float[Array, "b side side c"], autoencoder: Autoencoder) -> Float[Array, "b s s 3"]:
    """Inverse of `to_model_space`, but for what the autoencoder loses; decoded pictures are clipped to [-1, 1].

    More than 64 x 64 latents are decoded in tiles.
    """
    network = functools.partial(
        AutoencoderKL(autoencoder.config).apply, {"params": autoencoder.params}, method="decode"
    )
    pictures = decode_tiled(network, unscale_latents(latents, autoencoder.config), reduction(autoencoder.config))
    return jnp.clip(pictures, -1.0, 1.0)


def encode_condition(
    condition: Condition, autoencoder: Autoencoder, *pictures: Float[Array, "b s s 3"]
) -> tuple[Condition, list[Float[Array, "b side side c"]]]:
    """A condition of pictures, and further pictures beside it, as the denoiser sees them.

    References are moved, and the guess is made, in pixels, and encoded then, so that an untrained denoiser returns the
    encoded guess. Mask and validity become means over the pixels of a latent; and a reference that is nowhere valid is
    zero, as in pixels.
    """
    stack = jnp.stack([*pictures, condition.hidden, condition.guess])
    latents = to_model_space(jnp.concatenate([stack, jnp.moveaxis(condition.references, 1, 0)]), autoencoder)
    first = len(pictures)
    mask, valid = (latent_means(plane, autoencoder) for plane in (condition.mask, condition.valid))
    encoded = condition.replace(  # type: ignore[attr-defined]
        hidden=latents[first],
        guess=latents[first + 1],
        references=jnp.moveaxis(latents[first + 2 :], 0, 1) * valid,
        mask=mask,
        valid=valid,
    )
    return encoded, list(latents[:first])


def latent_means(plane: Float[Array, "*b s s 1"], autoencoder: Autoencoder) -> Float[Array, "*b side side 1"]:
    """Means of a plane over the pixels of each latent."""
    factor = reduction(autoencoder.config)
    *batch, size, _, _ = plane.shape
    side = size // factor
    return plane.reshape(*batch, side, factor, side, factor, 1).mean((-4, -2))


def autoencoder_of(config: ModelConfig, folder: Path | None = None) -> Autoencoder:
    """The autoencoder that a model is configured for.

    Args:
      config: the model's.
      folder: in diffusers' layout; by default the one that the configuration names.

    Raises:
      BadConfig: its latents are not of the configured shape.
      BadWeights: it is missing or damaged, or another kind of autoencoder.
    """
    folder = folder or Path(config.autoencoder)
    found, params = load_autoencoder(folder)
    facts = [
        ("latent_channels", config.latent_channels, found.latent_channels),
        ("latent_reduction", config.latent_reduction, reduction(found)),
    ]
    for field, configured, actual in facts:
        if configured != actual:
            raise BadConfig(f"model.{field} is {configured}, but {folder} has {actual}; give {actual}.")
    if (found.in_channels, found.out_channels) != (3, 3):
        raise BadConfig(
            f"{folder}: has {found.in_channels} channels in and {found.out_channels} out; give an autoencoder of RGB."
        )
    return Autoencoder(params, found, autoencoder_name(found, params))


def autoencoder_name(config: AutoencoderConfig, params: Any) -> str:
    """`vae-` and 16 digits of a SHA-256 over config and float32 parameters, whichever files they lie in."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config), sort_keys=True).encode())
    for name, value in sorted(flax.traverse_util.flatten_dict(params, sep="/").items()):
        digest.update(f"{name} {value.shape}".encode())
        digest.update(np.ascontiguousarray(np.asarray(value, np.float32)).tobytes())
    return f"vae-{digest.hexdigest()[:16]}"


def require_autoencoder(found: Autoencoder | None, wanted: Autoencoder | None, what: str) -> None:
    """Checks that a model's latents are those that will be used with it.

    Raises:
      BadConfig: they are another autoencoder's.
    """
    names = [autoencoder.name if autoencoder else "none (pixels)" for autoencoder in (found, wanted)]
    if names[0] != names[1]:
        raise BadConfig(f"{what}: was trained with the autoencoder {names[0]}, not {names[1]}.")
