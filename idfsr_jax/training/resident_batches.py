"""Where the batches of a run on a packed data set come from: the faces in device memory, by the step's own number."""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from idfsr_jax.config import Config, DataConfig
from idfsr_jax.data.pack import load_encoder, load_split
from idfsr_jax.data.resident import ResidentFaces, draw_batch, epoch_records, resident_faces
from idfsr_jax.errors import BadConfig
from idfsr_jax.networks.id_encoder import IdEncoder, require_kind
from idfsr_jax.runtime.randomness import step_key

_SHOWN = 8


def load_faces(
    pack: Path, config: Config
) -> tuple[ResidentFaces, dict[str, Array], IdEncoder | None, Float[np.ndarray, "d"]]:
    """Reads a pack: the training faces, a batch of val to look at, the encoder or None, and the identity centre.

    Raises:
      InputError: the pack is missing or damaged, or does not suit the configuration.
    """
    if config.train.steps * config.train.batch >= 2**31:
        raise BadConfig(f"train.steps={config.train.steps}: with this batch, more than 2^31 images; give fewer.")
    train = load_split(pack, config.data.train_split)
    require_kind(train.index.encoder, train.index.embeddings.shape[1], config.model, str(pack))
    faces = resident_faces(train, config.data.size)
    shown_from = resident_faces(load_split(pack, config.data.val_split), config.data.size)
    first = jnp.zeros((), jnp.int32)
    shown = jax.jit(lambda val: examples_of_step(val, config.data, 0, first, _SHOWN, "shown"))(shown_from)
    encoder = jax.tree.map(jnp.asarray, load_encoder(pack)) if config.train.identity_loss > 0 else None
    return faces, shown, encoder, train.index.embeddings.mean(0)


def examples_of_step(
    faces: ResidentFaces, config: DataConfig, seed: int, step: Int[Array, ""], batch: int, stream: str = "batch"
) -> dict[str, Array]:
    """The batch of a step, a function of (seed, stream, step) alone; see `draw_batch`."""
    order = step_key(seed, f"{stream}-order", 0)
    target = epoch_records(order, step, batch, faces.images.shape[0])
    return draw_batch(step_key(seed, stream, step), faces, target, config)


class ResidentBatches:
    """The faces, again and again: a step draws its batch from them by its own number, so there is no position."""

    def __init__(self, faces: ResidentFaces, share: Callable[[], float] = lambda: 1.0) -> None:
        """`share` says which share of the learning rate the next step takes."""
        self._faces, self._share = faces, share

    def __next__(self) -> tuple[ResidentFaces, Float[Array, ""]]:
        return self._faces, jnp.asarray(self._share(), jnp.float32)

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        pass


class LandmarkBatches:
    """Batches for LandmarkNet, drawn on the device."""

    def __init__(self, faces: ResidentFaces, config: Config) -> None:
        size, seed = config.landmarks.batch, config.train.seed
        self._faces, self._step = faces, 0

        def draw(faces: ResidentFaces, step: Int[Array, ""]) -> dict[str, Array]:
            drawn = examples_of_step(faces, config.data, seed, step, size, "landmark-batch")
            return {name: drawn[name] for name in ("target", "target_landmarks")}

        self._draw = jax.jit(draw)

    def __iter__(self) -> "LandmarkBatches":
        return self

    def __next__(self) -> dict[str, Array]:
        batch = self._draw(self._faces, jnp.asarray(self._step, jnp.int32))
        self._step += 1
        return batch


def cooling(deadline: float, minutes: float) -> Callable[[], float]:
    """The share of the learning rate by the clock: 1, then linearly down to 1% over the last minutes.

    How far a machine gets in its time is not known beforehand, and a model that was not cooled down is a poor one.

    Args:
      deadline: on `time.monotonic`'s clock.
      minutes: how long it takes; 0 is no cooling.
    """
    if minutes <= 0:
        return lambda: 1.0
    return lambda: float(min(1.0, max(0.01, (deadline - time.monotonic()) / (60 * minutes))))
