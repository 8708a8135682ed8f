"""Distances between sets of pictures: all results of a method against all the truths."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from idfsr_jax.evaluation.judges import open_network
from idfsr_jax.evaluation.metrics import frechet_distance, kernel_distance
from idfsr_jax.evaluation.parts import Arrays, Unit
from idfsr_jax.evaluation.perceptual import vgg_features
from idfsr_jax.evaluation.study import Study
from idfsr_jax.io.images import to_float

INCEPTION_SIDE = 299

Features = Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, "n f"]]


def inception(path: str) -> Features:
    """The features of an Inception network that the user brings, for FID (Heusel et al. 2017).

    Which file it is decides whether the numbers compare with published ones: those come from the TensorFlow network of
    2015, its last pooling layer, 2048 features.

    Args:
      path: ONNX file of a network of [batch, 3, 299, 299] in [-1, 1].

    Raises:
      InputError: the file is missing or not such a network, or onnxruntime is not installed.
    """
    run = open_network(path, INCEPTION_SIDE, "an Inception network")
    side = INCEPTION_SIDE

    def features(images: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n f"]:
        enlarge = lambda image: jax.image.resize(to_float(image[None]), (1, side, side, 3), "bilinear")  # noqa: E731
        return np.concatenate([run(np.asarray(enlarge(image)).transpose(0, 3, 1, 2)) for image in images])

    return features


def distances_of_sets(
    results: Mapping[Unit, Arrays], study: Study, batch: int, seen: Features | None
) -> list[dict[str, Any]]:
    """An entry for each unit: `kid`, on VGG16 features, and `fid` where Inception is there; none of fewer people.

    Args:
      results: of each unit, with `images` and their `features`.
      study: whose photographs are the truths.
      batch: pictures at once.
      seen: of `inception`.
    """
    photos = [photo for person in study.protocol.people for photo in person.restored]
    truth = study.images[study.records(photos)]
    vgg, of_truth = _vgg(truth, batch), None if seen is None else seen(truth)
    entries = []
    for unit, part in results.items():
        entry: dict[str, Any] = {"method": unit.method.name, "scale": unit.scale, "degradation": unit.degradation}
        everybody = len(truth) > 1 and not unit.method.least
        if everybody:
            entry["kid"] = 1000.0 * kernel_distance(part["features"], vgg)
        if seen is not None and of_truth is not None and everybody:
            entry["fid"] = frechet_distance(seen(part["images"]), of_truth)
        entries.append(entry)
    return entries


def _vgg(images: UInt8[np.ndarray, "n s s 3"], batch: int) -> Float[np.ndarray, "n f"]:
    """In batches of one size, so that a single compiled program serves all."""
    features = []
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        filled = np.concatenate([chunk, np.repeat(chunk[-1:], batch - len(chunk), axis=0)])
        features.append(np.asarray(vgg_features(jnp.asarray(to_float(filled))))[: len(chunk)])
    return np.concatenate(features)
