"""Landmarks: what LandmarkNet finds in LR pictures, what dlib finds in results, and how far expressions differ."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idfsr_jax.evaluation.metrics import landmark_nme
from idfsr_jax.evaluation.protocol import CLEAN
from idfsr_jax.evaluation.statistics import summary
from idfsr_jax.evaluation.study import Case, Study, cases_of, low_resolution
from idfsr_jax.face import find_faces
from idfsr_jax.io.images import to_uint8
from idfsr_jax.method.landmarks import MOUTH, estimate_landmarks, expression_errors, person_shape
from idfsr_jax.method.references import nearest_first
from idfsr_jax.restore.restorer import Restorer

_BATCH = 64
LEAST_DISTANCE = 0.1
"""Distance of two mouths, in eye distances, from which on they are different expressions."""
_SEEN_SIDE = 256
"""Side to which crops are enlarged for dlib's detector, which sees no face of less than 80 px."""
_estimate = jax.jit(estimate_landmarks, static_argnames="config")


def estimated_landmarks(restorer: Restorer, study: Study, cases: Sequence[Case]) -> Float[np.ndarray, "b 68 2"]:
    """LandmarkNet's points on the LR pictures of cases of one scale, told the persons' shapes; unit coordinates."""
    given = low_resolution(study, cases)
    shapes = [person_shape(study.index.landmarks[study.records(case.person.photographs)]) for case in cases]
    n, known = jnp.asarray(given.n), jnp.ones(len(cases))
    points = _estimate(
        restorer.model.landmark_net, given.y_up, n, jnp.asarray(np.stack(shapes)), known, restorer.config.landmarks
    )
    return np.asarray(points)


def landmark_errors(restorer: Restorer, study: Study) -> dict[str, Any]:
    """LandmarkNet's mean error against dlib in eye distances by scale, on clean LR pictures, with 95% intervals."""
    errors = {}
    for scale in study.protocol.scales:
        cases = cases_of(study.protocol, scale, CLEAN)
        values: list[float] = []
        for start in range(0, len(cases), _BATCH):
            chunk = cases[start : start + _BATCH]
            points = estimated_landmarks(restorer, study, [*chunk, *[chunk[-1]] * (_BATCH - len(chunk))])
            truth = study.index.landmarks[study.records([case.photo for case in chunk])]
            values += landmark_nme(points[: len(chunk)], truth).tolist()
        found = summary(values, [case.person.name for case in cases])
        errors[f"{scale:g}"] = {"mean": found["mean"], "interval": found["interval"], "photographs": found["count"]}
    return errors


def seen_landmarks(images: Float[np.ndarray, "b s s 3"]) -> Float[np.ndarray, "b 68 2"]:
    """The landmarks that dlib finds in results in [-1, 1], unit coordinates; NaN where it finds no face."""
    rung = max(0, round(np.log2(_SEEN_SIDE / images.shape[1])))
    points = np.full((len(images), 68, 2), np.nan, np.float32)
    for place, image in enumerate(to_uint8(images)):
        faces = find_faces(image, ladder=(rung,))
        if faces:
            points[place] = faces[0].landmarks / np.float32(image.shape[0])
    return points


def expression_distances(
    first: Float[np.ndarray, "b 68 2"], second: Float[np.ndarray, "b 68 2"]
) -> Float[np.ndarray, " b"]:
    """Mean distance of the mouth's points, in eye distances of the second.

    The faces are laid on one another by the points that no expression moves. Lids move so little that of them mostly
    the detector's errors would be counted.
    """
    errors = expression_errors(jnp.asarray(first), jnp.asarray(second))
    return np.asarray(errors[:, jnp.asarray(MOUTH)].mean(axis=1))


def expression_kept(
    seen: Float[np.ndarray, "b 68 2"], cases: Sequence[Case], study: Study, photographs: int
) -> Float[np.ndarray, " b"]:
    """1 where a result's expression is nearer to the truth's than to the nearest reference's, 0 where it is not.

    That reference is the one of the person's first photographs nearest to the truth in pose and expression. Where its
    expression is the truth's (`LEAST_DISTANCE`) nothing is to be told: NaN. A result without a face counts as 0.

    Args:
      seen: `seen_landmarks` of the results.
      cases: what they restore.
      study: holds the truth.
      photographs: how many of the person's count.
    """
    truth = study.index.landmarks[study.records([case.photo for case in cases])]
    others = [study.index.landmarks[study.records(case.person.photographs[:photographs])] for case in cases]
    nearest = np.stack([own[nearest_first(face, own)[0]] for face, own in zip(truth, others, strict=True)])
    # Both in the frame and the unit of what is compared with; NaN is nearer to nothing.
    kept = expression_distances(seen, truth) < expression_distances(seen, nearest)
    told = expression_distances(nearest, truth) >= LEAST_DISTANCE
    return np.where(told, kept, np.nan).astype(np.float32)
