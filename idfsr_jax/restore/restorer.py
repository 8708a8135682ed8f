"""Restorer: load a model, fit a person, restore a picture. The only place where all parts meet at use time."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from idfsr_jax.config import FitConfig
from idfsr_jax.face import Box, FaceCrop, read_crops, read_image
from idfsr_jax.io.errors import InputError
from idfsr_jax.method.landmarks import person_shape
from idfsr_jax.method.model import load_model
from idfsr_jax.restore.checks import (
    photographs_in,
    require_boxes,
    require_identity,
    require_numbers,
    require_people,
    require_picture,
    require_place,
)
from idfsr_jax.restore.conditions import cleaned_input, condition_of
from idfsr_jax.restore.find_face import LowResolutionFace, find_low_resolution_faces, small_enough
from idfsr_jax.restore.found import Found, sample_found, sampling_of
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.likeness import agreement
from idfsr_jax.restore.loaded import LoadedModel, seen_in
from idfsr_jax.restore.photographs import (
    MAX_PHOTOGRAPHS,
    Gathering,
    choose_references,
    direction_of,
    gather_photographs,
)
from idfsr_jax.restore.places import Choice, Place, choose_place, choose_places, places_of
from idfsr_jax.restore.provenance import provenance
from idfsr_jax.restore.result import Restoration


@dataclass(frozen=True)
class Restorer(LoadedModel):
    """Fits people and restores pictures.

    `Restorer.load()`, then `fit(photos)` for a person, then `restore(picture, identity, photos)` for each picture.
    """

    @classmethod
    def load(cls, weights: str | Path | None = None, encoder: str | None = None, devices: int = 0) -> "Restorer":
        """Loads a model folder, or the model that ships with the package.

        Args:
          weights: the folder.
          encoder: the recognisers, joined by "+" ("mobilefacenet+arcface:PATH"), where one lies elsewhere than it did
            in training.
          devices: that are to be used; all of this process if 0.

        Raises:
          BadWeights: the folder holds no model, or a damaged one.
        """
        return cls(load_model(None if weights is None else Path(weights)), encoder, devices)

    def gather(
        self,
        photos: Sequence[str | Path],
        *,
        keep_all: bool = False,
        boxes: Mapping[Path, Box] | Mapping[str, Box] | None = None,
        identity: Identity | None = None,
    ) -> Gathering:
        """Looks through photographs that should show one person; see `restore.photographs.gather_photographs`.

        Args:
          photos: files.
          keep_all: sets none aside as somebody else's.
          boxes: of the person's face in some of them, x, y, width and height, by file.
          identity: that tells which of several faces is the person's, and knows the photographs that it was fitted
            to; by default the photographs with one face tell, or, without any, who alone is on most of them.

        Raises:
          InputError: none can be used, or two people are shown equally often.
        """
        files = photographs_in(photos)
        if any(isinstance(file, FaceCrop) for file in files):
            raise InputError("photos: give files to look through; crops go to fit as they are.")
        if identity is not None:
            require_identity(identity)
        boxes = boxes or {}
        require_boxes(boxes)
        return gather_photographs(
            [Path(photo).expanduser() for photo in files if not isinstance(photo, FaceCrop)],
            self.identities,
            keep_all=keep_all,
            boxes={Path(photo).expanduser(): box for photo, box in boxes.items()},
            person=None if identity is None else direction_of(identity, self.sizes[0]),
            known=partial(self.known_face, identity),
        )

    def references(self, photos: Sequence[str | Path], identity: Identity) -> tuple[list[FaceCrop], list[str]]:
        """The photographs of a folder that can stand beside a restoration, and a sentence for each that cannot.

        Raises:
          InputError: none can be used.
        """
        require_identity(identity)
        return choose_references(self.gather(photos, keep_all=True, identity=identity), identity)

    def fit(
        self,
        photos: Sequence[str | Path | FaceCrop] | Gathering,
        *,
        config: FitConfig | None = None,
        progress: Callable[[int, float], None] = lambda step, loss: None,
    ) -> Identity:
        """Fits the identity of one person; the model's weights do not change.

        Args:
          photos: 1 to 20 photographs with one face each, as files or as crops, all of them used; or what `gather`
            kept of a folder, where sharp ones count more.
          config: how to fit; the model's own choice by default.
          progress: called with (step, loss) after every step, or once when all steps are one program.

        Raises:
          InputError: too few or too many photographs, or one of them cannot be used; the sentence names it.
        """
        from idfsr_jax.restore.fitting import fit_person  # Only here, as restoring needs neither it nor Optax.

        gathered = photos if isinstance(photos, Gathering) else None
        given: Sequence[Any] = photos.crops if isinstance(photos, Gathering) else photographs_in(photos)
        if not 1 <= len(given) <= MAX_PHOTOGRAPHS:
            raise InputError(f"{len(given)} photographs were given to fit; give 1 to {MAX_PHOTOGRAPHS} of one person.")
        crops = read_crops(given)
        settings, units = replace(self.config, fit=config or self.config.fit), self.units(crops)
        weights = gathered.weights if gathered else None
        start, fitted, losses = fit_person(self.model, self.recognisers, crops, units, settings, progress, weights)
        return Identity(
            embedding=fitted,
            start=start,
            losses=losses,
            photographs=len(crops),
            encoder=self.model.encoder,
            model=self.model.digest,
            origins=gathered.origins if gathered else (),
            agreement=agreement(units[:, : self.sizes[0]]) if len(crops) > 1 else math.nan,
            shape=person_shape(np.stack([crop.landmarks for crop in crops])),
            seen=seen_in(crops, units) if gathered else None,
        )

    def faces(self, picture: str | Path) -> tuple[UInt8[np.ndarray, "h w 3"], list[Place]]:
        """A photograph and the faces that are found in it, from left to right, as `face` of `restore` counts them.

        Raises:
          UnreadableImage: the file cannot be read.
          NoFace: none was found.
        """
        image = read_image(picture)
        return image, places_of(image, picture, self.config, self.model.landmark_net)

    def restore(
        self,
        picture: str | Path | np.ndarray,
        identity: Identity,
        photos: Sequence[str | Path | FaceCrop] = (),
        *,
        box: tuple[int, int, int, int] | None = None,
        eyes: tuple[float, float, float, float] | None = None,
        face: int | None = None,
        anyone: bool | None = None,
        scale: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        variants: int = 1,
        consistency: float | None = None,
        guidance: int | None = None,
        reveal: float | None = None,
    ) -> Restoration:
        """Restores the small face in a picture.

        Args:
          picture: an aligned LR crop (square, 4 to 64 px), or a photograph with small faces; a file or uint8 RGB.
          identity: of `fit`, or of a file.
          photos: photographs of the person; those nearest in pose and expression become style references. Without
            any, the identity alone says who it is.
          box: x, y, width, height of the face in a photograph, if it is not to be looked for.
          eyes: x, y of one eye's centre, then of the other's, likewise.
          face: which of several faces, counted from the left from 1; by default the one most like the photographs.
          anyone: whether a face that was not pointed at is restored although it is unlike the photographs, or is one
            of several that are too small to tell; by default only where it is the only face of a photograph. An
            aligned crop is restored in any case, and so is an only face where there are no photographs.
          scale: down-sampling factor s; by default the one that fits the face's size best.
          steps: sampling steps.
          seed: of the noise; the same seed gives the same picture.
          variants: how many samples to draw.
          consistency: strength of the projection onto pictures that down-sample to the input, 0 to 1; the model's own
            choice by default.
          guidance: steps by which a recogniser pulls the picture towards the identity (`method.guidance`), 0 or more;
            the model's own choice by default.
          reveal: how much of the LR face is shown to the model, 0 (nothing, as in the paper) to 1 (all there is); the
            model's own choice by default.

        Raises:
          LeftAlone: the face is unlike the person or too small to tell; see `anyone`.
          UndecidedFaces: several faces, and none stands out.
          InputError: a picture cannot be used, or the identity belongs to another model.
        """
        where: dict[str, Any] = {"box": box, "eyes": eyes, "face": face, "anyone": anyone, "scale": scale}
        found = self.find(picture, identity, photos, **where, reveal=reveal)
        (restored,) = self.sample(
            [found], steps=steps, seed=seed, variants=variants, consistency=consistency, guidance=guidance
        )
        return restored

    def find(
        self,
        picture: str | Path | np.ndarray,
        identity: Identity,
        photos: Sequence[str | Path | FaceCrop] = (),
        *,
        box: tuple[int, int, int, int] | None = None,
        eyes: tuple[float, float, float, float] | None = None,
        face: int | None = None,
        anyone: bool | None = None,
        scale: int | None = None,
        reveal: float | None = None,
    ) -> Found:
        """The first half of `restore`, up to the sampling, which `sample` does for many pictures at once.

        Raises:
          LeftAlone: the face is unlike the person or too small to tell; see `anyone`.
          UndecidedFaces: several faces, and none stands out.
          InputError: a picture cannot be used, or the identity belongs to another model.
        """
        require_picture(picture)
        require_identity(identity)
        require_place(box, eyes, face)
        require_numbers(Integral, face=face, scale=scale)
        self.check_identity(identity)
        shown = self._shown(reveal)
        crops = read_crops(photographs_in(photos))
        # Without photographs nobody can say how like the person a face is.
        likeness = partial(self.likeness, crops=crops) if crops else None
        choose = partial(choose_place, number=face, likeness=likeness, anyone=bool(box or eyes) or anyone)
        (found,) = find_low_resolution_faces(
            picture,
            self.config,
            self.model.landmark_net,
            box=box,
            eyes=eyes,
            scale=scale,
            choose=lambda *photograph: [choose(*photograph)],
        )
        if found.photo is None and face not in (None, 1):
            name = picture if isinstance(picture, (str, Path)) else "the picture"
            raise InputError(f"{name}: has no face {face}, as it is an aligned crop of one; leave --face out.")
        return self._found(found, identity, crops, shown)

    def find_each(
        self,
        picture: str | Path | np.ndarray,
        people: Sequence[tuple[Identity, Sequence[str | Path | FaceCrop]]],
        *,
        scale: int | None = None,
        reveal: float | None = None,
        note: Callable[[str], None] = lambda sentence: None,
    ) -> list[Found | None]:
        """Looks for the faces of several people in one photograph; what `sample` makes of them `together` joins.

        Args:
          picture: a photograph, as in `restore`.
          people: the identity of each, and photographs, one or more.
          scale: see `restore`.
          reveal: see `restore`.
          note: called with a sentence for each face that is told but as large as the result already.

        Returns:
          The face of each; None where theirs is not told, or somebody else's, or too large.

        Raises:
          LeftAlone: nobody's is told.
          InputError: a picture cannot be used, nobody is given, every face that is told is too large, or an identity
            belongs to another model.
        """
        if not people:
            raise InputError("nobody is given to find_each; give an identity and photographs of one person or more.")
        require_picture(picture)
        require_people(people)
        require_numbers(Integral, scale=scale)
        for identity, _ in people:
            self.check_identity(identity)
        shown = self._shown(reveal)
        crops = [read_crops(photographs_in(photos)) for _, photos in people]
        if not all(crops):
            raise InputError("one of the people comes without photographs; give some of each to find_each.")
        choices: list[Choice | None] = []

        def choose(image: np.ndarray, places: Sequence[Place], name: str | Path) -> list[Choice]:
            told = choose_places(image, places, name, likenesses=partial(self.likenesses, people=crops))
            choices.extend(small_enough(told, self.config.data.size, scale, name, note))
            return [each for each in choices if each is not None]

        faces = iter(
            find_low_resolution_faces(picture, self.config, self.model.landmark_net, scale=scale, choose=choose)
        )
        if not choices:
            name = picture if isinstance(picture, (str, Path)) else "the picture"
            raise InputError(
                f"{name}: is an aligned crop, which shows one face; give the one --identity that is meant."
            )
        return [
            None if choice is None else self._found(next(faces), identity, own, shown)
            for choice, (identity, _), own in zip(choices, people, crops, strict=True)
        ]

    def _shown(self, reveal: float | None) -> float:
        require_numbers(Real, reveal=reveal)
        shown = self.config.sample.reveal if reveal is None else reveal
        if not 0.0 <= shown <= 1.0:
            raise InputError(f"reveal={reveal}: give a number from 0 to 1.")
        return shown

    def _found(
        self,
        face: LowResolutionFace,
        identity: Identity,
        crops: Sequence[FaceCrop],
        shown: float,
    ) -> Found:
        """A face with its condition."""
        cleaned = cleaned_input(face.y, self.config.data.size)
        condition, reference = condition_of(self.model, cleaned[0], identity, crops, self.units(crops), shown)
        likeness = partial(self.likeness, crops=crops) if crops else None
        return Found(
            face, cleaned, identity, condition, None if reference is None else reference.image, likeness, shown
        )

    def sample(
        self,
        found: Sequence[Found],
        *,
        steps: int | None = None,
        seed: int = 0,
        variants: int = 1,
        consistency: float | None = None,
        guidance: int | None = None,
    ) -> list[Restoration]:
        """Restores faces, in batches over all devices; each comes out as by `restore` alone, but for rounding.

        Args:
          found: of `find`; of any people, pictures and sizes.
          steps: see `restore`, as for the others.
          seed: of the noise.
          variants: how many samples to draw of each.
          consistency: with the input.
          guidance: towards the identity.

        Raises:
          InputError: no variant, or a consistency or guidance that is none.
        """
        require_numbers(Integral, steps=steps, seed=seed, variants=variants, guidance=guidance)
        require_numbers(Real, consistency=consistency)
        sampling = sampling_of(self.config, steps, seed, variants, consistency, guidance, self.sizes)
        draw = partial(sample_found, self.networks, mesh=self.mesh, sampling=sampling)
        once = partial(sample_found, self.networks, mesh=self.mesh, sampling=replace(sampling, variants=1))
        return [
            Restoration(
                face=each.face,
                images=list(images),
                condition=each.condition,
                reference=each.reference,
                unfitted=lambda each=each: once([each.unfitted()])[0][0],  # type: ignore[misc]
                metadata=provenance(
                    self.model, each.identity, seed, sampling.config, sampling.consistency, each.reveal
                ),
                likeness=each.likeness,
            )
            for each, images in zip(found, draw(found), strict=True)
        ]

    @staticmethod
    def together(restorations: Sequence[Restoration]) -> Restoration:
        """Faces of several people in one photograph as one restoration: each is put into what holds those before it.

        Args:
          restorations: of the same photograph, at least one, with as many samples each.
        """
        joined, *others = restorations
        for each in others:
            people = "+".join(one.metadata["idfsr:identity"] for one in (joined, each))
            joined = replace(each, before=joined, metadata={**each.metadata, "idfsr:identity": people})
        return joined
