"""From a denoiser of small pictures to one of larger pictures, whose coarse half it already knows."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idfsr_jax.config import Config
from idfsr_jax.models.blocks import fourier_features


def growth(before: Config, now: Config) -> int:
    """How many times larger the pictures are, where only they and the patches are larger; else 1."""
    factor = now.model.patch // before.model.patch
    larger = now.data.size == factor * before.data.size and now.model.patch == factor * before.model.patch
    return factor if larger and not now.model.autoencoder and not now.model.unet.folder else 1


def grown(params: Any, patch: int, factor: int) -> dict:
    """The parameters of a denoiser with patches `factor` times as large, for pictures as much larger.

    If the network computed F(x, log_snr, scale), this one computes

        enlarge(F(reduce(x), log_snr + 2 log(factor), scale / factor)),

    where `reduce` takes the means of factor x factor pixels, whose noise is so much smaller, and `enlarge` repeats
    pixels: equal up to rounding, as patch embeddings are linear (resized as in FlexiViT, Beyer et al. 2023) and a shift
    of an argument is a rotation of its Fourier features. So training on larger pictures, as in progressive growing
    (Karras et al. 2018), begins with all that was learnt on smaller ones. With a factor of 2 and a `prior_detail_std`
    of its own, the estimates too are the small model's, with the details of the paste.

    Args:
      params: of `Denoiser`, NumPy arrays.
      patch: side of its patches.
      factor: how many times larger they become.

    Returns:
      A tree of NumPy arrays; those that stay as they were are shared.
    """
    unet = params["unet"]
    stem, out, embedding = unet["stem"], unet["out"], unet["embedding"]
    noise, scale = embedding["noise_in"], embedding["scale_out"]
    return params | {
        "unet": unet
        | {
            "stem": stem | {"kernel": _repeated(stem["kernel"], 2, patch, factor) / np.float32(factor**2)},
            "out": {
                "kernel": _repeated(out["kernel"], 3, patch, factor),
                "bias": _repeated(out["bias"], 0, patch, factor),
            },
            "embedding": embedding
            | {
                "noise_in": noise | {"kernel": _shifted(noise["kernel"], 2.0 * math.log(factor))},
                "scale_out": scale | {"kernel": _shifted(scale["kernel"], -math.log2(factor))},
            },
        }
    }


def _repeated(array: Float[np.ndarray, "..."], axis: int, patch: int, factor: int) -> Float[np.ndarray, "..."]:
    """Gives each of factor x factor pixels what one had; the axis is `space_to_depth`'s, patch x patch x channels."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    pixels = array.reshape(*before, patch, patch, -1, *after)
    return pixels.repeat(factor, axis).repeat(factor, axis + 1).reshape(*before, -1, *after)


def _shifted(kernel: Float[np.ndarray, "f o"], shift: float) -> Float[np.ndarray, "f o"]:
    """What does to the Fourier features of x what `kernel` does to those of x + shift: cos and sin of sums."""
    cos, sin = np.split(np.asarray(fourier_features(jnp.full(1, shift), kernel.shape[0]))[0, :, None], 2)
    of_cos, of_sin = np.split(kernel, 2)
    return np.concatenate([of_cos * cos + of_sin * sin, of_sin * cos - of_cos * sin])
