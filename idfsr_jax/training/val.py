"""A look at val while a model trains: a few people's pictures, restored as they will be at use."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.data.examples import People
from idfsr_jax.io.images import to_float
from idfsr_jax.method.degrade import degrade, fixed_degradation
from idfsr_jax.method.examples import Frozen
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import person_shape
from idfsr_jax.method.mask import face_mask
from idfsr_jax.method.references import likest
from idfsr_jax.method.sample import sample_pictures
from idfsr_jax.networks.id_encoder import descriptors_of
from idfsr_jax.networks.perceptual import perceptual_distance
from idfsr_jax.networks.recognisers import split_parts
from idfsr_jax.networks.recognisers import unit_parts as unit_parts_of
from idfsr_jax.restore.conditions import Known, conditions_of
from idfsr_jax.runtime.randomness import step_key

WIDTH = 8
"""Of the LR pictures, pixels: 16x of 128."""
MOST_PEOPLE = 16
_MOST_PHOTOGRAPHS = 5


@dataclass(frozen=True)
class Case:
    """A photograph that is to come out, and others of the person.

    Attributes:
      target: its record.
      photographs: records of those that are given.
    """

    target: int
    photographs: tuple[int, ...]


def few_cases(people: People) -> list[Case]:
    """A photograph each of the first people who have several, with up to five others."""
    several = [members for members in people.faces.index.members if len(members) > 1]
    return [Case(int(each[0]), tuple(each[1 : 1 + _MOST_PHOTOGRAPHS].tolist())) for each in several[:MOST_PEOPLE]]


def known_of(people: People, case: Case, config: Config) -> Known:
    """What a case's photographs tell of its person, before any fit."""
    index, records = people.faces.index, np.asarray(case.photographs)
    identity = unit_parts(people.units[records].mean(axis=0), people.sizes)
    shown = records[likest(identity, people.units[records])]
    return Known(
        identity=identity,
        start=identity,
        shape=person_shape(index.landmarks[records]),
        images=people.faces.images[shown],
        landmarks=index.landmarks[shown],
        frames=index.frames[shown],
        units=people.units[shown],
    )


def measure(
    params: Any, people: People, frozen: Frozen, config: Config
) -> tuple[dict[str, float], list[Float[np.ndarray, "b s s 3"]]]:
    """What a model makes of a few people of val, and how good it is.

    Args:
      params: of the denoiser.
      people: of val.
      frozen: networks and tables.
      config: the run's.

    Returns:
      Means over the pictures: the cosine to the truth by each recogniser of the condition (who are in the loss, so
      that they flatter), PSNR of the face in dB, and LPIPS by AlexNet. And rows of pictures in [-1, 1]: what the model
      sees of the LR picture, the nearest reference, the result, the truth.
    """
    cases = few_cases(people)
    truth = to_float(people.faces.images[[case.target for case in cases]])
    degradation = fixed_degradation(len(cases), WIDTH)
    y_up, _ = degrade(truth, degradation, frozen.tables, step_key(0, "val-noise", 0))
    widths, known = degradation.n.astype(jnp.float32), [known_of(people, case, config) for case in cases]
    condition, _ = conditions_of(frozen.landmark_net, y_up, widths, known, config.sample.reveal, config)
    side, channels = config.model.diffused_side(truth.shape[1]), config.model.diffused_channels
    noise = jax.random.normal(step_key(0, "val", 0), (len(cases), side, side, channels))
    found = sample_pictures(params, condition, noise, config, people.sizes, autoencoder=frozen.autoencoder)
    found = jnp.clip(found, -1.0, 1.0)
    landmarks = jnp.asarray(people.faces.index.landmarks[[case.target for case in cases]])
    values = jax.device_get(_scores(found, truth, landmarks, frozen, people.sizes))
    rows = (condition.hidden, condition.references[:, 0], found, truth)
    return {name: float(value) for name, value in values.items()}, [np.asarray(row) for row in rows]


@partial(jax.jit, static_argnames="sizes")
def _scores(
    found: Float[Array, "b s s 3"],
    truth: Float[Array, "b s s 3"],
    landmarks: Float[Array, "b 68 2"],
    frozen: Frozen,
    sizes: tuple[int, ...],
) -> dict[str, Float[Array, ""]]:
    centers = split_parts(frozen.center, sizes)
    scores = {}
    for recogniser, center, size in zip(frozen.recognisers, centers, sizes, strict=True):
        seen = [
            unit_parts_of(descriptors_of(recogniser, images, landmarks), center, (size,))[0]
            for images in (found, truth)
        ]
        scores[f"identity {recogniser.name}"] = jnp.mean(jnp.sum(seen[0] * seen[1], axis=-1))
    face = face_mask(landmarks, found.shape[1])
    squared = jnp.sum(face * jnp.square(found - truth), axis=(1, 2, 3)) / (3.0 * jnp.sum(face, axis=(1, 2, 3)))
    scores["psnr_face"] = jnp.mean(10.0 * jnp.log10(4.0 / jnp.maximum(squared, 1e-9)))
    scores["lpips"] = jnp.mean(perceptual_distance(frozen.perceptual, found, truth))
    return scores
