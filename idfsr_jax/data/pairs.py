"""Which photographs stand beside a target: its style reference and those that its identity is taken from."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from idfsr_jax.config import ReferenceMixture
from idfsr_jax.errors import BadConfig
from idfsr_jax.method.references import nearest_first

SIMILAR_POSES = 16
"""Of so many people's photographs nearest in pose one is drawn as `other`."""

MOST_EMBEDDED = 5
"""Photographs at most whose mean descriptor stands for a person."""

ReferenceKind = Literal["same", "other", "own"]
_KINDS: tuple[ReferenceKind, ...] = ("same", "other", "own")


def nearest_in_pose(landmarks: Float[np.ndarray, "68 2"], candidates: Float[np.ndarray, "k 68 2"]) -> int:
    """Which of the candidates' landmarks lie closest to the given ones, up to shift and scale."""
    return int(nearest_first(landmarks, candidates)[0])


def nearest_others(
    shapes: Float[np.ndarray, "n d"], person: Int[np.ndarray, "n"], target: int, count: int = SIMILAR_POSES
) -> Int[np.ndarray, "m"]:
    """The records of other people whose shape is nearest to the target's, at most `count`, nearest first.

    One pass over all shapes (1 ms for 12,000), which spares a table that would grow with the square of the data.
    """
    distance = np.sum((shapes - shapes[target]) ** 2, axis=1)
    others = np.flatnonzero(person != person[target])
    if len(others) > count:
        others = others[np.argpartition(distance[others], count)[:count]]
    return others[np.argsort(distance[others], kind="stable")]


def reference_probabilities(mixture: ReferenceMixture) -> Float[np.ndarray, "3"]:
    """Probabilities of `same`, `other` and `own`.

    Raises:
      BadConfig: a weight is negative or not finite, or all are 0.
    """
    weights = np.array([mixture.same, mixture.other, mixture.own], np.float64)
    if not np.all(np.isfinite(weights)) or np.any(weights < 0) or weights.sum() <= 0:
        raise BadConfig(f"data.reference={weights.tolist()}: give weights of 0 or more, not all 0.")
    return weights / weights.sum()


def choose_reference(
    rng: np.random.Generator,
    target: int,
    person: Int[np.ndarray, "n"],
    members: Sequence[Int[np.ndarray, "_"]],
    shapes: Float[np.ndarray, "n d"],
    probabilities: Float[np.ndarray, "3"],
) -> tuple[ReferenceKind, int]:
    """Draws where a target's reference comes from, and the record.

    Args:
      rng: consumed.
      target: record.
      person: of each record.
      members: records of each person.
      shapes: `normalised_shapes` of all records.
      probabilities: of `same`, `other` and `own`. `same` falls back to `own` for people with one photograph; `other`
        falls back to `same`, then `own`, where there is nobody else.

    Returns:
      The kind actually used and the record: never the target under `same`, never the same person under `other`,
      always the target under `own`.
    """
    kind = _KINDS[rng.choice(3, p=probabilities)]
    if kind == "other":
        others = nearest_others(shapes, person, target)
        if len(others):
            return "other", int(rng.choice(others))
        kind = "same"
    if kind == "same":
        siblings = _siblings(target, members[person[target]])
        if len(siblings):
            return "same", int(rng.choice(siblings))
    return "own", target


def choose_embedded(
    rng: np.random.Generator, target: int, members: Int[np.ndarray, "m"], own: float
) -> Int[np.ndarray, "k"]:
    """Draws the records whose mean descriptor the model is given.

    Args:
      rng: consumed.
      target: record.
      members: all records of the target's person.
      own: probability that it is the target alone; else 1 to 5 other photographs of the person, all counts that there
        are being equally likely, or the target if it is the only one.
    """
    siblings = _siblings(target, members)
    if rng.random() < own or not len(siblings):
        return np.array([target])
    count = rng.integers(1, min(MOST_EMBEDDED, len(siblings)) + 1)
    return rng.choice(siblings, size=count, replace=False)


def _siblings(target: int, members: Int[np.ndarray, "m"]) -> Int[np.ndarray, "k"]:
    return members[members != target]
