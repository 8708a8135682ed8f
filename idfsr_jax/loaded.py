"""A loaded model: its networks on the devices, its face recogniser, and what they see in photographs."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, UInt8

from idfsr_jax.config import Config
from idfsr_jax.devices import data_mesh, everywhere
from idfsr_jax.errors import InputError
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.identity import Identity
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.networks.id_encoder import IdEncoder, encoder_of, require_encoder, unit_identity
from idfsr_jax.networks.recognisers import Recognisers, dimensions, load_recognisers, recognisers_name
from idfsr_jax.pictures import to_float
from idfsr_jax.recognition import likeness_at, photograph_descriptors
from idfsr_jax.training.fit import Album
from idfsr_jax.training.step import Frozen
from idfsr_jax.weights import Model

_REMEMBERED = 40
"""Photographs whose unit vectors are kept; a person has 20 at the most."""


@dataclass(frozen=True)
class LoadedModel:
    """A model with the ID encoder that it was trained with; what is done with it is `restorer.Restorer`.

    Networks are put on the devices, and the encoder is read, when they are first needed.
    """

    model: Model
    encoder_choice: str | None = None
    """The ID encoder, where it is not the one that the model's configuration names: "dlib" or "arcface:PATH"."""

    devices: int = 0
    """How many of this process's devices faces and people are spread over, where there are several; 0 means all."""

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The devices that are used, in a row.

        Raises:
          BadConfig: there are not that many.
        """
        return data_mesh(self.devices)

    @functools.cached_property
    def networks(self) -> tuple[Any, Any]:
        """Denoiser and autoencoder (None of pixels), on each of the devices."""
        return everywhere((self.model.denoiser, self.model.autoencoder), self.mesh)

    @functools.cached_property
    def encoder(self) -> IdEncoder:
        """The ID encoder, by which people are told apart; the first recogniser, where a model has several.

        Raises:
          InputError: it is missing or damaged, or is not the one that the model was trained with.
        """
        if self.config.model.recognisers:
            return self.recognisers[0]
        encoder = encoder_of(self.config.model, self.encoder_choice)
        remedy = "give the file that it was trained with by --encoder arcface:PATH"
        require_encoder(self.model.encoder, encoder.name, "The model", remedy)
        return encoder

    @functools.cached_property
    def recognisers(self) -> Recognisers:
        """All that the ID embedding of a model with `model.recognisers` is made of.

        Raises:
          BadConfig: they are not those that the model was trained with.
        """
        recognisers = load_recognisers(self.config.model.recognisers)
        require_encoder(self.model.encoder, recognisers_name(recognisers), "The model", "get its folder again")
        return recognisers

    @property
    def sizes(self) -> tuple[int, ...]:
        """Length of each recogniser's part of an identity."""
        return dimensions(self.recognisers)

    @property
    def likeness_center(self) -> Float[np.ndarray, " d"]:
        """Mean raw descriptor of the training people by `encoder`."""
        return self.model.center[: self.encoder.dimension]

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
        return photograph_descriptors(self.encoder, crops)

    def identities(self, crops: Sequence[FaceCrop]) -> Float[np.ndarray, "k d"]:
        """Unit identities of photographs by `encoder`, which tell people apart."""
        return np.asarray(unit_identity(jnp.asarray(self.descriptors(crops)), jnp.asarray(self.likeness_center)))

    def units(self, crops: Sequence[FaceCrop]) -> Float[np.ndarray, "k d"]:
        """Unit vectors of photographs by all recognisers, one after the other: what ID embeddings are means of."""
        return np.array([self._unit_of(crop) for crop in crops], np.float32).reshape(-1, sum(self.sizes))

    @functools.cached_property
    def _unit_of(self) -> Callable[[FaceCrop], Float[np.ndarray, " d"]]:
        """The unit vectors of one photograph, remembered: an album asks for the same ones at each of its pictures."""

        def unit_of(crop: FaceCrop) -> Float[np.ndarray, " d"]:
            found = [photograph_descriptors(recogniser, [crop]) for recogniser in self.recognisers]
            return unit_parts(np.concatenate(found, axis=1)[0] - self.model.center, self.sizes)

        return functools.lru_cache(maxsize=_REMEMBERED)(unit_of)

    def album(self, crops: Sequence[FaceCrop]) -> Album:
        """The photographs at the model's side, with their identities."""
        images = to_float(np.stack([resize_crop(crop.image, self.config.data.size) for crop in crops]))
        landmarks = jnp.asarray(np.stack([crop.landmarks for crop in crops]))
        return Album(images, landmarks, jnp.asarray(self.identities(crops)))

    def likeness(self, small: UInt8[np.ndarray, "n n 3"], crops: Sequence[FaceCrop]) -> float:
        """The cosine between a small face (a crop of `recognition.seen_side`) and photographs made as small."""
        return likeness_at(small, crops, self.encoder, self.model.landmark_net, self.likeness_center, self.config)

    def check_identity(self, identity: Identity, name: str | Path = "The identity") -> None:
        """Checks that an identity belongs to this model; a complaint calls it by the name given.

        Raises:
          InputError: it was fitted with another model or another ID encoder.
        """
        another = identity.model != self.model.digest or identity.encoder != self.model.encoder
        if another or identity.embedding.shape != self.model.center.shape:
            raise InputError(f"{name}: was fitted with another model; fit it again with this one.")
