"""A quick look at val while a model trains: a protocol's pictures, by judges that are not in the loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.data.examples import People
from idfsr_jax.evaluation.judges import Judge
from idfsr_jax.evaluation.protocol import Protocol
from idfsr_jax.method.condition import References, make_condition
from idfsr_jax.method.degrade import Degradation, degrade
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import estimate_landmarks, person_shape
from idfsr_jax.method.loss import Frozen
from idfsr_jax.method.references import nearest_first
from idfsr_jax.method.sample import sample_pictures
from idfsr_jax.models.mask import face_mask
from idfsr_jax.networks.perceptual import perceptual_distance
from idfsr_jax.pictures import to_float
from idfsr_jax.runtime.randomness import step_key

_BATCH = 16


@dataclass(frozen=True)
class ValCase:
    """A photograph that is to come out, and the person's others.

    Attributes:
      target: its record.
      photographs: records of those that are given.
    """

    target: int
    photographs: tuple[int, ...]


def cases_of(people: People, protocol: Protocol, photographs: int = 5) -> list[ValCase]:
    """All pictures of a protocol, each with the first so many photographs of the person."""
    record = {photo: number for number, photo in enumerate(people.faces.index.photos)}
    return [
        ValCase(record[photo], tuple(record[name] for name in person.photographs[:photographs] if name in record))
        for person in protocol.people
        for photo in person.restored
        if photo in record
    ]


def inputs_of(
    people: People,
    cases: Sequence[ValCase],
    frozen: Frozen,
    config: Config,
    degradation: Degradation,
    reveal: float,
    *,
    references: int | None = None,
    identity: Float[np.ndarray, "b d"] | None = None,
    token_offsets: Float[np.ndarray, "b n e"] | None = None,
) -> tuple[Float[Array, "b s s 3"], Any]:
    """Truths and conditions of cases, as restoring makes them.

    Args:
      people: of val.
      cases: any number.
      frozen: networks and tables.
      config: the model's.
      degradation: of each.
      reveal: how much of the LR face is shown.
      references: at the most so many; the configuration's number by default.
      identity: embeddings in place of the photographs' mean.
      token_offsets: of fitting.
    """
    index, images = people.faces.index, people.faces.images
    truth = to_float(images[[case.target for case in cases]])
    y_up, _ = degrade(truth, degradation, frozen.tables, step_key(0, "val-noise", 0))
    shapes = np.stack([person_shape(index.landmarks[list(case.photographs)]) for case in cases])
    n = degradation.n.astype(jnp.float32)
    landmarks = estimate_landmarks(
        frozen.landmark_net, y_up, n, jnp.asarray(shapes), jnp.ones(len(cases)), config.landmarks
    )
    k = config.model.references
    most = k if references is None else references
    chosen = [
        np.array(case.photographs)[nearest_first(np.asarray(points), index.landmarks[list(case.photographs)])][:most]
        for case, points in zip(cases, landmarks, strict=True)
    ]
    records = np.stack([np.resize(each, k) if len(each) else np.zeros(k, int) for each in chosen])
    present = np.stack([np.arange(k) < len(each) for each in chosen])
    if identity is None:
        means = np.stack([people.units[list(case.photographs)].mean(axis=0) for case in cases])
        identity = unit_parts(means, people.sizes)
    if token_offsets is None:
        token_offsets = np.zeros((len(cases), config.model.identity_tokens, config.model.embedding), np.float32)
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
        jnp.asarray(identity),
        jnp.asarray(token_offsets),
        truth.shape[1] / n,
        jnp.full((len(cases),), reveal),
        patch=config.model.patch,
        mouth=config.model.mouth,
    )


def pictures_of(params: Any, condition: Any, config: Config, sizes: tuple[int, ...]) -> Float[np.ndarray, "b s s 3"]:
    """Restorations of conditions, in batches of one size; the noise of each place in a batch is its own."""
    count, size = condition.scale.shape[0], condition.hidden.shape[1]
    noise = jax.random.normal(step_key(0, "val", 0), (_BATCH, size, size, 3))
    found = []
    for start in range(0, count, _BATCH):
        chosen = np.minimum(np.arange(start, start + _BATCH), count - 1)
        part = jax.tree.map(lambda x: x[chosen], condition)  # noqa: B023
        found.append(np.asarray(sample_pictures(params, part, noise, config, sizes)))
    return np.concatenate(found)[:count]


def scores(
    pictures: Float[np.ndarray, "b s s 3"],
    truth: Float[Array, "b s s 3"],
    landmarks: Float[np.ndarray, "b 68 2"],
    judges: Sequence[Judge],
    perceptual: Any,
) -> Mapping[str, Float[np.ndarray, " b"]]:
    """Of each picture: cosine to the truth by each judge, PSNR of the whole and of the face, LPIPS by AlexNet."""
    images = np.clip(np.round((np.asarray(pictures) + 1.0) * 127.5) / 127.5 - 1.0, -1.0, 1.0).astype(np.float32)
    right, points = np.asarray(truth), np.asarray(landmarks)
    face = np.asarray(face_mask(jnp.asarray(points), right.shape[1]))
    squared = np.square(images - right)
    found = {
        f"identity {judge.name}": np.sum(judge.embed(images, points) * judge.embed(right, points), axis=-1)
        for judge in judges
    }
    found["psnr"] = 10 * np.log10(4.0 / squared.mean(axis=(1, 2, 3)))
    found["psnr face"] = 10 * np.log10(4.0 / ((face * squared).sum(axis=(1, 2, 3)) / (3 * face.sum(axis=(1, 2, 3)))))
    measure = jax.jit(perceptual_distance)
    found["lpips"] = np.concatenate(
        [np.asarray(measure(perceptual, images[i : i + 1], right[i : i + 1])) for i in range(len(images))]
    )
    return found
