"""A loaded model: its networks on the devices, its face recogniser, and what they see in photographs."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float32, UInt8

from idfsr_jax.config import Config
from idfsr_jax.face import FaceCrop
from idfsr_jax.io.errors import InputError
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import turn
from idfsr_jax.method.model import Model
from idfsr_jax.networks.id_encoder import IdEncoder, require_encoder
from idfsr_jax.networks.recognisers import Recognisers, dimensions, load_recognisers, recognisers_name
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.likeness import Likeness
from idfsr_jax.restore.photographs import MAX_PHOTOGRAPHS
from idfsr_jax.restore.recognition import SEEN_SIDES, photograph_descriptors, reduce_crop, small_unit
from idfsr_jax.runtime.devices import data_mesh, everywhere

_PEOPLE = 5
"""People of whose photographs is remembered what was seen in them. They are asked for in the same order again and
again, so that of one person too many nothing would be found. Of more people it is seen anew, as the photographs are
remembered too, up to 0.8 MB each."""
_MOST_REFERENCES = 3
"""Photographs that a small face is compared with."""


@dataclass(frozen=True)
class LoadedModel:
    """A model with the recognisers that it was trained with; what is done with it is `restore.restorer.Restorer`.

    Networks are put on the devices, and recognisers are read, when they are first needed.
    """

    model: Model
    encoder_choice: str | None = None
    """The recognisers, joined by "+", where they lie elsewhere than the configuration says; see `load_recognisers`."""

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
    def recognisers(self) -> Recognisers:
        """All that the ID embedding is made of.

        Raises:
          BadWeights: one of them is missing or damaged.
          BadConfig: they are not those that the model was trained with.
        """
        recognisers = load_recognisers(self.encoder_choice or self.config.model.recognisers)
        remedy = "name those that it was trained with, joined by +, by --encoder"
        require_encoder(self.model.encoder, recognisers_name(recognisers), "The model", remedy)
        return recognisers

    @property
    def encoder(self) -> IdEncoder:
        """The first recogniser, by which people are told apart."""
        return self.recognisers[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Length of each recogniser's part of an identity."""
        return dimensions(self.recognisers)

    @property
    def config(self) -> Config:
        """How the model was trained."""
        return self.model.config

    def identities(self, crops: Sequence[FaceCrop]) -> Float[np.ndarray, "k d"]:
        """Unit identities of photographs by `encoder`, which tell people apart."""
        return self.units(crops)[:, : self.sizes[0]]

    def units(self, crops: Sequence[FaceCrop]) -> Float[np.ndarray, "k d"]:
        """Unit vectors of photographs by all recognisers, one after the other: what ID embeddings are means of."""
        return np.array([self._unit_of(crop) for crop in crops], np.float32).reshape(-1, sum(self.sizes))

    @functools.cached_property
    def _unit_of(self) -> Callable[[FaceCrop], Float[np.ndarray, " d"]]:
        """The unit vectors of one photograph, remembered: an album asks for the same ones at each of its pictures."""

        def unit_of(crop: FaceCrop) -> Float[np.ndarray, " d"]:
            found = [photograph_descriptors(recogniser, [crop]) for recogniser in self.recognisers]
            return unit_parts(np.concatenate(found, axis=1)[0] - self.model.center, self.sizes)

        return functools.lru_cache(maxsize=_PEOPLE * MAX_PHOTOGRAPHS)(unit_of)

    def likeness(self, small: UInt8[np.ndarray, "n n 3"], crops: Sequence[FaceCrop]) -> Likeness:
        """How like a person's photographs a small face is, all seen at the small face's resolution.

        Small faces are more like each other than any is like a photograph; so the photographs are made as small.

        Args:
          small: canonical crop at one of the sides of `restore.recognition.seen_side`.
          crops: photographs of the person; the first three are used.
        """
        return self.likenesses(small, [crops])[0]

    def likenesses(self, small: UInt8[np.ndarray, "n n 3"], people: Sequence[Sequence[FaceCrop]]) -> list[Likeness]:
        """`likeness` to each of several people, by photographs of each; the small face is looked at once."""
        side, (unit, landmarks) = len(small), self._see(small)

        def likeness(crops: Sequence[FaceCrop]) -> Likeness:
            person = np.mean([self._reduced_unit_of(crop, side) for crop in crops[:_MOST_REFERENCES]], axis=0)
            return Likeness(float(unit @ unit_parts(person, self.sizes)) / len(self.sizes), side, turn(landmarks))

        return [likeness(crops) for crops in people]

    def _see(self, small: UInt8[np.ndarray, "n n 3"]) -> tuple[Float32[np.ndarray, " d"], Float[np.ndarray, "68 2"]]:
        return small_unit(small, self.recognisers, self.model.landmark_net, self.model.center, self.config)

    @functools.cached_property
    def _reduced_unit_of(self) -> Callable[[FaceCrop, int], Float32[np.ndarray, " d"]]:
        """What is seen in a photograph made as small as a face is; remembered likewise, for each face asks for it."""
        see = lambda crop, side: self._see(reduce_crop(crop.image, side))[0]  # noqa: E731
        return functools.lru_cache(maxsize=_PEOPLE * _MOST_REFERENCES * len(SEEN_SIDES))(see)

    def check_identity(self, identity: Identity, name: str | Path = "The identity") -> None:
        """Checks that an identity belongs to this model; a complaint calls it by the name given.

        Raises:
          InputError: it was fitted with another model or another ID encoder.
        """
        another = identity.model != self.model.digest or identity.encoder != self.model.encoder
        if another or identity.embedding.shape != self.model.center.shape:
            raise InputError(f"{name}: was fitted with another model; fit it again with this one.")
