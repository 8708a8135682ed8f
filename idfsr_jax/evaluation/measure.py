"""Measuring a batch of results: every metric of `metrics.py` and every judge, one number per picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.evaluation.judges import Judge
from idfsr_jax.evaluation.metrics import (
    inside_only,
    landmark_nme,
    lr_consistency_psnr,
    psnr,
    ssim,
)
from idfsr_jax.evaluation.people import stranger
from idfsr_jax.evaluation.perceptual import lpips, lpips_vgg_and_features
from idfsr_jax.evaluation.study import Case, Study, degraded, low_resolution, truths
from idfsr_jax.face import find_faces
from idfsr_jax.method.landmarks import MOUTH, expression_errors
from idfsr_jax.method.references import nearest_first
from idfsr_jax.models.mask import face_mask
from idfsr_jax.pictures import to_float, to_uint8

MOST_PSNR = 100.0
"""PSNR of equal pictures, which would be infinite, is reported as this, dB."""


@dataclass(frozen=True)
class RealVectors:
    """The unit vectors that one judge gives the real photographs of a study, in the order of its index."""

    judge: Judge
    vectors: Float[np.ndarray, "n d"]


def real_vectors(judge: Judge, study: Study, batch: int) -> RealVectors:
    """Shows a judge every photograph of the split, at the model's side: what the results are compared with."""
    rows = []
    for records in _batches(len(study.images), batch):
        images = np.asarray(to_float(study.images[records]))
        rows.append(judge.embed(images, study.index.landmarks[records]))
    return RealVectors(judge, np.concatenate(rows)[: len(study.images)])


def measure(
    images: Float[np.ndarray, "b s s 3"],
    cases: Sequence[Case],
    study: Study,
    judges: Sequence[RealVectors],
    photographs: int,
) -> tuple[dict[str, Float[np.ndarray, " b"]], Float[np.ndarray, "b f"]]:
    """Every metric of results of one scale and degradation.

    The face region is the soft mask of the true landmarks, the same for every method.

    Args:
      images: the results, 8 bit in [-1, 1].
      cases: what they restore.
      study: holds the truth.
      judges: with their vectors of the real photographs.
      photographs: those of the person that the method had, at the most.

    Returns:
      Values by metric (NaN where dlib finds no face for the landmark error), and VGG features for set distances.
    """
    records = study.records([case.photo for case in cases])
    truth, results = truths(study, cases), jnp.asarray(images)
    landmarks = study.index.landmarks[records]
    scores = {name: np.asarray(values) for name, values in _pixels(results, truth, jnp.asarray(landmarks)).items()}
    inside = inside_only(results, truth, face_mask(jnp.asarray(landmarks), study.size))
    scores["lpips_alex"], scores["lpips_alex_face"] = (np.asarray(lpips(x, truth)) for x in (results, inside))
    *distances, features = (np.asarray(x) for x in lpips_vgg_and_features(results, truth, inside))
    scores["lpips_vgg"], scores["lpips_vgg_face"] = distances
    y = low_resolution(study, cases)
    # Clean block means are compared before rounding to 8 bit, which would make most results look exact.
    area = cases[0].degradation == "area"
    scores["lr_psnr"] = np.asarray(lr_consistency_psnr(results, y) if area else psnr(degraded(results, cases), y))
    for name in ("psnr", "psnr_face", "lr_psnr"):
        scores[name] = np.minimum(scores[name], MOST_PSNR)
    for real in judges:
        vectors = real.judge.embed(images, landmarks)
        scores[f"identity/{real.judge.name}"] = np.sum(vectors * real.vectors[records], axis=1)
        scores[f"identity_album/{real.judge.name}"] = album_cosines(vectors, cases, study, real, photographs)
        scores[f"identity_other/{real.judge.name}"] = stranger_cosines(vectors, cases, study, real, photographs)
    seen = seen_landmarks(images)
    scores["landmark_error"] = np.asarray(landmark_nme(seen, landmarks), np.float32)
    scores["mouth_error"] = mouth_distances(seen, landmarks)
    scores["mouth_nearer"] = mouth_nearer(scores["mouth_error"], cases, study, photographs)
    return scores, features


