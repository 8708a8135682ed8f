"""Fitting the ID embedding of one person to photographs."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Float

from idfsr_jax.config import Config
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.method.examples import Frozen
from idfsr_jax.method.fit import Album, fit, make_album
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.model import Model
from idfsr_jax.networks.recognisers import Recognisers, dimensions
from idfsr_jax.restore.conditions import PLACES, tables_of
from idfsr_jax.runtime.programs import kept_jit


def fit_person(
    model: Model,
    recognisers: Recognisers,
    crops: Sequence[FaceCrop],
    units: Float[np.ndarray, "k d"],
    config: Config,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    weights: Float[np.ndarray, " k"] | None = None,
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"], Float[np.ndarray, " steps"]]:
    """Fits one person; the model's weights do not change.

    Args:
      model: the model.
      recognisers: its.
      crops: 1 to 20 photographs.
      units: unit vectors of each by all recognisers.
      config: the model's; `config.fit` says how to fit.
      progress: called with (step, loss) when all is done.
      weights: how much each photograph counts in the mean where the fit starts; all alike if not given.

    Returns:
      Where the fit started, what was fitted, and the loss of every step.
    """
    sizes = dimensions(recognisers)
    start = unit_parts(np.average(units, axis=0, weights=weights), sizes)
    if config.fit.steps == 0:
        return start, start, np.zeros(0, np.float32)
    album = album_of(crops, units, sizes, config)
    # Nothing is drawn in front of these faces, which would take half a minute more to compile.
    config = replace(config, data=replace(config.data, covered=0.0))
    begin, frozen = jax.device_put(start), frozen_of(model, recognisers)
    fitted, losses = jax.device_get(_fit(begin, album, model.denoiser, frozen, config))
    progress(len(losses), float(losses[-1]))
    return start, fitted, losses


_fit = kept_jit(fit, static_argnames="config")


def album_of(
    crops: Sequence[FaceCrop], units: Float[np.ndarray, "k d"], sizes: tuple[int, ...], config: Config
) -> Album:
    """The photographs as a fit sees them, filled up to one length."""
    return make_album(
        np.stack([resize_crop(crop.image, config.data.size) for crop in crops]),
        np.stack([crop.landmarks for crop in crops]),
        np.stack([crop.frame for crop in crops]),
        units,
        sizes,
        config.model.references,
        length=PLACES,
    )


def frozen_of(model: Model, recognisers: Recognisers) -> Frozen:
    """What fitting reads and never changes; of training people, who are strangers here, it knows none."""
    return Frozen(
        landmark_net=jax.device_put(model.landmark_net),
        recognisers=recognisers,
        center=jax.device_put(model.center),
        people=jax.device_put(np.zeros((1, model.center.shape[0]), np.float32)),
        perceptual=jax.device_put(read_lpips("alexnet")),
        tables=jax.device_put(tables_of(model.config.data.size)),
        autoencoder=model.autoencoder,
    )
