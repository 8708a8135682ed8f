"""Guidance at the last step: the gradient of face recognisers pulls the state towards the person's ID embedding.

What the denoiser makes of a state is looked at by recognisers, and the state is moved so that this becomes more like
the person's photographs on average, which is e before any fit: classifier guidance (Dhariwal and Nichol 2021) by way of
the estimate of x0, as in diffusion posterior sampling (Chung et al. 2023). The gradient goes through the denoiser, so
that what changes is a face, and not a pattern that only a recogniser sees, as when the picture itself is moved. Several
recognisers look, for the same reason: what each of them alone would have changed, the others do not ask for. No weight
changes, and nothing is trained for it.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.method.condition import Condition
from idfsr_jax.networks.id_encoder import identity_of
from idfsr_jax.networks.recognisers import Recognisers, dimensions, split_parts
from idfsr_jax.networks.resample import smoothed

STRIDE = 0.02
"""How far one step moves a state, root mean square over the values of a picture; noise has 1."""
SMOOTHING = 4
"""How often the recognisers' view is smoothed, as in training: of the finest detail they would make a pattern."""


LIPS = 0.2
"""Share of a step that is left on the lips. A mouth moves, and photographs of one say little of another, so that all of
it leaves mouths askew."""


@flax.struct.dataclass
class Guide:
    """Who looks.

    Attributes:
      recognisers: the last of the model's.
      center: their mean raw descriptors over the training people, one after the other.
    """

    recognisers: Recognisers
    center: Float[np.ndarray | Array, " d"]


def make_guide(recognisers: Recognisers, center: Float[np.ndarray | Array, " all"]) -> Guide:
    """The guide of a model: all its recognisers but the first, by which people are told apart; or the only one.

    Args:
      recognisers: the model's.
      center: mean raw descriptor of all of them, one after the other.
    """
    guiding = recognisers[1:] or recognisers
    return Guide(guiding, center[len(center) - sum(dimensions(guiding)) :])


def likeness(pictures: Float[Array, "b s s 3"], condition: Condition, guide: Guide) -> Float[Array, " b"]:
    """Mean cosine between what the guide's recognisers see in pictures and in the photographs on average, -1 to 1.

    Args:
      pictures: canonical crops, in [-1, 1].
      condition: its `start` and `landmarks` are read.
      guide: who looks.
    """
    smooth, sizes = smoothed(pictures, SMOOTHING), dimensions(guide.recognisers)
    wanted = split_parts(condition.start[:, condition.start.shape[1] - sum(sizes) :], sizes)
    centers = split_parts(jnp.asarray(guide.center), sizes)
    total = jnp.zeros(len(pictures))
    for recogniser, goal, center in zip(guide.recognisers, wanted, centers, strict=True):
        found = identity_of(recogniser, smooth, condition.landmarks, center)
        total += jnp.sum(found * goal, axis=-1) / jnp.maximum(jnp.linalg.norm(goal, axis=-1), 1e-6)
    return total / len(sizes)


def lips(landmarks: Float[Array, "b 68 2"], side: int) -> Float[Array, "b s s 1"]:
    """Where the lips are, 0 to 1: an ellipse around them with a soft edge.

    Args:
      landmarks: unit coordinates.
      side: of the picture, pixels.
    """
    points = landmarks[:, 48:68]
    halves = (jnp.max(points, axis=1) - jnp.min(points, axis=1)) / 2.0
    axes = jnp.maximum(halves, 0.02) * jnp.array([[1.35, 1.75]])
    centers = (jnp.arange(side, dtype=jnp.float32) + 0.5) / side
    from_middle = (centers[None, :, None] - jnp.mean(points, axis=1)[:, None]) / axes[:, None]
    x, y = jnp.square(from_middle[..., 0]), jnp.square(from_middle[..., 1])
    return jax.nn.sigmoid(4.0 * (1.2 - x[:, None, :] - y[:, :, None]))[..., None]


def guidance_share(n: Float[Array, " b"], strength: Float[Array, " b"]) -> Float[Array, " b"]:
    """How much of guidance is left: 1 - strength min(1, max(0, log2(n / 32))).

    A LR picture of more than 32 px says itself who it shows, better than photographs on average do. So guidance fades,
    as far as the result is held to it, and is gone at 64 px.

    Args:
      n: widths of the LR pictures, pixels.
      strength: how far each result is made to agree with its own, 0 to 1.
    """
    return 1.0 - strength * jnp.clip(jnp.log2(n / 32.0), 0.0, 1.0)


def pull(
    x_t: Float[Array, "b h w c"],
    pictures_of: Callable[[Float[Array, "b h w c"]], Float[Array, "b s s 3"]],
    condition: Condition,
    guide: Guide,
    steps: int,
    share: Float[Array, " b"],
) -> Float[Array, "b h w c"]:
    """States moved by `steps` along the gradient of `likeness`, where the face is, by `share` times `STRIDE` each.

    On the lips it is `LIPS` of that. Where the condition has the null identity there is nobody to become like, and the
    state stays.

    Args:
      x_t: states of the sampler.
      pictures_of: what becomes of states, in [-1, 1]; no picture may depend on another's state.
      condition: of each; `mask` has the side of the states.
      guide: who looks.
      steps: how many.
      share: see `guidance_share`.
    """

    def step(x_t: Float[Array, "b h w c"], _: None) -> tuple[Float[Array, "b h w c"], None]:
        gradient = jax.grad(lambda x_t: jnp.sum(likeness(pictures_of(x_t), condition, guide)))(x_t) * condition.mask
        power = jnp.mean(jnp.square(gradient), axis=(1, 2, 3), keepdims=True)
        # A gradient of nothing moves nothing, and is no division by nothing.
        return x_t + stride * gradient * jax.lax.rsqrt(jnp.maximum(power, 1e-24)), None

    # After the length is taken, so that what the lips are spared makes no step longer elsewhere.
    spared = 1.0 - (1.0 - LIPS) * lips(condition.landmarks, x_t.shape[1])
    stride = STRIDE * (share * condition.identity_present)[:, None, None, None] * spared

    return jax.lax.scan(step, x_t, length=steps)[0]
