"""The condition: all that the denoiser may know of the LR picture, the reference photograph and the person.

`make_condition` is the only door: whatever it does not put into `Condition` never reaches the network. With the full
mask that is above all the LR face itself.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import ModelConfig
from idfsr_jax.models.mask import face_mask, hide_face, low_frequency_tone
from idfsr_jax.models.warp import warp_reference

_LEAST_COLOUR = 10 / 127.5
"""What a channel differs by, at the most, from the mean of the three in pictures that are called grey: ten levels, as
scans have a tint. One of LFW's val and test photographs has 5 to 8, when it is made 16 to 4 px wide, and all others 23
and more."""


@flax.struct.dataclass
class Condition:
    """What guides the denoiser; images in [-1, 1].

    Attributes:
      hidden: LR picture, enlarged, its face masked out: y_up (1 - m).
      mask: soft face region m, in [0, 1].
      reference: the reference warped onto the LR pose, r_w.
      valid: where the warped reference is defined, v in [0, 1]; all 0 means that there is none.
      identity: unit identity vector e.
      identity_present: 1, or 0 where the learned null identity shall stand in for e.
      scale: down-sampling factor s.
      pasted: `paste` of the pixels, where these are latents, of which it cannot be made.
    """

    hidden: Float[Array, "b s s c"]
    mask: Float[Array, "b s s 1"]
    reference: Float[Array, "b s s c"]
    valid: Float[Array, "b s s 1"]
    identity: Float[Array, "b d"]
    identity_present: Float[Array, " b"]
    scale: Float[Array, " b"]
    pasted: Float[Array, "b s s c"] | None = None


def make_condition(
    y_up: Float[Array, "b s s 3"],
    landmarks: Float[Array, "b 68 2"],
    reference: Float[Array, "b s s 3"],
    reference_landmarks: Float[Array, "b 68 2"],
    identity: Float[Array, "b d"],
    scale: Float[Array, " b"],
    config: ModelConfig,
) -> Condition:
    """Masks the LR face, warps the reference onto it, and joins both with the identity.

    The reference of a picture without colour is made grey.

    Args:
      y_up: bicubic enlargement of the LR crop, [-1, 1].
      landmarks: l_y, estimated from the LR picture alone; unit coordinates.
      reference: another photograph of the person, canonical crop, [-1, 1].
      reference_landmarks: l_r, unit coordinates.
      identity: unit identity vectors e.
      scale: down-sampling factor s of each example.
      config: says how to mask and warp.
    """
    mask = face_mask(landmarks, y_up.shape[1])
    reference = _as_grey(reference, y_up)
    warped, valid = warp_reference(reference, reference_landmarks, landmarks, config.warp)
    if not config.use_reference:
        valid = jnp.zeros_like(valid)
    return Condition(
        hidden=hide_face(y_up, mask, config.mask),
        mask=mask,
        reference=warped * valid,
        valid=valid,
        identity=identity,
        identity_present=jnp.full(identity.shape[0], float(config.use_identity)),
        scale=scale,
    )


def paste(condition: Condition, kind: str) -> Float[Array, "b s s c"]:
    """The obvious guess: the warped reference pasted into the hole of the LR picture.

    The denoiser is preconditioned around it, and it is the baseline to beat. With `kind` "tone" the reference gives
    its detail only, on the light that the LR picture keeps; with "none" nothing is hidden, and the guess is y_up.
    """
    if condition.pasted is not None:
        return condition.pasted
    visible = condition.mask * condition.valid
    match kind:
        case "full":
            return condition.hidden + visible * condition.reference
        case "tone":
            tone = low_frequency_tone(condition.reference, condition.mask)
            return condition.hidden + visible * (condition.reference - tone)
        case _:
            return condition.hidden


def towards_guess(
    pictures: Float[Array, "b s s 3"], condition: Condition, share: float, kind: str
) -> Float[Array, "b s s 3"]:
    """Pictures mixed with the guess where it shows the reference; elsewhere they stay.

    Args:
      pictures: restorations, [-1, 1].
      condition: theirs, in pixels.
      share: of the guess, where mask and reference are whole.
      kind: see `paste`.
    """
    guess = jnp.clip(paste(condition, kind), -1.0, 1.0)
    return pictures + share * condition.mask * condition.valid * (guess - pictures)


def _as_grey(reference: Float[Array, "b s s 3"], y_up: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
    """The references, without their colour where the LR picture has none, which would else come out tinted by it."""
    colour = jnp.max(jnp.abs(y_up - y_up.mean(-1, keepdims=True)), axis=(1, 2, 3), keepdims=True)
    luma = jnp.sum(reference * jnp.array([0.299, 0.587, 0.114]), axis=-1, keepdims=True)
    return jnp.where(colour < _LEAST_COLOUR, luma, reference)


def without_identity(condition: Condition) -> Condition:
    """The condition with the null identity: the other half of classifier-free guidance (Ho and Salimans 2022)."""
    return condition.replace(identity_present=jnp.zeros_like(condition.identity_present))  # type: ignore[attr-defined]


def drop(condition: Condition, key: Array, probability: float) -> Condition:
    """Drops identity and, independently, reference of random examples, so that the network learns to do without."""
    batch = condition.scale.shape[0]
    keep_identity, keep_reference = jax.random.bernoulli(key, 1.0 - probability, (2, batch)).astype(jnp.float32)
    keep_pixels = keep_reference[:, None, None, None]
    return condition.replace(  # type: ignore[attr-defined]
        identity_present=condition.identity_present * keep_identity,
        reference=condition.reference * keep_pixels,
        valid=condition.valid * keep_pixels,
    )


def repeat(condition: Condition, count: int) -> Condition:
    """Every example `count` times in a row, for several samples of one condition."""
    return jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), condition)
