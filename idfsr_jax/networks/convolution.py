"""3 x 3 convolutions whose gradient is fast on a CPU too."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_MANY_CHANNELS = 16
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Conv3x3(nn.Module):
    """A 3 x 3 convolution of stride 1 with a bias; parameters are named as those of Flax's own.

    Attributes:
      features: channels of the result.
      kernel_init: of the kernel.
    """

    features: int
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        # Elsewhere, and of few channels, the compiler knows better.
        ours = jax.default_backend() == "cpu" and min(kernel.shape[2:]) >= _MANY_CHANNELS
        convolve = convolve_3x3 if ours else _convolve
        return convolve(x, jnp.asarray(kernel, x.dtype)) + jnp.asarray(bias, x.dtype)


@jax.custom_vjp
def convolve_3x3(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """x convolved with a kernel, zeros around it.

    XLA's own gradient of the kernel is, on a CPU, a convolution with a window as large as the map, and takes up to
    three times as long as the nine matrix products x_shifted^T g that it is.

    Args:
      x: the map.
      kernel: rows, columns, channels in, channels out.
    """
    return _convolve(x, kernel)


def _convolve(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = kept
    height, width, channels = x.shape[1:]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    flat = gradient.reshape(-1, gradient.shape[-1])
    shifts = [padded[:, i : i + height, j : j + width].reshape(-1, channels) for i in range(3) for j in range(3)]
    of_kernel = jnp.stack([shift.T @ flat for shift in shifts]).reshape(kernel.shape)
    return _convolve(gradient, jnp.flip(kernel, (0, 1)).swapaxes(2, 3)), of_kernel


convolve_3x3.defvjp(_forward, _backward)
