"""How wrong the pixels of an LR picture are: what blur, noise and JPEG have done to it, estimated from it alone.

A result shall agree with its LR picture (`method.sample.Agreement`) only as far as that is to be trusted: held to a
noisy one, it is a face with that noise printed into it.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from idfsr_jax.io.parameters import load_tree

SHA256 = "1294c3e7630de2a6dc3780a50ff6716d47cddd8ca41962203168632c28fe8a5c"
"""Of the shipped weights, which `tools/input_error_net.py` made."""
OWN_ERROR = 4.0
"""What the model's own estimate of a clean LR picture is taken to err by, in levels of 0..255; chosen on val."""
_WIDTH, _HIDDEN, _LAYERS = 32, 64, 3


class InputErrorNet(nn.Module):
    """Convolutions, the means and mean squares of whose features over the picture tell its error; of any width."""

    @nn.compact
    def __call__(self, y: Float[Array, "b m m 3"], n: Int[Array, " b"]) -> Float[Array, " b"]:
        """The logarithm of the root mean square error of pixels, in levels of 0..255.

        Args:
          y: LR pictures in the upper left corner of m pixels, in [-1, 1].
          n: their widths.
        """
        inside = (jnp.arange(y.shape[1]) < n[:, None]).astype(y.dtype)
        inside = (inside[:, :, None] * inside[:, None])[..., None]
        pixels = jnp.square(n.astype(y.dtype))[:, None]
        h, told = jnp.concatenate([y * inside, inside], axis=-1), [jnp.log2(pixels) / 8.0 - 1.0]
        for layer in range(_LAYERS):
            h = nn.gelu(nn.Conv(_WIDTH, (3, 3), name=f"conv_{layer}")(h)) * inside
            told += [h.sum((1, 2)) / pixels, jnp.sqrt(jnp.square(h).sum((1, 2)) / pixels + 1e-8)]
        g = jnp.concatenate(told, axis=-1)
        for layer in range(2):
            g = nn.gelu(nn.Dense(_HIDDEN, name=f"dense_{layer}")(g))
        return nn.Dense(1, name="out")(g)[:, 0]


def shipped_weights() -> Path:
    """Where the package keeps the parameters."""
    return Path(__file__).parent.parent / "assets" / "input_error_net.safetensors"


def read_input_error_net() -> Any:
    """The shipped parameters.

    Raises:
      BadWeights: the file is missing or damaged.
    """
    return load_tree(shipped_weights(), SHA256)


def trust(params: Any, y: Float[Array, "b m m 3"], n: Int[Array, " b"]) -> Float[Array, " b"]:
    """How far LR pictures are to be believed against the model's own estimate, 0 to 1.

    The weight of y in the best mean of two estimates whose errors are independent: v / (v + error^2), with v the
    model's own mean square error, `OWN_ERROR` squared.

    Args:
      params: of `InputErrorNet`.
      y: LR pictures in the upper left corner of m pixels, in [-1, 1].
      n: their widths.
    """
    log_error: Any = InputErrorNet().apply({"params": params}, y, n)
    return jax.nn.sigmoid(2.0 * (np.log(OWN_ERROR) - log_error))
