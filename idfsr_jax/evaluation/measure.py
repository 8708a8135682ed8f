"""Measuring a batch of results: every metric of `metrics.py` and every judge, one number per picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from skimage.metrics import peak_signal_noise_ratio

from idfsr_jax.evaluation.judges import Judge
from idfsr_jax.evaluation.landmarks import expression_distances, expression_kept, seen_landmarks
from idfsr_jax.evaluation.metrics import copy_paste, inside_only, landmark_nme, lr_consistency_psnr, psnr, ssim
from idfsr_jax.evaluation.perceptual import lpips, vgg_features
from idfsr_jax.evaluation.protocol import CLEAN
from idfsr_jax.evaluation.study import Case, Study, degraded, low_resolution, truths
from idfsr_jax.io.images import to_float
from idfsr_jax.method.mask import face_mask

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


def truth_features(study: Study, batch: int) -> Float[np.ndarray, "n f"]:
    """VGG features of all photographs that are restored, which those of a method's results are compared with."""
    truth = study.images[study.records([photo for person in study.protocol.people for photo in person.restored])]
    rows = [np.asarray(vgg_features(to_float(truth[places]))) for places in _batches(len(truth), batch)]
    return np.concatenate(rows)[: len(truth)]


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
    mask = face_mask(jnp.asarray(landmarks), study.size)
    scores = {"psnr": np.asarray(psnr(results, truth)), "psnr_face": np.asarray(psnr(results, truth, mask))}
    scores["ssim"], scores["ssim_face"] = ssim(images, np.asarray(truth), np.asarray(mask))
    inside = inside_only(results, truth, mask)
    *by_alexnet, _ = lpips("alexnet", results, truth, inside)
    *by_vgg, features = lpips("vgg16", results, truth, inside)
    names = ("lpips_alex", "lpips_alex_face", "lpips_vgg", "lpips_vgg_face")
    scores |= {name: np.asarray(values) for name, values in zip(names, (*by_alexnet, *by_vgg), strict=True)}
    scores["lr_psnr"] = _lr_psnr(results, cases, study)
    for name in ("psnr", "psnr_face", "lr_psnr"):
        scores[name] = np.minimum(scores[name], MOST_PSNR)
    for real in judges:
        vectors = real.judge.embed(images, landmarks)
        scores |= identity_scores(vectors, cases, study, real, photographs)
    seen = seen_landmarks(images)
    scores["landmark_error"] = np.asarray(landmark_nme(seen, landmarks), np.float32)
    scores["expression_error"] = expression_distances(seen, landmarks)
    scores["expression_kept"] = expression_kept(seen, cases, study, photographs)
    return scores, np.asarray(features)


def identity_scores(
    vectors: Float[np.ndarray, "b d"], cases: Sequence[Case], study: Study, real: RealVectors, photographs: int
) -> dict[str, Float[np.ndarray, " b"]]:
    """What a judge says of results, by the unit vectors that it gives them.

    Cosines to the truth; to the photographs of the person that the method had, on average; and to the mean of another
    person's, the one of `study.partners`, which should be much higher with that person's identity in place of
    the own. And `copy_paste`, of the photographs that the method had.
    """
    rows = []
    for vector, case in zip(vectors, cases, strict=True):
        truth = real.vectors[study.record[case.photo]]
        album, other = (
            real.vectors[study.records(each.photographs[:photographs])]
            for each in (case.person, study.partners[case.person.name])
        )
        mean = other.mean(axis=0)
        alone = study.partners[case.person.name] == case.person  # Of one person there is no other.
        to_other = np.nan if alone else vector @ mean / np.linalg.norm(mean)
        rows.append((vector @ truth, (album @ vector).mean(), copy_paste(vector, truth, album), to_other))
    names = ("identity", "identity_album", "copy_paste", "identity_other")
    columns = np.asarray(rows, np.float32).T
    return {f"{name}/{real.judge.name}": column for name, column in zip(names, columns, strict=True)}


def _lr_psnr(results: Float[Array, "b s s 3"], cases: Sequence[Case], study: Study) -> Float[np.ndarray, " b"]:
    """PSNR in dB between the LR pictures and what results are when degraded as they were."""
    y = low_resolution(study, cases).y
    if cases[0].degradation == CLEAN:
        # Compared before rounding to 8 bit, which would make most results look exact.
        return np.asarray(lr_consistency_psnr(results, to_float(np.stack(y))))
    again = degraded(results, cases).y
    with np.errstate(divide="ignore"):  # equal pictures
        return np.array([peak_signal_noise_ratio(*pair) for pair in zip(y, again, strict=True)], np.float32)


def _batches(count: int, batch: int) -> list[np.ndarray]:
    """Positions in batches of one length; the last is filled up with the last position."""
    return [np.minimum(np.arange(start, start + batch), count - 1) for start in range(0, count, batch)]
