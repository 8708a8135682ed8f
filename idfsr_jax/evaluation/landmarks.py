"""How well LandmarkNet sees: its error against dlib on the photographs of a split, at every scale."""

from typing import Any

import numpy as np

from idfsr_jax.data.degrade import area_downsample, bicubic_upsample, quantise
from idfsr_jax.evaluation.metrics import bootstrap_interval, landmark_nme
from idfsr_jax.evaluation.study import Study
from idfsr_jax.pictures import to_float
from idfsr_jax.recognition import locate
from idfsr_jax.restorer import Restorer

_BATCH = 64


def predicted_landmarks(restorer: Restorer, study: Study, records: list[int], scale: int) -> np.ndarray:
    """LandmarkNet's points on clean LR pictures of photographs, unit coordinates, [n, 68, 2]."""
    images = to_float(study.images[records])
    y_up = bicubic_upsample(quantise(area_downsample(images, scale)), study.size)
    n = np.float32(study.size // scale)
    return np.asarray(locate(restorer.model.landmark_net, y_up, n, restorer.config))


def landmark_errors(restorer: Restorer, study: Study) -> dict[str, Any]:
    """Mean error in eye distances by scale, over all photographs of the protocol's people, with 95% intervals."""
    people = [(plan.name, photo) for plan in study.protocol.people for photo in plan.restored + plan.photographs]
    names = np.array([name for name, _ in people])
    records = study.records([photo for _, photo in people])
    errors: dict[str, Any] = {}
    for scale in restorer.config.data.scales:
        values = []
        for start in range(0, len(records), _BATCH):
            chunk = records[start : start + _BATCH]
            points = predicted_landmarks(restorer, study, [*chunk, *[chunk[-1]] * (_BATCH - len(chunk))], scale)
            values.append(landmark_nme(points[: len(chunk)], study.index.landmarks[chunk]))
        nme = np.concatenate(values)
        low, high = bootstrap_interval(nme, names, resamples=2_000)
        errors[f"{scale}"] = {"mean": float(nme.mean()), "interval": [low, high], "photographs": len(nme)}
    return errors
