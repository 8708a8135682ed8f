"""Restorer: load a model, fit a person, restore a picture. The only place where all parts meet at use time."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from idfsr_jax.config import Config, FitConfig
from idfsr_jax.data.degrade import bicubic_upsample
from idfsr_jax.data.pairs import nearest_in_pose
from idfsr_jax.errors import InputError
from idfsr_jax.face import FaceCrop, crop_face, resize_crop
from idfsr_jax.identity import Identity
from idfsr_jax.models.condition import Condition, make_condition, repeat
from idfsr_jax.models.id_encoder import IdEncoder, descriptors_of, encoder_of, require_encoder, unit_identity
from idfsr_jax.models.landmark_net import estimate_landmarks
from idfsr_jax.picture import LowResolutionFace, find_low_resolution_face
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.restoration import Restoration
from idfsr_jax.sampling import restore_crops
from idfsr_jax.training.fit import Album, fit_identity, mean_identity
from idfsr_jax.training.step import Frozen
from idfsr_jax.weights import Model, load_model

_ENCODER_SIDE = 256
_estimate_landmarks = jax.jit(estimate_landmarks, static_argnames="config")
MAX_PHOTOGRAPHS = 20


@dataclass(frozen=True)
class Restorer:
    """A loaded model with the ID encoder.

    `Restorer.load()`, then `fit(photos)` for a person, then `restore(picture, identity, photos)` for each picture.
    """

    model: Model
    encoder_choice: str | None = None
    """The ID encoder, where it is not the one that the model's configuration names: "dlib" or "arcface:PATH"."""

    @classmethod
    def load(cls, weights: str | Path | None = None, encoder: str | None = None) -> "Restorer":
        """Loads a model folder, or the model that ships with the package.

        Args:
          weights: the folder.
          encoder: "arcface:PATH" where an ArcFace model's recogniser lies elsewhere than it did in training.

        Raises:
          BadWeights: the folder holds no model, or a damaged one.
        """
        return cls(load_model(None if weights is None else Path(weights)), encoder)

    @functools.cached_property
    def encoder(self) -> IdEncoder:
        """The ID encoder, which fitting needs and restoring does not.

        Raises:
          InputError: it is missing or damaged, or is not the one that the model was trained with.
        """
        encoder = encoder_of(self.config.model, self.encoder_choice)
        remedy = "give the file that it was trained with by --encoder arcface:PATH"
        require_encoder(self.model.encoder, encoder.name, "The model", remedy)
        return encoder

    @property
    def config(self) -> Config:
        """How the model was trained."""
        return self.model.config

    @property
    def frozen(self) -> Frozen:
        """What fitting reads and never changes."""
        return Frozen(self.model.landmark_net, self.encoder, jnp.asarray(self.model.center))

    def descriptors(self, crops: Sequence[FaceCrop]) -> Float[np.ndarray, "k d"]:
        """Raw descriptors of photographs, as `idfsr prepare` computes them."""
        images = to_float(np.stack([resize_crop(crop.image, _ENCODER_SIDE) for crop in crops]))
        landmarks = np.stack([crop.landmarks for crop in crops])
        # One at a time: a single compiled shape, whatever the number of photographs.
        describe = jax.jit(descriptors_of)
        rows = [describe(self.encoder, images[i : i + 1], landmarks[i : i + 1])[0] for i in range(len(crops))]
        return np.asarray(rows)

    def album(self, crops: Sequence[FaceCrop]) -> Album:
        """The photographs at the model's side, with their identities."""
        images = to_float(np.stack([resize_crop(crop.image, self.config.data.size) for crop in crops]))
        landmarks = jnp.asarray(np.stack([crop.landmarks for crop in crops]))
        identities = unit_identity(jnp.asarray(self.descriptors(crops)), jnp.asarray(self.model.center))
        return Album(images, landmarks, identities)

    def fit(
        self,
        photos: Sequence[str | Path | FaceCrop],
        *,
        config: FitConfig | None = None,
        progress: Callable[[int, float], None] = lambda step, loss: None,
    ) -> Identity:
        """Fits the identity of one person; the model's weights do not change.

        Args:
          photos: 1 to 20 photographs with one face each, as files or as crops.
          config: how to fit; the model's own choice by default.
          progress: called with (step, loss) after every step.

        Raises:
          InputError: too few or too many photographs, or one of them cannot be used; the sentence names it.
        """
        if not 1 <= len(photos) <= MAX_PHOTOGRAPHS:
            raise InputError(f"{len(photos)} photographs were given to fit; give 1 to {MAX_PHOTOGRAPHS} of one person.")
        crops = read_crops(photos)
        album = self.album(crops)
        start = mean_identity(album.identities)
        settings = replace(self.config, fit=config or self.config.fit)
        model = self.model
        fitted, losses = fit_identity(
            start,
            album,
            model.denoiser,
            self.frozen,
            settings,
            progress,  # type: ignore[arg-type]
        )
        curve = np.asarray(losses, np.float32)
        return Identity(fitted, np.asarray(start), curve, len(crops), model.encoder, model.digest)

    def restore(
        self,
        picture: str | Path | np.ndarray,
        identity: Identity,
        photos: Sequence[str | Path | FaceCrop],
        *,
        box: tuple[int, int, int, int] | None = None,
        scale: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        variants: int = 1,
        consistency: float | None = None,
        guidance: float | None = None,
        truth: UInt8[np.ndarray, "s s 3"] | None = None,
    ) -> Restoration:
        """Restores the small face in a picture.

        Args:
          picture: an aligned LR crop (square, 4 to 64 px), or a photograph with a small face; a file or uint8 RGB.
          identity: of `fit`, or of a file.
          photos: photographs of the person; the one nearest in pose becomes the style reference.
          box: x, y, width, height of the face in a photograph, if it is not to be looked for.
          scale: down-sampling factor s; by default the one that fits the face's size best.
          steps: sampling steps.
          seed: of the noise; the same seed gives the same picture.
          variants: how many samples to draw.
          consistency: strength of the projection onto pictures that down-sample to the input, 0 to 1; the model's own
            choice by default.
          guidance: classifier-free guidance weight.
          truth: the true crop where it is known, for the sheet.

        Raises:
          InputError: a picture cannot be used, or the identity belongs to another model.
        """
        config = self._sampling_config(steps, guidance)
        strength = config.sample.consistency if consistency is None else consistency
        self._check(identity, photos, variants, strength)
        face = find_low_resolution_face(picture, config, self.model.landmark_net, box=box, scale=scale)
        crops = read_crops(photos)
        condition, reference = self.condition(face, identity.embedding, crops)
        key = jax.random.key(seed)
        y = to_float(face.y[None])
        sample = partial(
            restore_crops,
            config=config,
            low_resolution=jnp.repeat(y, variants, axis=0) if strength > 0 else None,
            consistency=strength,
        )
        fitted = sample(self.model.denoiser, repeat(condition, variants), key)
        start = condition.replace(identity=jnp.asarray(identity.start)[None])  # type: ignore[attr-defined]
        return Restoration(
            face=face,
            images=[to_uint8(image) for image in fitted],
            condition=condition,
            reference=reference.image,
            unfitted=lambda: to_uint8(sample(self.model.denoiser, repeat(start, variants), key)[0]),
            metadata=_provenance(self.model, identity, seed, config, strength),
            truth=truth,
        )

    def condition(
        self, face: LowResolutionFace, embedding: Float[np.ndarray, " d"], crops: Sequence[FaceCrop]
    ) -> tuple[Condition, FaceCrop]:
        """The condition of one LR face, and the photograph that was chosen as its reference.

        The reference is the photograph whose landmarks, moved and scaled onto those of the LR face, lie closest.
        """
        size = self.config.data.size
        y = to_float(face.y[None])
        y_up = bicubic_upsample(y, size)
        landmarks = _estimate_landmarks(self.model.landmark_net, y_up, self.config.landmarks)
        reference = crops[nearest_in_pose(np.asarray(landmarks[0]), np.stack([crop.landmarks for crop in crops]))]
        condition = make_condition(
            y_up,
            landmarks,
            to_float(resize_crop(reference.image, size))[None],
            jnp.asarray(reference.landmarks)[None],
            jnp.asarray(embedding)[None],
            jnp.full((1,), size / face.y.shape[0], jnp.float32),
            self.config.model,
        )
        return condition, reference

    def check_identity(self, identity: Identity, name: str | Path = "The identity") -> None:
        """Checks that an identity belongs to this model; a complaint calls it by the name given.

        Raises:
          InputError: it was fitted with another model or another ID encoder.
        """
        another = identity.model != self.model.digest or identity.encoder != self.model.encoder
        if another or identity.embedding.shape != self.model.center.shape:
            raise InputError(f"{name}: was fitted with another model; fit it again with this one.")

    def _check(self, identity: Identity, photos: Sequence[Any], variants: int, consistency: float) -> None:
        if not photos:
            raise InputError("No photograph of the person was given; restoring needs at least one as its reference.")
        self.check_identity(identity)
        if variants < 1 or not 0.0 <= consistency <= 1.0:
            raise InputError(
                f"variants={variants}, consistency={consistency}: give 1 or more, and a number from 0 to 1."
            )

    def _sampling_config(self, steps: int | None, guidance: float | None) -> Config:
        sample = self.config.sample
        sample = replace(
            sample,
            steps=sample.steps if steps is None else steps,
            guidance=sample.guidance if guidance is None else guidance,
        )
        return replace(self.config, sample=sample)


def read_crops(photos: Sequence[str | Path | FaceCrop]) -> list[FaceCrop]:
    """Crops of photographs with one face each; crops pass through.

    Raises:
      InputError: a photograph cannot be read, or has no face or several.
    """
    return [photo if isinstance(photo, FaceCrop) else crop_face(photo, rule="only") for photo in photos]


def _provenance(model: Model, identity: Identity, seed: int, config: Config, consistency: float) -> dict[str, str]:
    """What every written picture says about itself."""
    return {
        "Software": "idfsr-jax",
        "Description": "The face in this picture is synthesised from reference photographs by idfsr-jax; "
        "it is no evidence.",
        "idfsr:model": model.digest,
        "idfsr:identity": identity.digest,
        "idfsr:seed": str(seed),
        "idfsr:sampler": f"{config.sample.sampler}, {config.sample.steps} steps, "
        f"guidance {config.sample.guidance:g}, temperature {config.sample.temperature:g}",
        "idfsr:consistency": f"{consistency:g}",
    }
