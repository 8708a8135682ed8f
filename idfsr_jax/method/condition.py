"""The condition: all that the denoiser may know of the LR picture, the references and the person.

`make_condition` is the only door: whatever it does not put into `Condition` never reaches the network. Training,
fitting, restoring and evaluation all come through it.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from idfsr_jax.method.mask import face_mask, low_frequency_tone
from idfsr_jax.method.pose import heat_maps
from idfsr_jax.method.references import shape_distances
from idfsr_jax.method.warp import warp_references

COARSEST = 1 / 3
"""The least that is revealed of a face, beside nothing: a mean as wide as a third of it, which has no features."""
_FADE = 0.1
"""Below this `reveal` the coarsest tone fades into mid-grey."""


@flax.struct.dataclass
class References:
    """Photographs of a person as style guidance; any of the k may be absent.

    Attributes:
      images: canonical crops, in [-1, 1].
      landmarks: their 68 points, unit coordinates.
      frames: from unit coordinates of each to those of its photograph, `face.align.photograph_frame`.
      present: 1, or 0 where there is none.
      identities: unit vectors of each by all recognisers, one after the other.
    """

    images: Float[Array, "b k s s 3"]
    landmarks: Float[Array, "b k 68 2"]
    frames: Float[Array, "b k 2 3"]
    present: Float[Array, "b k"]
    identities: Float[Array, "b k d"]


@flax.struct.dataclass
class Condition:
    """What guides the denoiser; images in [-1, 1], or their latents (`latent.space.encode_condition`).

    Attributes:
      hidden: the LR picture, enlarged; of its face only what is revealed: y_up (1 - m) + m t.
      mask: soft face region m, in [0, 1].
      pose: heat maps h of the LR face's landmarks.
      references: R, moved onto the LR face, the nearest first, 0 where they show nothing.
      valid: where they show something, 0 to 1.
      reference_identities: unit vectors of each reference; next to e they say how far it shows the person.
      guess: the nearest reference's detail on what is revealed; without one, `hidden`.
      identity: e, the recognisers' unit vectors one after the other.
      identity_present: 1, or 0 where the learned null identity shall stand in for e.
      scale: down-sampling factor s, the crop's side over the LR crop's.
      start: e before any fit, the mean of the photographs' unit vectors; the denoiser does not read it, guidance pulls
        towards it, for what a fit adds to e serves the denoiser and is nobody's face.
      landmarks: l_y, unit coordinates; the denoiser knows them as `pose`, guidance looks at the face by them.
    """

    hidden: Float[Array, "b s s c"]
    mask: Float[Array, "b s s 1"]
    pose: Float[Array, "b h h 6"]
    references: Float[Array, "b k s s c"]
    valid: Float[Array, "b k s s 1"]
    reference_identities: Float[Array, "b k d"]
    guess: Float[Array, "b s s c"]
    identity: Float[Array, "b d"]
    identity_present: Float[Array, " b"]
    scale: Float[Array, " b"]
    start: Float[Array, "b d"]
    landmarks: Float[Array, "b 68 2"]


def nearest_references(
    candidates: References, landmarks: Float[Array, "b 68 2"], count: int
) -> tuple[References, Int[Array, "b {count}"]]:
    """Of each person's photographs those nearest to the face in pose and expression.

    Args:
      candidates: any number of photographs of each; what is said of absent ones is not read.
      landmarks: of the face, unit coordinates.
      count: how many are taken, at the most.

    Returns:
      The nearest first, then absent ones; and the position of each among the candidates, -1 of absent ones.
    """
    distances = jax.vmap(shape_distances)(landmarks, candidates.landmarks)
    distances = jnp.where(candidates.present > 0, distances, jnp.inf)
    distances = jnp.pad(distances, ((0, 0), (0, count)), constant_values=jnp.inf)
    order = jnp.argsort(distances, axis=1, stable=True)[:, :count]
    found = jnp.isfinite(jnp.take_along_axis(distances, order, axis=1))

    def taken(values: Float[Array, "b k ..."], absent: Float[Array, "..."]) -> Float[Array, "b c ..."]:
        trailing = (1,) * (values.ndim - 2)
        places = order.reshape(*order.shape, *trailing)
        rows = jnp.take_along_axis(values, places, axis=1, mode="clip")
        return jnp.where(found.reshape(*found.shape, *trailing), rows, absent)

    references = References(
        images=taken(candidates.images, jnp.zeros(())),
        # So that the warp of one that is not there has a solution.
        landmarks=taken(candidates.landmarks, landmarks[:, None]),
        frames=taken(candidates.frames, jnp.eye(2, 3)),
        present=found.astype(jnp.float32),
        identities=taken(candidates.identities, jnp.zeros(())),
    )
    return references, jnp.where(found, order, -1)


def make_condition(
    y_up: Float[Array, "b s s 3"],
    landmarks: Float[Array, "b 68 2"],
    references: References,
    identity: Float[Array, "b d"],
    scale: Float[Array, " b"],
    reveal: Float[Array, " b"],
    *,
    patch: int,
    mouth: float | Float[Array, " b"] = 1.0,
) -> Condition:
    """Masks the LR face, moves the references onto it, and joins both with the identity.

    Args:
      y_up: bicubic enlargement of the LR crop.
      landmarks: l_y, estimated from the LR picture and the person's shape; unit coordinates.
      references: the nearest in pose and expression first; k is 1 or more.
      identity: unit vectors of all recognisers, one after the other; `start` too, until somebody says otherwise.
      scale: s of each example.
      reveal: how much of the LR face is shown, 0 (nothing, as in the paper) to 1 (all that its pixels can hold).
      patch: pixels along a side of one place of the network's finest map; heat maps have one for each.
      mouth: share of the lips' movement, see `warp_references`.
    """
    size = y_up.shape[1]
    mask = face_mask(landmarks, size)
    moved, valid = warp_references(
        references.images, references.landmarks, references.frames, references.present, landmarks, mouth
    )
    share, shown = tone_share(reveal, scale, size)
    tone = shown * low_frequency_tone(y_up, mask, share=share)
    hidden = y_up * (1.0 - mask) + mask * tone
    nearest, seen = moved[:, 0], valid[:, 0]
    # The reference's own tone over where it shows the face: what it does not show must not darken it.
    own_tone = shown * low_frequency_tone(nearest, mask * seen, share=share)
    return Condition(
        hidden=hidden,
        mask=mask,
        pose=heat_maps(landmarks, size // patch),
        references=moved,
        valid=valid,
        reference_identities=references.identities,
        guess=hidden + mask * seen * (nearest - own_tone),
        identity=identity,
        identity_present=jnp.ones(identity.shape[0]),
        scale=scale,
        start=identity,
        landmarks=landmarks,
    )


def tone_share(
    reveal: Float[Array, " b"], scale: Float[Array, " b"], size: int
) -> tuple[Float[Array, " b"], Float[Array, "b 1 1 1"]]:
    """How coarse a mean of the LR face is revealed, as a share of the face's diameter, and how much of it, 0 to 1.

    From a third of the face at the least, geometrically, to 2.2 LR pixels of an average face at the most: a mean about
    as wide as the LR picture's own blur.
    """
    finest = jnp.clip(2.2 * scale / size, 0.03, 0.3)
    amount = jnp.clip((reveal - _FADE) / (1.0 - _FADE), 0.0, 1.0)
    share = COARSEST ** (1.0 - amount) * finest**amount
    return share, jnp.clip(reveal / _FADE, 0.0, 1.0)[:, None, None, None]
