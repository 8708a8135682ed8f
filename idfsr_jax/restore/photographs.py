"""A folder of somebody's photographs: which can be used, which show somebody else, and how much each shall count."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idfsr_jax.face import FaceCrop, crop_face, crop_side
from idfsr_jax.face.same import Same, same_photograph
from idfsr_jax.face.sharpness import detail_side, sharpness_weight
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.identity import Identity, Origin
from idfsr_jax.restore.likeness import (
    AGREEING,
    FEW,
    SAME_PERSON,
    agreement,
    group_by_person,
    likeness_to_others,
    mean_direction,
)

MAX_PHOTOGRAPHS = 20
_PERHAPS_SAME = 0.75
"""Least cosine of two identities at which it is looked whether they come from one photograph."""


@dataclass(frozen=True)
class Photograph:
    """A photograph that can be used.

    Attributes:
      path: its file.
      crop: its face.
      identity: unit vector.
      detail: `detail_side` of the crop, in pixels.
      origin: what the identity file says of it.
    """

    path: Path
    crop: FaceCrop
    identity: Float[np.ndarray, " d"]
    detail: float
    origin: Origin


@dataclass(frozen=True)
class Gathering:
    """What came of a folder.

    Attributes:
      used: the person's photographs, in the order given.
      set_aside: photographs that could be used and are not, with the reason.
      unusable: a sentence for each file without a usable face.
      agreement: mean cosine of all pairs of those used.
    """

    used: tuple[Photograph, ...]
    set_aside: tuple[tuple[Path, str], ...]
    unusable: tuple[str, ...]
    agreement: float

    @property
    def crops(self) -> list[FaceCrop]:
        """The faces of those used."""
        return [photograph.crop for photograph in self.used]

    @property
    def origins(self) -> tuple[Origin, ...]:
        """What the identity file says of those used."""
        return tuple(photograph.origin for photograph in self.used)

    @property
    def weights(self) -> Float[np.ndarray, " k"] | None:
        """How much each of those used counts, at most 1; None if they count alike."""
        weights = np.array([photograph.origin.weight for photograph in self.used])
        return None if np.ptp(weights) == 0 else weights

    def warnings(self) -> list[str]:
        """What is doubtful about those used, a sentence each."""
        said = []
        count = len(self.used)
        if count < FEW:
            number = "one photograph remains" if count == 1 else f"{count} photographs remain"
            said.append(f"only {number}, and an identity is sure from {FEW} on; add some if you can.")
        if count > 1 and self.agreement < AGREEING:
            least = min(self.used, key=lambda photograph: photograph.origin.likeness)
            said.append(
                f"the photographs disagree (mean cosine {self.agreement:.2f}; 19 of 20 people have {AGREEING} or "
                f"more); look whether {least.path.name} shows the same person."
            )
        return said

    def lines(self) -> list[str]:
        """The summary, line by line."""
        width = max(len(photograph.path.name) for photograph in self.used)
        lines = [
            f"  {photograph.path.name:{width}}  detail {photograph.detail:3.0f} px, "
            + f"counts {photograph.origin.weight:.2f}"
            + ("" if np.isnan(photograph.origin.likeness) else f", like the others {photograph.origin.likeness:.2f}")
            + "".join(f"; {sentence.rstrip('.')}" for sentence in photograph.crop.notes)
            for photograph in self.used
        ]
        lines = [f"used, {len(self.used)}:", *lines]
        if self.set_aside:
            lines += [f"set aside, {len(self.set_aside)}:", *(f"  {path.name}: {why}" for path, why in self.set_aside)]
        if self.unusable:
            lines += [f"not usable, {len(self.unusable)}:", *(f"  {sentence}" for sentence in self.unusable)]
        return lines


def gather_photographs(
    paths: Sequence[Path],
    identities_of: Callable[[list[FaceCrop]], Float[np.ndarray, "k d"]],
    *,
    keep_all: bool = False,
    read: Callable[[Path], FaceCrop] = crop_face,
) -> Gathering:
    """Reads photographs of a person and keeps those that can be used and show the same person.

    Files without a usable face are noted and do not stop the rest. Copies of a file count once, and so does a
    photograph that was saved again, resized, cropped, recoloured or mirrored, of which the sharpest remains. The
    largest group of photographs that are like each other is the person; the others are set aside. Of more than 20 the
    sharpest remain.

    Args:
      paths: files.
      identities_of: unit identities of crops.
      keep_all: sets none aside as somebody else's.
      read: file to crop; raises InputError.

    Raises:
      InputError: none can be used, or two people are shown equally often.
    """
    photographs, unusable, set_aside = _read_all(paths, identities_of, read)
    photographs = _each_once(photographs, set_aside)
    if not photographs:
        if len(unusable) == 1:
            raise InputError(unusable[0])
        raise InputError(f"none of the {len(paths)} photographs can be used; of the first it holds: {unusable[0]}")
    identities = np.stack([photograph.identity for photograph in photographs])
    kept = list(range(len(photographs))) if keep_all else _the_person(photographs, identities, set_aside)
    if len(kept) > MAX_PHOTOGRAPHS:
        order = sorted(kept, key=lambda position: -photographs[position].detail)
        for position in order[MAX_PHOTOGRAPHS:]:
            set_aside.append((photographs[position].path, f"{MAX_PHOTOGRAPHS} sharper ones are enough"))
        kept = sorted(order[:MAX_PHOTOGRAPHS])
    likeness = likeness_to_others(identities[kept])
    used = tuple(
        replace(photographs[position], origin=replace(photographs[position].origin, likeness=float(value)))
        for position, value in zip(kept, likeness, strict=True)
    )
    return Gathering(used, tuple(set_aside), tuple(unusable), agreement(identities[kept]))


def choose_references(gathered: Gathering, identity: Identity) -> tuple[list[FaceCrop], list[str]]:
    """The photographs that show the identity's person, and a sentence for each file that was left out.

    Where none is like the identity, all are taken, and a sentence says so.
    """
    notes = [*gathered.unusable]
    # Of several recognisers' parts the first is the one that `Photograph.identity` is by.
    start = identity.start[: gathered.used[0].identity.size]
    start = start / np.linalg.norm(start)
    likeness = [float(each.identity @ start) for each in gathered.used]
    if max(likeness) < SAME_PERSON:
        return gathered.crops, [*notes, f"none of the photographs is like the identity (cosine {max(likeness):.2f})."]
    crops = []
    for photograph, cosine in zip(gathered.used, likeness, strict=True):
        if cosine < SAME_PERSON:
            notes.append(f"{photograph.path}: left out, as it is unlike the identity (cosine {cosine:.2f}).")
        else:
            crops.append(photograph.crop)
    return crops, notes


def _read_all(
    paths: Sequence[Path],
    identities_of: Callable[[list[FaceCrop]], Float[np.ndarray, "k d"]],
    read: Callable[[Path], FaceCrop],
) -> tuple[list[Photograph], list[str], list[tuple[Path, str]]]:
    found: dict[str, tuple[Path, FaceCrop]] = {}
    unusable: list[str] = []
    copies: list[tuple[Path, str]] = []
    copied: dict[str, list[str]] = {}
    for path in paths:
        try:
            crop = read(path)
        except InputError as error:
            unusable.append(str(error))
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        if digest in found:
            copies.append((path, f"the same file as {found[digest][0].name}"))
            copied.setdefault(digest, []).append(path.name)
        else:
            found[digest] = path, crop
    crops = [crop for _, crop in found.values()]
    identities: Sequence[Float[np.ndarray, " d"]] = list(identities_of(crops)) if crops else []
    photographs = []
    for (digest, (path, crop)), identity in zip(found.items(), identities, strict=True):
        detail = detail_side(crop.image, crop_side(crop.transform))
        names = tuple(copied.get(digest, ()))
        origin = Origin(path.name, digest, sharpness_weight(detail), float("nan"), names)
        photographs.append(Photograph(path, crop, identity, detail, origin))
    return photographs, unusable, copies


def _each_once(photographs: Sequence[Photograph], set_aside: list[tuple[Path, str]]) -> list[Photograph]:
    """Of those that come from one photograph the sharpest, in the place of the first; notes the others."""
    groups: list[list[tuple[Photograph, Same]]] = []
    for each in photographs:
        for group in groups:
            first = group[0][0]
            if float(each.identity @ first.identity) < _PERHAPS_SAME:
                continue
            how = same_photograph(first.crop.image, each.crop.image)
            if how:
                group.append((each, how))
                break
        else:
            groups.append([(each, "same")])
    kept = []
    for group in groups:
        best, turned = max(group, key=lambda member: round(member[0].detail))
        others = [(each, how) for each, how in group if each is not best]
        for each, how in others:
            words = ", mirrored" if how != turned else ""
            set_aside.append((each.path, f"the same photograph as {best.path.name}{words}, which counts once"))
        names = (*best.origin.copies, *(name for each, _ in others for name in (each.path.name, *each.origin.copies)))
        kept.append(replace(best, origin=replace(best.origin, copies=names)))
    return kept


def _the_person(
    photographs: Sequence[Photograph], identities: Float[np.ndarray, "k d"], set_aside: list[tuple[Path, str]]
) -> list[int]:
    """Positions of the largest group; notes the others."""
    groups = group_by_person(identities)
    if len(groups) > 1 and len(groups[1]) == len(groups[0]):
        names = " and ".join(photographs[group[0]].path.name for group in groups[:2])
        raise InputError(
            f"the photographs seem to show several people equally often ({names} differ); "
            "leave those of one person, or give --keep-all if it is one."
        )
    person = mean_direction(identities[groups[0]])
    for position in sorted(int(place) for group in groups[1:] for place in group):
        cosine = float(identities[position] @ person)
        why = f"likely somebody else (cosine {cosine:.2f} to the others; photographs of one person are joined from "
        set_aside.append((photographs[position].path, why + f"{SAME_PERSON} on)"))
    return [int(position) for position in groups[0]]
