"""A loaded model: its networks on the devices, its face recogniser, and what they see in photographs."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float32, UInt8

from idfsr_jax.config import Config
from idfsr_jax.face import FaceCrop, crop_at, is_near, read_picture
from idfsr_jax.io.errors import InputError
from idfsr_jax.method.denoiser import empty_condition
from idfsr_jax.method.guidance import make_guide
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import turn
from idfsr_jax.method.model import Model
from idfsr_jax.networks.id_encoder import IdEncoder, require_encoder
from idfsr_jax.networks.recognisers import Recognisers, dimensions, load_recognisers, recognisers_name
from idfsr_jax.restore.conditions import agreement_of, cleaned_input
from idfsr_jax.restore.identity import Identity, Seen
from idfsr_jax.restore.likeness import Likeness
from idfsr_jax.restore.recognition import photograph_descriptors, reduce_crop, small_unit
from idfsr_jax.restore.sampling import Networks, read_sampler, sample_many
from idfsr_jax.runtime.devices import data_mesh, everywhere

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
    def networks(self) -> Networks:
        """What a restoration runs, on each of the devices."""
        guide = make_guide(self.recognisers, self.model.center)
        return everywhere(Networks(self.model.denoiser, self.model.autoencoder, guide, self.model.finish), self.mesh)

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
        return np.array([self._unit_by(0, crop) for crop in crops], np.float32).reshape(-1, self.sizes[0])

    def units(self, crops: Sequence[FaceCrop]) -> Float[np.ndarray, "k d"]:
        """Unit vectors of photographs by all recognisers, one after the other: what ID embeddings are means of."""
        found = [[self._unit_by(place, crop) for place in range(len(self.sizes))] for crop in crops]
        return np.array([np.concatenate(parts) for parts in found], np.float32).reshape(-1, sum(self.sizes))

    def known_face(self, identity: Identity | None, path: Path, sha256: str) -> FaceCrop | None:
        """The person's face in a photograph that an identity was fitted to, neither looked for nor described again.

        Args:
          identity: of this model, or another, which is of no use then; None likewise.
          path: the photograph.
          sha256: `Origin.sha256` of it.

        Returns:
          The face; None where the identity does not know it.

        Raises:
          UnreadableImage: the file cannot be read.
        """
        place = None if identity is None or identity.model != self.model.digest else identity.place_of(sha256)
        if identity is None or identity.seen is None or place is None:
            return None
        picture, transform = read_picture(path), identity.seen.transforms[place]
        if not is_near(transform, picture.pixels):  # A file that was made by hand.
            return None
        crop = crop_at(picture.pixels, transform, identity.seen.landmarks[place])
        crop = replace(crop, notes=picture.notes, which=identity.origins[place].face)
        for number, part in enumerate(self._by_recogniser(identity.seen.units[place])):
            self._seen_in(crop)["recogniser", number] = part
        return crop

    def _unit_by(self, place: int, crop: FaceCrop) -> Float32[np.ndarray, " d"]:
        """The unit vector of a photograph by the recogniser at that place."""
        seen, key = self._seen_in(crop), ("recogniser", place)
        if key not in seen:
            (found,) = photograph_descriptors(self.recognisers[place], [crop])
            center = self._by_recogniser(self.model.center)[place]
            seen[key] = unit_parts(found - center, self.sizes[place : place + 1])
        return seen[key]

    def _reduced_unit_of(self, crop: FaceCrop, side: int) -> Float32[np.ndarray, " d"]:
        """What is seen in a photograph made as small as a face is."""
        seen, key = self._seen_in(crop), ("side", side)
        if key not in seen:
            seen[key] = self.see_small(reduce_crop(crop.image, side))[0]
        return seen[key]

    def _by_recogniser(self, vector: Float[np.ndarray, " d"]) -> list[Float[np.ndarray, " _"]]:
        return np.split(vector, np.cumsum(self.sizes)[:-1])

    def _seen_in(self, crop: FaceCrop) -> dict[tuple[str, int], Float32[np.ndarray, " d"]]:
        return self._seen.setdefault(crop, {})

    @functools.cached_property
    def _seen(self) -> WeakKeyDictionary[FaceCrop, dict[tuple[str, int], Float32[np.ndarray, " d"]]]:
        """Vectors of photographs, as long as anybody holds these: albums and pages ask for them again and again."""
        return WeakKeyDictionary()

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
        side, (unit, landmarks) = len(small), self.see_small(small)

        def likeness(crops: Sequence[FaceCrop]) -> Likeness:
            person = np.mean([self._reduced_unit_of(crop, side) for crop in crops[:_MOST_REFERENCES]], axis=0)
            return Likeness(float(unit @ unit_parts(person, self.sizes)) / len(self.sizes), side, turn(landmarks))

        return [likeness(crops) for crops in people]

    def see_small(
        self, small: UInt8[np.ndarray, "n n 3"]
    ) -> tuple[Float32[np.ndarray, " d"], Float[np.ndarray, "68 2"]]:
        """What the recognisers see in a small face: unit vectors, one after the other; and its landmarks.

        It is cleaned first, as a camera's noise hides a small face more than its blur does.
        """
        clean, _ = cleaned_input(small, max(self.config.data.size, 2 * len(small)))
        return small_unit(clean, self.recognisers, self.model.landmark_net, self.model.center, self.config)

    def check_identity(self, identity: Identity, name: str | Path = "The identity") -> None:
        """Checks that an identity belongs to this model; a complaint calls it by the name given.

        Raises:
          InputError: it was fitted with another model or another ID encoder.
        """
        another = identity.model != self.model.digest or identity.encoder != self.model.encoder
        if another or identity.embedding.shape != self.model.center.shape:
            raise InputError(f"{name}: was fitted with another model; fit it again with this one.")

    def compile_ahead(self) -> None:
        """Compiles the sampler of one picture before there is one, where it is not to wait.

        The program serves all pictures, people, seeds, scales and numbers of variants, but no other number of steps.
        """
        self._with_nothing(sample_many)

    def read_ahead(self) -> None:
        """Reads what `compile_ahead` would compile, if an earlier process kept it; meant for a thread of its own."""
        with contextlib.suppress(Exception):  # Whatever is wrong is said when there is a picture.
            self._with_nothing(read_sampler)

    def _with_nothing(self, sampler: Callable[..., Any]) -> None:
        """Calls it with a condition and an input that show nothing."""
        size, model, sizes = self.config.data.size, self.config.model, self.sizes
        condition = empty_condition(1, size, model.references, model, sizes)
        keys = jax.random.wrap_key_data(jax.device_put(np.zeros((1, 2), np.uint32)))
        y = np.zeros((4, 4, 3), np.uint8)
        held = agreement_of([y], [(y, 1.0)], None, self.config)
        sampler(self.networks, condition, keys, self.config, sizes, self.mesh, held)


def seen_in(crops: Sequence[FaceCrop], units: Float[np.ndarray, "k d"]) -> Seen:
    """What an identity keeps of photographs, one or more, besides their names."""
    transforms, landmarks = (np.stack([getattr(crop, name) for crop in crops]) for name in ("transform", "landmarks"))
    return Seen(transforms.astype(np.float64), landmarks.astype(np.float32), units.astype(np.float32))
