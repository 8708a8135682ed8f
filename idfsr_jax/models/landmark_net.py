"""LandmarkNet: 68 facial points from a low-resolution face that no detector made for photographs can see."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import LandmarkConfig
from idfsr_jax.networks.blocks import GroupNorm, ResidualBlock, space_to_depth


class LandmarkNet(nn.Module):
    """Regresses the 68 points of the dlib/iBUG scheme from the enlarged LR crop.

    A dense head on a 4 x 4 map: at 2 to 16 pixels there is no local evidence for a single point, only for the whole
    shape's place, size, roll and turn, so that a heat map per point would have nothing to peak at.
    """

    config: LandmarkConfig

    @nn.compact
    def __call__(self, y_up: Float[Array, "b l l 3"]) -> Float[Array, "b 68 2"]:
        """Landmarks in unit coordinates of the crop.

        Args:
          y_up: bicubic enlargement of the LR crop to the net's side (`landmark_input`), in [-1, 1].
        """
        h = space_to_depth(y_up, 4)
        for level, channels in enumerate(self.config.channels):
            h = nn.Conv(channels, (3, 3), strides=(2, 2) if level else (1, 1), name=f"down_{level}")(h)
            h = ResidualBlock(channels, name=f"block_{level}_0")(h)
            h = ResidualBlock(channels, name=f"block_{level}_1")(h)
        h = nn.silu(GroupNorm(name="norm_out")(h)).reshape(h.shape[0], -1)
        h = nn.silu(nn.Dense(256, name="hidden")(h))
        offset = nn.Dense(136, kernel_init=nn.initializers.normal(1e-3), name="points")(h)
        return 0.5 + 0.1 * offset.reshape(-1, 68, 2)


def landmark_input(y_up: Float[Array, "b s s 3"], size: int) -> Float[Array, "b l l 3"]:
    """Brings an enlarged LR crop of any side to the side that LandmarkNet sees (antialiased)."""
    if y_up.shape[1] == size:
        return y_up
    return jax.image.resize(y_up, (y_up.shape[0], size, size, 3), "cubic", antialias=True)


def estimate_landmarks(params: Any, y_up: Float[Array, "b s s 3"], config: LandmarkConfig) -> Float[Array, "b 68 2"]:
    """Landmarks of an enlarged LR crop, in unit coordinates.

    Args:
      params: LandmarkNet's parameters.
      y_up: bicubic enlargement of the LR crop, of any side, in [-1, 1].
      config: the net's.
    """
    return LandmarkNet(config).apply({"params": params}, landmark_input(y_up, config.size))  # type: ignore[return-value]


def eye_distance(landmarks: Float[Array, "b 68 2"]) -> Float[Array, " b"]:
    """Distance of the outer eye corners (points 36 and 45), the usual unit of landmark error (iBUG 300-W)."""
    return jnp.linalg.norm(landmarks[:, 45] - landmarks[:, 36], axis=-1)


def landmark_error(
    predicted: Float[Array, "b 68 2"], truth: Float[Array, "b 68 2"], smooth: float = 0.0
) -> Float[Array, " b"]:
    """Normalised mean error: mean point distance over the outer eye distance of the truth.

    Args:
      predicted: points, unit coordinates.
      truth: points, unit coordinates.
      smooth: added in quadrature to each distance (unit coordinates), so that the gradient exists at zero.
    """
    distance = jnp.sqrt(jnp.sum(jnp.square(predicted - truth), axis=-1) + smooth**2)
    return distance.mean(-1) / eye_distance(truth)
