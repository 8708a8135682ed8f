"""The 68 landmarks of a tiny face, from the picture and from the proportions of the person whose face it is.

At 4 to 32 pixels a picture tells where a head is, how it is turned and whether the mouth is open; it does not tell how
far apart this person's eyes are. The person's photographs do. So the mean shape of their landmarks is told to the
network, which decides point by point how far to believe it.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from idfsr_jax.config import LandmarkConfig
from idfsr_jax.networks.blocks import GroupNorm, ResidualBlock, space_to_depth

RIGID = (36, 39, 42, 45, *range(27, 36))
"""Points that no expression moves: corners of the eyes, and the nose."""
MOUTH = tuple(range(48, 68))
EYES = tuple(range(36, 48))

# fmt: off
MEAN_SHAPE: Float32[np.ndarray, "68 2"] = np.array([
    (-0.85, 0.02), (-0.84, 0.24), (-0.82, 0.47), (-0.78, 0.69), (-0.7, 0.9), (-0.57, 1.08),
    (-0.4, 1.23), (-0.22, 1.36), (0, 1.39), (0.22, 1.36), (0.4, 1.23), (0.57, 1.08),
    (0.7, 0.9), (0.78, 0.69), (0.82, 0.47), (0.84, 0.24), (0.85, 0.02), (-0.67, -0.15),
    (-0.57, -0.24), (-0.43, -0.27), (-0.27, -0.25), (-0.13, -0.19), (0.13, -0.19), (0.27, -0.25),
    (0.43, -0.27), (0.57, -0.24), (0.67, -0.15), (0, -0.03), (0, 0.11), (0, 0.25),
    (0, 0.4), (-0.17, 0.5), (-0.09, 0.53), (0, 0.56), (0.09, 0.53), (0.17, 0.5),
    (-0.5, 0), (-0.41, -0.05), (-0.31, -0.05), (-0.22, 0.01), (-0.31, 0.03), (-0.42, 0.03),
    (0.22, 0.01), (0.31, -0.05), (0.41, -0.05), (0.5, 0), (0.42, 0.03), (0.31, 0.03),
    (-0.32, 0.79), (-0.21, 0.73), (-0.09, 0.71), (0, 0.73), (0.09, 0.71), (0.21, 0.73),
    (0.32, 0.79), (0.21, 0.91), (0.09, 0.96), (0, 0.97), (-0.09, 0.96), (-0.21, 0.91),
    (-0.27, 0.8), (-0.09, 0.78), (0, 0.79), (0.09, 0.78), (0.27, 0.8), (0.09, 0.85),
    (0, 0.86), (-0.09, 0.85),
], np.float32)
# fmt: on
"""Mean shape of the faces of LFW, made symmetric: x to the right and y down, from between the outer corners of the
eyes, in their distance."""


def turn(landmarks: Float[np.ndarray, "68 2"]) -> float:
    """How far a head is turned: 0 from the front, 1 where the nose's tip is over the outer corner of an eye.

    Args:
      landmarks: in any unit.
    """
    left, right, tip = landmarks[36], landmarks[45], landmarks[33]
    along = (right - left) / np.linalg.norm(right - left)
    place = float((tip - left) @ along / np.linalg.norm(right - left))
    return abs(2.0 * place - 1.0)


def aligned_shapes(landmarks: Float[np.ndarray, "k 68 2"]) -> Float32[np.ndarray, "k 68 2"]:
    """Each face's shape without its place, size and roll: moved so that its rigid points fall on those of `MEAN_SHAPE`.

    Args:
      landmarks: of k faces, in coordinates of any origin, unit and angle (not mirrored).

    Returns:
      The faces after the similarity that takes their `RIGID` points to the template's in least squares (Umeyama 1991);
      coordinates as `MEAN_SHAPE`'s.
    """
    points = np.asarray(landmarks, np.float64)
    faces = points[..., 0] + 1j * points[..., 1]
    template = (MEAN_SHAPE.astype(np.float64) @ np.array([1.0, 1j]))[list(RIGID)]
    rigid = faces[:, list(RIGID)]
    middle = rigid.mean(axis=1, keepdims=True)
    centred = rigid - middle
    # In the plane a similarity is a complex factor, and the best one needs no SVD.
    factor = (centred.conj() * (template - template.mean())).sum(axis=1) / np.square(np.abs(centred)).sum(axis=1)
    moved = (faces - middle) * factor[:, None] + template.mean()
    return np.stack([moved.real, moved.imag], axis=-1).astype(np.float32)


def person_shape(landmarks: Float[np.ndarray, "k 68 2"]) -> Float32[np.ndarray, "68 2"]:
    """The proportions of a person: mean of the `aligned_shapes` of their photographs.

    Turned heads and smiles are averaged, not undone: `ShapeHead` undoes what is linear in the rigid points, and of that
    the mean is enough. This is what identity files keep.

    Args:
      landmarks: of k >= 1 photographs, each in coordinates of its own.

    Returns:
      In coordinates as `MEAN_SHAPE`'s: the outer corners of the eyes are about 1 apart.

    Raises:
      ValueError: there is no photograph.
    """
    if not len(landmarks):
        raise ValueError("the shape of a person needs the landmarks of at least one photograph")
    return aligned_shapes(landmarks).mean(axis=0)


def move_shape(shape: Float[Array, "b 68 2"], landmarks: Float[Array, "b 68 2"]) -> Float[Array, "b 68 2"]:
    """The shape after the similarity that takes its `RIGID` points to those of the landmarks in least squares."""
    rigid = jnp.asarray(RIGID)
    source_middle = shape[:, rigid].mean(axis=1, keepdims=True)
    target_middle = landmarks[:, rigid].mean(axis=1, keepdims=True)
    p, q = shape[:, rigid] - source_middle, landmarks[:, rigid] - target_middle
    power = jnp.maximum(jnp.square(p).sum(axis=(1, 2)), 1e-12)
    cosine = ((p * q).sum(axis=(1, 2)) / power)[:, None]
    sine = ((p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(axis=1) / power)[:, None]
    x, y = shape[..., 0] - source_middle[..., 0], shape[..., 1] - source_middle[..., 1]
    return jnp.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1) + target_middle


class ShapeHead(nn.Module):
    """Corrects a first estimate by the shape of the person.

    A turned head moves eyes, mouth and jaw with the rigid points, by much the same law in everybody. So the shape a is
    first turned as the estimate P is: with r(.) the rigid points after alignment, it becomes a + (r(P) - r(a)) B. Moved
    onto P by a similarity of the rigid points, this gives S; the answer is

        P + g (S - P) + d,

    with a trust g for every point and small offsets d. The output kernel starts at zero: then the answer is P.
    """

    @nn.compact
    def __call__(
        self,
        hidden: Float[Array, "b h"],
        first: Float[Array, "b 68 2"],
        log2_n: Float[Array, " b"],
        shape: Float[Array, "b 68 2"],
        known: Float[Array, " b"],
    ) -> Float[Array, "b 68 2"]:
        """Landmarks in unit coordinates; `hidden` is what the trunk saw, the rest as for `LandmarkNet`."""
        shape = jnp.where(known[:, None, None] > 0, shape, MEAN_SHAPE)
        turned = move_shape(first, jnp.broadcast_to(jnp.asarray(MEAN_SHAPE), first.shape)) - shape
        pose = self.param("pose", nn.initializers.zeros, (2 * len(RIGID), 136))
        posed = shape + (turned[:, jnp.asarray(RIGID)].reshape(-1, 2 * len(RIGID)) @ pose).reshape(-1, 68, 2)
        moved = move_shape(posed, first)
        width = 0.25 * (log2_n - 4.0)
        told = [hidden, jnp.stack([width, known, width * known], axis=-1)]
        # Each brought to the order of one.
        told += [10.0 * (moved - first), 2.0 * (first - first.mean(axis=1, keepdims=True)), 5.0 * (shape - MEAN_SHAPE)]
        features = jnp.concatenate([each.reshape(each.shape[0], -1) for each in told], axis=-1)
        answer = nn.Dense(256, name="hidden")(features)
        answer = nn.Dense(3 * 68, kernel_init=nn.initializers.zeros, name="points")(nn.silu(answer))
        trust, offsets = answer[:, :68, None], 0.1 * answer[:, 68:].reshape(-1, 68, 2)
        return first + trust * (moved - first) + offsets


class LandmarkNet(nn.Module):
    """Regresses the 68 points of the dlib/iBUG scheme from the enlarged LR crop and the shape of the person.

    A trunk of convolutions and a dense head on its 4 x 4 map give a first estimate; a `ShapeHead` corrects it.
    """

    config: LandmarkConfig

    @nn.compact
    def __call__(
        self,
        y_up: Float[Array, "b l l 3"],
        log2_n: Float[Array, " b"],
        shape: Float[Array, "b 68 2"],
        known: Float[Array, " b"],
    ) -> Float[Array, "b 68 2"]:
        """Landmarks in unit coordinates of the crop.

        Args:
          y_up: bicubic enlargement of the LR crop to the net's side, in [-1, 1].
          log2_n: logarithm of the LR crop's width in pixels.
          shape: `person_shape`; anything finite where it is not known.
          known: 1 where the shape is the person's, 0 where `MEAN_SHAPE` stands in.
        """
        h = space_to_depth(y_up, 4)
        for level, channels in enumerate(self.config.channels):
            h = nn.Conv(channels, (3, 3), strides=(2, 2) if level else (1, 1), name=f"down_{level}")(h)
            h = ResidualBlock(channels, name=f"block_{level}_0")(h)
            h = ResidualBlock(channels, name=f"block_{level}_1")(h)
        h = nn.silu(GroupNorm(name="norm_out")(h)).reshape(h.shape[0], -1)
        hidden = nn.silu(nn.Dense(256, name="hidden")(h))
        offset = nn.Dense(136, kernel_init=nn.initializers.normal(1e-3), name="points")(hidden)
        first = 0.5 + 0.1 * offset.reshape(-1, 68, 2)

        return ShapeHead(name="shape")(hidden, first, log2_n, shape, known)  # type: ignore[no-any-return]


def estimate_landmarks(
    params: Any,
    y_up: Float[Array, "b s s 3"],
    n: Float[Array, " b"],
    shape: Float[Array, "b 68 2"],
    known: Float[Array, " b"],
    config: LandmarkConfig,
) -> Float[Array, "b 68 2"]:
    """Landmarks of an enlarged LR crop, in unit coordinates.

    Args:
      params: LandmarkNet's parameters.
      y_up: bicubic enlargement of the LR crop, of any side, in [-1, 1].
      n: width of the LR crop, pixels.
      shape: `person_shape`; anything finite where it is not known.
      known: 1 where the shape is the person's, else 0.
      config: the net's.
    """
    b, side, size = *y_up.shape[:2], config.size
    if side != size:
        y_up = jax.image.resize(y_up, (b, size, size, 3), "cubic", antialias=True)
    return LandmarkNet(config).apply({"params": params}, y_up, jnp.log2(n), shape, known)  # type: ignore[return-value]


def init_landmark_net(key: PRNGKeyArray, config: LandmarkConfig) -> dict:
    """Random parameters of LandmarkNet."""
    size = config.size
    inputs = (jnp.zeros((1, size, size, 3)), jnp.zeros(1), jnp.zeros((1, 68, 2)), jnp.zeros(1))
    return jax.jit(lambda key: LandmarkNet(config).init(key, *inputs)["params"])(key)


def point_errors(
    predicted: Float[Array, "b 68 2"], truth: Float[Array, "b 68 2"], smooth: float = 0.0
) -> Float[Array, "b 68"]:
    """Distance of every point from the truth, over the distance of the truth's outer eye corners (as iBUG 300-W).

    Args:
      predicted: points, unit coordinates.
      truth: points, unit coordinates.
      smooth: added in quadrature to each distance (unit coordinates), so that the gradient exists at zero.
    """
    distance = jnp.sqrt(jnp.sum(jnp.square(predicted - truth), axis=-1) + smooth**2)
    return distance / jnp.linalg.norm(truth[:, 45] - truth[:, 36], axis=-1)[:, None]


def expression_errors(
    predicted: Float[Array, "b 68 2"], truth: Float[Array, "b 68 2"], smooth: float = 0.0
) -> Float[Array, "b 68"]:
    """`point_errors` after the similarity that takes the rigid points of the prediction to the truth's.

    What is left is where mouth, lids and brows are relative to the eyes and the nose.
    """
    return point_errors(move_shape(predicted, truth), truth, smooth)
