"""Training examples drawn on the device: the whole data set lies there as bytes, and no step waits for the host.

The same distribution as `idfsr_jax.data.pipeline` draws on the host, written as array operations: every example is a
function of its key alone. Only the mirrored self as a reference is cut a little differently, with bilinear samples
of the crop at its packed side and not bicubic ones of the photograph.
"""

import os
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from idfsr_jax.config import DataConfig
from idfsr_jax.data import augment
from idfsr_jax.data.pack import PackedSplit
from idfsr_jax.data.pair_tables import pair_tables
from idfsr_jax.data.pairs import MOST_EMBEDDED, reference_probabilities
from idfsr_jax.errors import BadConfig
from idfsr_jax.networks.resample import sample_bilinear

_SHARE_OF_MEMORY = 0.25
"""Of the device's memory the pictures may take so much; a training step needs the rest."""


@flax.struct.dataclass
class ResidentFaces:
    """A split in device memory; n photographs.

    Attributes:
      images: RGB.
      landmarks: unit coordinates.
      descriptors: raw.
      order: records sorted by person.
      first: where in `order` the person of each record begins.
      place: place of each record among its person's.
      count: photographs of each record's person, itself included.
      similar: records of other people nearest in pose, nearest first; only `similar_count` of a row mean anything.
      similar_count: 0 to 16.
    """

    images: UInt8[Array, "n s s 3"]
    landmarks: Float[Array, "n 68 2"]
    descriptors: Float[Array, "n d"]
    order: Int[Array, "n"]
    first: Int[Array, "n"]
    place: Int[Array, "n"]
    count: Int[Array, "n"]
    similar: Int[Array, "n k"]
    similar_count: Int[Array, "n"]


def resident_faces(split: PackedSplit, size: int, device: Any = None) -> ResidentFaces:
    """Decodes a packed split with all cores and puts it into device memory.

    Args:
      split: of `load_split`.
      size: side of the crops, pixels.
      device: JAX's default one if None.

    Raises:
      BadConfig: the pack's crops are smaller than that, or the pictures take too much of the device's memory.
    """
    if split.side < size:
        raise BadConfig(f"data.size is {size}, but the pack's crops are {split.side} pixels wide; pack it wider.")
    device = jax.devices()[0] if device is None else device
    needed, memory = len(split.index) * size * size * 3, (device.memory_stats() or {}).get("bytes_limit", 0)
    if memory and needed > _SHARE_OF_MEMORY * memory:
        raise BadConfig(
            f"The pictures take {needed / 1e9:.1f} GB and the device has {memory / 1e9:.1f} GB; lower data.size or "
            "train from the prepared data set with `idfsr train`."
        )
    workers = os.cpu_count() or 1
    index = split.index
    tables = {name: jax.device_put(table, device) for name, table in pair_tables(index, workers).items()}
    return ResidentFaces(
        images=jax.device_put(split.decode(size, workers), device),
        landmarks=jax.device_put(index.landmarks, device),
        descriptors=jax.device_put(index.embeddings, device),
        **tables,
    )


def draw_batch(
    key: PRNGKeyArray, faces: ResidentFaces, target: Int[Array, "b"], config: DataConfig
) -> dict[str, Array]:
    """The examples of some targets; pure, to be called inside `jit`.

    Args:
      key: the only source of randomness.
      faces: the split.
      target: records, as `epoch_records` gives them.
      config: what is drawn; static.

    Returns:
      The arrays of `pipeline.training_examples`, `record` as int32.
    """
    reference_key, embedding_key, scale_key, flip_key, own_key = jax.random.split(key, 5)
    reference, own = choose_references(reference_key, faces, target, config)
    embedded, taken = choose_embedded(embedding_key, faces, target, config.own_embedding)
    weights = np.asarray(config.scale_weights, np.float32)
    scale = jax.random.choice(scale_key, len(config.scales), target.shape, p=jnp.asarray(weights / weights.sum()))
    flip = jax.random.uniform(flip_key, target.shape) < config.flip

    images, landmarks = faces.images[target], faces.landmarks[target]
    own_images, own_landmarks = own_references(own_key, images, landmarks)
    references = jnp.where(own[:, None, None, None], own_images, faces.images[reference])
    points = jnp.where(own[:, None, None], own_landmarks, faces.landmarks[reference])
    descriptors = faces.descriptors[embedded] * taken[..., None]
    return {
        "target": _mirror_where(flip, images),
        "target_landmarks": jnp.where(flip[:, None, None], augment.mirror_landmarks(landmarks), landmarks),
        "reference": _mirror_where(flip, references),
        "reference_landmarks": jnp.where(flip[:, None, None], augment.mirror_landmarks(points), points),
        "embedding": descriptors.sum(axis=1) / taken.sum(axis=1, keepdims=True),
        "target_embedding": faces.descriptors[target],
        "scale": scale.astype(jnp.int32),
        "record": target,
    }


