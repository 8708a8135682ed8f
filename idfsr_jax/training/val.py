"""A look at val while a model trains: a few people's pictures, restored as they will be at use."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.data.examples import People
from idfsr_jax.method.condition import Condition, References, make_condition
from idfsr_jax.method.degrade import Degradation, degrade, fixed_degradation
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import estimate_landmarks, person_shape
from idfsr_jax.method.loss import Frozen
from idfsr_jax.method.references import nearest_first
from idfsr_jax.method.sample import sample_pictures
from idfsr_jax.models.mask import face_mask
from idfsr_jax.networks.id_encoder import descriptors_of
from idfsr_jax.networks.perceptual import perceptual_distance
from idfsr_jax.networks.recognisers import unit_parts as unit_parts_of
from idfsr_jax.pictures import to_float
from idfsr_jax.runtime.randomness import step_key

WIDTH = 8
"""Of the LR pictures, pixels: 16x of 128."""
REVEAL = 0.5
"""How much of their faces is shown."""
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


def few_cases(people: People, most: int = MOST_PEOPLE) -> list[Case]:
    """A photograph each of the first people who have several, with up to five others."""
    several = [members for members in people.faces.index.members if len(members) > 1]
    return [Case(int(each[0]), tuple(each[1 : 1 + _MOST_PHOTOGRAPHS].tolist())) for each in several[:most]]


def conditions_of(
    people: People,
    cases: Sequence[Case],
    frozen: Frozen,
    config: Config,
    degradation: Degradation,
    reveal: float,
    references: int | None = None,
) -> tuple[Float[Array, "b s s 3"], Condition]:
    """Truths and conditions of cases, as restoring makes them.

    Args:
      people: of val.
      cases: any number.
      frozen: networks and tables.
      config: the model's.
      degradation: of each.
      reveal: how much of each LR face is shown.
      references: at the most so many; the configuration's number by default.
    """
    index, images, k = people.faces.index, people.faces.images, config.model.references
    truth = to_float(images[[case.target for case in cases]])
    y_up, _ = degrade(truth, degradation, frozen.tables, step_key(0, "val-noise", 0))
    shapes = np.stack([person_shape(index.landmarks[list(case.photographs)]) for case in cases])
    n, known = degradation.n.astype(jnp.float32), jnp.ones(len(cases))
    landmarks = estimate_landmarks(frozen.landmark_net, y_up, n, jnp.asarray(shapes), known, config.landmarks)
    chosen = [
        np.array(case.photographs)[nearest_first(np.asarray(points), index.landmarks[list(case.photographs)])]
        for case, points in zip(cases, landmarks, strict=True)
    ]
    chosen = [each[: k if references is None else references] for each in chosen]
    records = np.stack([np.resize(each, k) if len(each) else np.zeros(k, int) for each in chosen])
    present = np.stack([np.arange(k) < len(each) for each in chosen])
    means = np.stack([people.units[list(case.photographs)].mean(axis=0) for case in cases])
    given = References(
        to_float(images[records]),
        jnp.asarray(index.landmarks[records]),
        jnp.asarray(index.frames[records]),
        jnp.asarray(present, jnp.float32),
    )
    return truth, make_condition(
        y_up,
        landmarks,
        given,
        jnp.asarray(unit_parts(means, people.sizes)),
        jnp.zeros((len(cases), config.model.identity_tokens, config.model.embedding)),
        truth.shape[1] / n,
        jnp.full((len(cases),), reveal),
        patch=config.model.patch,
        mouth=config.model.mouth,
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
    degradation = fixed_degradation(len(cases), WIDTH)
    truth, condition = conditions_of(people, cases, frozen, config, degradation, REVEAL)
    noise = jax.random.normal(step_key(0, "val", 0), truth.shape)
    found = jnp.clip(sample_pictures(params, condition, noise, config, people.sizes), -1.0, 1.0)
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
    centers = jnp.split(frozen.center, np.cumsum(sizes)[:-1].tolist())
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
