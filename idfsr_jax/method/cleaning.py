"""LR pictures cleaned of what blur, noise and JPEG have done to them, and how wrong they are even then.

The denoiser takes over what lies around the face, noise and all, and LandmarkNet errs where there is noise. Nor may a
result agree with its LR picture (`method.sample.Agreement`) further than that is to be trusted: held to a noisy one, it
is a face with that noise printed into it.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from idfsr_jax.io.parameters import load_tree
from idfsr_jax.networks.convolution import Conv3x3

SHA256 = "e2410bc25cf767017b79c2b0a79b9a265155b630dd84ec06daf12199ec99e0a6"
"""Of the shipped weights, which `tools/input_cleaner.py` made."""
OWN_ERROR = 4.0
"""What the model's own estimate of a clean LR picture is taken to err by, in levels of 0..255, up to `WELL_KNOWN`
pixels; chosen on val."""
WELL_KNOWN = 16
"""The width of LR pictures, in pixels, past which that error grows as the width: finer things are known less well."""
_WIDTH, _BLOCKS = 48, 5
_WIDEST = 64
"""LR pictures that are wider were never shown to it, and are taken for as wide."""
_UNIT = 0.3
"""What the last layer's 1 changes in a pixel."""


class InputCleaner(nn.Module):
    """Residual blocks at the LR picture's own resolution, of any width.

    Each is modulated by means and mean squares of its features over the picture, which tell what was done to it.
    """

    @nn.compact
    def __call__(
        self, y: Float[Array, "b m m 3"], n: Int[Array, " b"]
    ) -> tuple[Float[Array, "b m m 3"], Float[Array, " b"]]:
        """The cleaned pictures, and the logarithms of what they then err by: root mean square, levels of 0..255.

        Args:
          y: LR pictures, or windows of them, in the upper left corner of m pixels, in [-1, 1].
          n: the widths of the LR pictures.
        """
        inside = within(y, n)
        width = jnp.log2(jnp.minimum(n, _WIDEST).astype(y.dtype))[:, None] / 3.0 - 1.0

        def told_by(h: Float[Array, "b m m c"], name: str) -> Float[Array, "b c"]:
            pixels = inside.sum((1, 2))
            mean, power = (h * inside).sum((1, 2)) / pixels, (h * h * inside).sum((1, 2)) / pixels
            together = jnp.concatenate([mean, jnp.sqrt(power + 1e-6), width], axis=-1)
            return nn.gelu(nn.Dense(_WIDTH, name=name)(together))

        h = Conv3x3(_WIDTH, name="first")(jnp.concatenate([y * inside, inside], axis=-1)) * inside
        for block in range(_BLOCKS):
            r = Conv3x3(_WIDTH, name=f"in_{block}")(nn.gelu(h) * inside)
            modulation = nn.Dense(2 * _WIDTH, kernel_init=nn.initializers.zeros, name=f"modulation_{block}")
            scale, shift = jnp.split(modulation(told_by(r, f"told_{block}")), 2, axis=-1)
            r = nn.gelu(r * (1.0 + scale[:, None, None]) + shift[:, None, None])
            little = nn.initializers.variance_scaling(0.1, "fan_in", "normal")
            h = h + Conv3x3(_WIDTH, kernel_init=little, name=f"out_{block}")(r * inside) * inside
        change = Conv3x3(3, kernel_init=nn.initializers.zeros, name="last")(nn.gelu(h) * inside)
        log_error = nn.Dense(1, bias_init=nn.initializers.ones, name="error")(told_by(h, "told"))[:, 0]
        return (y + _UNIT * change) * inside, log_error


def within(y: Float[Array, "b m m 3"], n: Int[Array, " b"]) -> Float[Array, "b m m 1"]:
    """1 in the first n rows and columns of each picture, 0 elsewhere."""
    inside = (jnp.arange(y.shape[1]) < n[:, None]).astype(y.dtype)
    return (inside[:, :, None] * inside[:, None])[..., None]


def shipped_weights() -> Path:
    """Where the package keeps the parameters."""
    return Path(__file__).parent.parent / "assets" / "input_cleaner.safetensors"


def read_input_cleaner() -> Any:
    """The shipped parameters.

    Raises:
      BadWeights: the file is missing or damaged.
    """
    return load_tree(shipped_weights(), SHA256)


def cleaned(
    params: Any, y: Float[Array, "b m m 3"], n: Int[Array, " b"]
) -> tuple[Float[Array, "b m m 3"], Float[Array, " b"]]:
    """LR pictures cleaned, of 8 bits, and how far they are to be believed against the model's own estimate, 0 to 1.

    The latter is the weight of a picture in the best mean of two estimates whose errors are independent:
    v / (v + error^2), with v the model's own mean square error, the square of `OWN_ERROR` max(1, n / `WELL_KNOWN`).

    Args:
      params: of `InputCleaner`.
      y: LR pictures in the upper left corner of m pixels, in [-1, 1].
      n: their widths.
    """
    clean, log_error = InputCleaner().apply({"params": params}, y, n)  # type: ignore[misc]
    levels = jnp.clip(jnp.floor((clean + 1.0) * 127.5 + 0.5), 0.0, 255.0)
    own_error = OWN_ERROR * jnp.maximum(1.0, n.astype(log_error.dtype) / WELL_KNOWN)
    return (levels / 127.5 - 1.0) * within(y, n), jax.nn.sigmoid(2.0 * (jnp.log(own_error) - log_error))