def epoch_records(key: PRNGKeyArray, step: Int[Array, ""], batch: int, count: int) -> Int[Array, "{batch}"]:
    """The records of a step: each epoch holds all of them once, in an order of its own.

    A batch lies in one epoch or across the border of two (of more if the data set is smaller than it). Their
    permutations are made anew in every step, which for ten thousand records takes a GPU some tens of microseconds.

    Args:
      key: of the run.
      step: steps done so far; step * batch must stay below 2^31.
      batch: examples in a step.
      count: records in the split.
    """
    place = step * batch + jnp.arange(batch, dtype=jnp.int32)
    epoch = place // count
    touched = [epoch[0] + later for later in range((batch - 1) // count + 2)]
    orders = jnp.stack([jax.random.permutation(jax.random.fold_in(key, each), count) for each in touched])
    return orders[epoch - epoch[0], place % count].astype(jnp.int32)


def choose_references(
    key: PRNGKeyArray, faces: ResidentFaces, target: Int[Array, "b"], config: DataConfig
) -> tuple[Int[Array, "b"], Array]:
    """As `pairs.choose_reference`: the record of each reference, and whether it is the target itself."""
    kind_key, other_key, same_key = jax.random.split(key, 3)
    probabilities = jnp.asarray(reference_probabilities(config.reference), jnp.float32)
    kind = jax.random.choice(kind_key, 3, target.shape, p=probabilities)
    others, siblings = faces.similar_count[target], faces.count[target] - 1
    other = faces.similar[target, _below(other_key, others)]
    same = _sibling(faces, target, _below(same_key, siblings))
    is_other = (kind == 1) & (others > 0)
    is_same = ~is_other & (kind != 2) & (siblings > 0)
    return jnp.where(is_other, other, jnp.where(is_same, same, target)), ~(is_other | is_same)


def choose_embedded(
    key: PRNGKeyArray, faces: ResidentFaces, target: Int[Array, "b"], own: float
) -> tuple[Int[Array, "b m"], Float[Array, "b m"]]:
    """As `pairs.choose_embedded`: five records for each target, and 1 or 0 for those that count and do not.

    Without replacement by Floyd's algorithm (Bentley and Floyd 1987), whose few steps need no array as long as the
    person's photographs are many.
    """
    own_key, count_key, *keys = jax.random.split(key, 2 + MOST_EMBEDDED)
    siblings = faces.count[target] - 1
    wanted = 1 + _below(count_key, jnp.minimum(siblings, MOST_EMBEDDED))
    itself = (jax.random.uniform(own_key, target.shape) < own) | (siblings < 1)
    chosen: list[Array] = []
    for turn, each in enumerate(keys):
        last = jnp.maximum(siblings - wanted + turn, 0)
        drawn = _below(each, last + 1)
        taken_before = jnp.any(jnp.stack([drawn == before for before in chosen]), axis=0) if chosen else drawn < 0
        chosen.append(jnp.where(taken_before, last, drawn))
    records = _sibling(faces, target[:, None], jnp.stack(chosen, axis=1))
    counted = jnp.arange(MOST_EMBEDDED) < wanted[:, None]
    alone = jnp.arange(MOST_EMBEDDED) == 0
    records = jnp.where(itself[:, None] | ~counted, target[:, None], records)
    return records, jnp.where(itself[:, None], alone[None], counted).astype(jnp.float32)


def own_references(
    key: PRNGKeyArray, images: UInt8[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"]
) -> tuple[UInt8[Array, "b s s 3"], Float[Array, "b 68 2"]]:
    """As `augment.own_reference`: the crops slightly moved, recoloured, and mirrored."""
    b, size = images.shape[:2]
    keys = jax.random.split(key, 6)

    def draw(each: PRNGKeyArray, limit: float, *shape: int) -> Array:
        return jax.random.uniform(each, (b, *shape), minval=-limit, maxval=limit)

    angle, zoom = draw(keys[0], float(np.deg2rad(augment.MAX_DEGREES))), jnp.exp(draw(keys[1], augment.MAX_LOG_SCALE))
    shift = draw(keys[2], augment.MAX_SHIFT, 2)[:, None]
    axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(1, -1, 2)
    origin = _turned(grid - 0.5, angle, zoom) + 0.5 + shift
    points = _turned(landmarks - 0.5 - shift, -angle, 1.0 / zoom) + 0.5
    origin = 1.0 - jnp.abs(1.0 - jnp.abs(origin))  # reflected at 0 and at 1
    moved = jnp.round(sample_bilinear(images.astype(jnp.float32), origin)).reshape(b, size, size, 3)

    gamma = jnp.exp(draw(keys[3], augment.MAX_LOG_GAMMA))[:, None, None, None]
    gain = jnp.exp(draw(keys[4], augment.MAX_LOG_GAIN, 1) + draw(keys[5], augment.MAX_LOG_CHANNEL_GAIN, 3))
    recoloured = jnp.round(255.0 * gain[:, None, None] * jnp.power(moved / 255.0, gamma))
    return jnp.clip(recoloured, 0.0, 255.0).astype(jnp.uint8)[:, :, ::-1], augment.mirror_landmarks(points)


def _mirror_where(flip: Array, images: UInt8[Array, "b s s 3"]) -> UInt8[Array, "b s s 3"]:
    return jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)


def _turned(points: Float[Array, "_ m 2"], angle: Float[Array, "b"], zoom: Float[Array, "b"]) -> Float[Array, "b m 2"]:
    """Points turned about 0 and scaled; element by element, since a GPU's matrix units would round coordinates."""
    cos, sin = (zoom * jnp.cos(angle))[:, None], (zoom * jnp.sin(angle))[:, None]
    x, y = points[..., 0], points[..., 1]
    return jnp.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def _sibling(faces: ResidentFaces, target: Int[Array, "*#b"], which: Int[Array, "*#b"]) -> Int[Array, "*#b"]:
    """The `which`-th other photograph of the target's person, counted on from the target; the target if it is alone."""
    place = (faces.place[target] + 1 + which) % faces.count[target]
    return faces.order[faces.first[target] + place]


def _below(key: PRNGKeyArray, bound: Int[Array, "b"]) -> Int[Array, "b"]:
    """Whole numbers from 0 to below the bound, evenly; 0 where the bound is 0."""
    drawn = jnp.floor(jax.random.uniform(key, bound.shape) * bound.astype(jnp.float32)).astype(jnp.int32)
    return jnp.clip(drawn, 0, jnp.maximum(bound - 1, 0))
