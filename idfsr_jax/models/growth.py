"""From a denoiser of small pictures to one of larger pictures, whose coarse half it already knows."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idfsr_jax.config import Config
from idfsr_jax.networks.blocks import fourier_features


def has_grown(before: Config, now: Config) -> bool:
    """Whether pictures and patches have doubled, and what is finer has come to be preconditioned apart."""
    pixels = not any(each.model.autoencoder or each.model.unet.folder for each in (before, now))
    doubled = now.data.size == 2 * before.data.size and now.model.patch == 2 * before.model.patch
    return pixels and doubled and before.model.prior_detail_std == 0 < now.model.prior_detail_std


def grown(params: Any, patch: int) -> dict:
    """The parameters of a denoiser with patches twice as large, for pictures twice as large.

    If the network computed F(x, log_snr, scale), this one computes

        enlarge(F(reduce(x), log_snr + 2 log 2, scale / 2)),

    where `reduce` takes the means of 2 x 2 pixels, whose noise is half as large, and `enlarge` repeats pixels: equal up
    to rounding, as patch embeddings are linear (resized as in FlexiViT, Beyer et al. 2023) and a shift of an argument
    is a rotation of its Fourier features. With `prior_detail_std` the estimates too are those of the small model, with
    the details of the paste. So training on larger pictures begins with all that was learnt on smaller ones, as in
    progressive growing (Karras et al. 2018).

    Args:
      params: of a `Denoiser` without `prior_detail_std`, NumPy arrays.
      patch: side of its patches, pixels.

    Returns:
      A tree of NumPy arrays; those that stay as they were are shared.
    """
    unet = params["unet"]
    stem, out, embedding = unet["stem"], unet["out"], unet["embedding"]
    noise, scale = embedding["noise_in"], embedding["scale_out"]
    return params | {
        "unet": unet
        | {
            "stem": stem | {"kernel": _repeated(stem["kernel"], 2, patch) / np.float32(4.0)},
            "out": {"kernel": _repeated(out["kernel"], 3, patch), "bias": _repeated(out["bias"], 0, patch)},
            "embedding": embedding
            | {
                "noise_in": noise | {"kernel": _shifted(noise["kernel"], 2.0 * math.log(2.0))},
                "scale_out": scale | {"kernel": _shifted(scale["kernel"], -1.0)},
            },
        }
    }


def _repeated(array: Float[np.ndarray, "..."], axis: int, patch: int) -> Float[np.ndarray, "..."]:
    """Gives each of 2 x 2 pixels what one had; the axis is `space_to_depth`'s, patch x patch x channels."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    pixels = array.reshape(*before, patch, patch, -1, *after)
    return pixels.repeat(2, axis).repeat(2, axis + 1).reshape(*before, -1, *after)


def _shifted(kernel: Float[np.ndarray, "f o"], shift: float) -> Float[np.ndarray, "f o"]:
    """What does to the Fourier features of x what `kernel` does to those of x + shift: cos and sin of sums."""
    cos, sin = np.split(np.asarray(fourier_features(jnp.full(1, shift), kernel.shape[0]))[0, :, None], 2)
    of_cos, of_sin = np.split(kernel, 2)
    return np.concatenate([of_cos * cos + of_sin * sin, of_sin * cos - of_cos * sin])