def album_cosines(
    vectors: Float[np.ndarray, "b d"], cases: Sequence[Case], study: Study, real: RealVectors, photographs: int
) -> Float[np.ndarray, " b"]:
    """Mean cosine of each result to the photographs of the person that the method had."""
    own = [real.vectors[study.records(case.person.photographs[:photographs])] for case in cases]
    means = [float((vector @ album.T).mean()) for vector, album in zip(vectors, own, strict=True)]
    return np.asarray(means, np.float32)


def stranger_cosines(
    vectors: Float[np.ndarray, "b d"], cases: Sequence[Case], study: Study, real: RealVectors, photographs: int
) -> Float[np.ndarray, " b"]:
    """Cosine of each result to the mean of another person's photographs, the one of `people.stranger`.

    The swap test: with that person's identity in place of the own it should be much higher.
    """
    means = [
        real.vectors[study.records(stranger(study.protocol, case.person)[:photographs])].mean(axis=0) for case in cases
    ]
    units = np.stack([mean / np.linalg.norm(mean) for mean in means])
    return np.sum(vectors * units, axis=1).astype(np.float32)


LEAST_MOUTH_DISTANCE = 0.1
"""Distance of two mouths, in eye distances, from which on they show different expressions."""


def mouth_distances(seen: Float[np.ndarray, "b 68 2"], truth: Float[np.ndarray, "b 68 2"]) -> Float[np.ndarray, " b"]:
    """Mean distance of the mouth's points, the faces laid on one another by eyes and nose, in eye distances."""
    errors = expression_errors(jnp.asarray(seen), jnp.asarray(truth))
    return np.asarray(errors[:, jnp.asarray(MOUTH)].mean(axis=1))


def mouth_nearer(
    errors: Float[np.ndarray, " b"], cases: Sequence[Case], study: Study, photographs: int
) -> Float[np.ndarray, " b"]:
    """1 where the result's mouth is nearer to the truth's than that of the reference nearest in pose and expression.

    0 where it is not, or where no face was found in the result; NaN where that reference's mouth is as the truth's
    (`LEAST_MOUTH_DISTANCE`), so that nothing is to be told.
    """
    values = []
    for error, case in zip(errors, cases, strict=True):
        truth = study.index.landmarks[study.record[case.photo]]
        others = study.index.landmarks[study.records(case.person.photographs[:photographs])]
        nearest = others[nearest_first(truth, others)[0]]
        distance = float(mouth_distances(nearest[None], truth[None])[0])
        values.append(np.nan if distance < LEAST_MOUTH_DISTANCE else float(error < distance))
    return np.asarray(values, np.float32)


@jax.jit
def _pixels(
    results: Float[Array, "b s s 3"], truth: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"]
) -> dict[str, Float[Array, " b"]]:
    mask = face_mask(landmarks, truth.shape[1])
    return {
        "psnr": psnr(results, truth),
        "psnr_face": psnr(results, truth, mask),
        "ssim": ssim(results, truth),
        "ssim_face": ssim(results, truth, mask),
    }


_SEEN_SIDE = 256
"""Side to which crops are enlarged for dlib's detector, which sees no face of less than 80 px."""


def seen_landmarks(images: Float[np.ndarray, "b s s 3"]) -> Float[np.ndarray, "b 68 2"]:
    """The landmarks that dlib finds in results in [-1, 1], unit coordinates; NaN where it finds no face."""
    rung = max(0, round(np.log2(_SEEN_SIDE / images.shape[1])))
    points = np.full((len(images), 68, 2), np.nan, np.float32)
    for place, image in enumerate(to_uint8(images)):
        faces = find_faces(image, ladder=(rung,))
        if faces:
            points[place] = faces[0].landmarks / np.float32(image.shape[0])
    return points


def _batches(count: int, batch: int) -> list[np.ndarray]:
    """Positions in batches of one length; the last is filled up with the last position."""
    return [np.minimum(np.arange(start, start + batch), count - 1) for start in range(0, count, batch)]
