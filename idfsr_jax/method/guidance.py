"""Guidance at the last step: a face recogniser's gradient pulls the state towards the person's ID embedding.

What the denoiser makes of a state is looked at by a recogniser, and the state is moved so that this becomes more like
the person's photographs on average, which is e before any fit: classifier guidance (Dhariwal and Nichol 2021) by way of
the estimate of x0, as in diffusion posterior sampling (Chung et al. 2023). The gradient goes through the denoiser, so
that what changes is a face, and not a pattern that only the recogniser sees, as when the picture itself is moved. No
weight changes, and nothing is trained for it.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.method.condition import Condition
from idfsr_jax.networks.chips import face_chips
from idfsr_jax.networks.id_encoder import IdEncoder, chip_descriptors
from idfsr_jax.networks.recognisers import Recognisers, dimensions, unit_parts
from idfsr_jax.networks.resample import smoothed

STRIDE = 0.02
"""How far one step moves a state, root mean square over the values of a picture; noise has 1."""
SMOOTHING = 4
"""How often the recogniser's view is smoothed, as in training: of the finest detail it would make a pattern."""


@flax.struct.dataclass
class Guide:
    """Who looks.

    Attributes:
      recogniser: the last of the model's.
      center: its mean raw descriptor over the training people.
    """

    recogniser: IdEncoder
    center: Float[np.ndarray | Array, " d"]


def make_guide(recognisers: Recognisers, center: Float[np.ndarray | Array, " all"]) -> Guide:
    """The guide of a model: its last recogniser, whose gradient is felt by recognisers that it was not trained with.

    Args:
      recognisers: the model's.
      center: mean raw descriptor of all of them, one after the other.
    """
    return Guide(recognisers[-1], center[sum(dimensions(recognisers)[:-1]) :])


def likeness(pictures: Float[Array, "b s s 3"], condition: Condition, guide: Guide) -> Float[Array, " b"]:
    """The cosine between what the guide sees in pictures and in the photographs on average, -1 to 1.

    Args:
      pictures: canonical crops, in [-1, 1].
      condition: its `start` and `landmarks` are read.
      guide: who looks.
    """
    chips = face_chips(smoothed(pictures, SMOOTHING), condition.landmarks, guide.recogniser.chip)
    descriptors = chip_descriptors(guide.recogniser, chips)
    (found,) = unit_parts(descriptors, jnp.asarray(guide.center), dimensions((guide.recogniser,)))
    wanted = condition.start[:, -guide.recogniser.dimension :]
    return jnp.sum(found * wanted, axis=-1) / jnp.maximum(jnp.linalg.norm(wanted, axis=-1), 1e-6)


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
    """States moved by `steps` along the gradient of `likeness`, where the face is; each is `share` times `STRIDE` long.

    Where the condition has the null identity there is nobody to become like, and the state stays.

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

    stride = STRIDE * (share * condition.identity_present)[:, None, None, None]

    return jax.lax.scan(step, x_t, length=steps)[0]
