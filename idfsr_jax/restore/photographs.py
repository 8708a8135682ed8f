"""A folder of somebody's photographs: which can be used, which show somebody else, and how much each shall count."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from idfsr_jax.face import Box, FaceCrop, crop_faces, crop_side
from idfsr_jax.face.read import digest_of
from idfsr_jax.face.same import Same, same_photograph
from idfsr_jax.face.sharpness import detail_side, sharpness_weight
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.names import told_apart
from idfsr_jax.restore.identity import Identity, Origin
from idfsr_jax.restore.likeness import (
    AGREEING,
    FEW,
    SAME_PERSON,
    STANDING_OUT,
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
      name: that it goes by, `io.names.told_apart`.
      crop: its face.
      identity: unit vector.
      detail: `detail_side` of the crop, in pixels.
      origin: what the identity file says of it.
    """

    path: Path
    name: str
    crop: FaceCrop
    identity: Float[np.ndarray, " d"]
    detail: float
    origin: Origin


@dataclass(frozen=True)
class Group:
    """A photograph with several faces.

    Attributes:
      path: its file.
      faces: from left to right.
      taken: position of the one that was taken for the person's.
      is_told: whether a box or the other photographs tell which it is.
    """

    path: Path
    faces: tuple[FaceCrop, ...]
    taken: int
    is_told: bool

    def sentence(self) -> str:
        """What was taken although nothing tells that it is the person's, and how to take another."""
        return (
            f"{self.path}: nothing tells which of its {len(self.faces)} faces is the person's, so a large and central "
            f"one was taken, {self.faces[self.taken].which}; --box FILE:x,y,width,height takes another."
        )


@dataclass(frozen=True)
class Gathering:
    """What came of a folder.

    Attributes:
      used: the person's photographs, in the order given.
      set_aside: photographs that could be used and are not, with the reason.
      unusable: a sentence for each file without a usable face.
      agreement: mean cosine of all pairs of those used.
      groups: photographs with several faces, used or not.
    """

    used: tuple[Photograph, ...]
    set_aside: tuple[tuple[Path, str], ...]
    unusable: tuple[str, ...]
    agreement: float
    groups: tuple[Group, ...] = ()

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
        used = {photograph.path for photograph in self.used}
        said = [group.sentence() for group in self.groups if not group.is_told and group.path in used]
        count = len(self.used)
        if count < FEW:
            number = "one photograph remains" if count == 1 else f"{count} photographs remain"
            said.append(f"only {number}, and an identity is sure from {FEW} on; add some if you can.")
        if count > 1 and self.agreement < AGREEING:
            least = min(self.used, key=lambda photograph: photograph.origin.likeness)
            said.append(
                f"the photographs disagree (mean cosine {self.agreement:.2f}; 19 of 20 people have {AGREEING} or "
                f"more); look whether {least.name} shows the same person."
            )
        return said

    def lines(self) -> list[str]:
        """The summary, line by line."""
        width = max(len(photograph.name) for photograph in self.used)
        lines = [
            f"  {photograph.name:{width}}  detail {photograph.detail:3.0f} px, "
            + f"counts {photograph.origin.weight:.2f}"
            + ("" if np.isnan(photograph.origin.likeness) else f", like the others {photograph.origin.likeness:.2f}")
            + (f"; {photograph.crop.which}" if photograph.crop.which else "")
            + "".join(f"; {sentence.rstrip('.')}" for sentence in photograph.crop.notes)
            for photograph in self.used
        ]
        lines = [f"used, {len(self.used)}:", *lines]
        if self.set_aside:
            names = told_apart([*(each.path for each in self.used), *(path for path, _ in self.set_aside)])
            lines += [
                f"set aside, {len(self.set_aside)}:",
                *(f"  {names[path]}: {why}" for path, why in self.set_aside),
            ]
        if self.unusable:
            lines += [f"not usable, {len(self.unusable)}:", *(f"  {sentence}" for sentence in self.unusable)]
        return lines


def gather_photographs(
    paths: Sequence[Path],
    identities_of: Callable[[list[FaceCrop]], Float[np.ndarray, "k d"]],
    *,
    keep_all: bool = False,
    boxes: Mapping[Path, Box] | None = None,
    person: Float[np.ndarray, " d"] | None = None,
    read: Callable[[Path, Box | None], list[FaceCrop]] = crop_faces,
    known: Callable[[Path, str], FaceCrop | None] = lambda path, digest: None,
) -> Gathering:
    """Reads photographs of a person and keeps those that can be used and show the same person.

    Files without a usable face are noted and do not stop the rest. Of a photograph with several faces the one is taken
    that a box points at, or else the one most like the person: the one given, or whom the photographs with one face
    show, or, where there are none, the only one who is on most of them. Where none stands out, it is the largest and
    most central one, which says nothing about who the person is.

    Copies of a file count once, and so does a photograph that was saved again, resized, cropped, recoloured or
    mirrored, of which the sharpest remains. The largest group of photographs that are like each other is the person;
    the others are set aside. Of more than 20 the sharpest remain.

    Args:
      paths: files.
      identities_of: unit identities of crops.
      keep_all: sets none aside as somebody else's.
      boxes: of the person's face in some of the files, x, y, width and height in their pixels.
      person: unit identity, where it is known.
      read: file, and box if there is one, to the crops of its faces, the likeliest first; raises InputError.
      known: file without a box, and `Origin.sha256` of it, to the person's face where it was found before; likewise.

    Raises:
      InputError: none was given or can be used, or two people are shown equally often.
    """
    if not paths:
        raise InputError(f"no photograph was given; give 1 to {MAX_PHOTOGRAPHS} of one person.")
    files, unusable, set_aside = _read_all(paths, identities_of, boxes or {}, read, known)
    photographs, groups = _of_the_person(files, person, keep_all)
    photographs = _each_once(photographs, set_aside)
    if not photographs:
        if len(unusable) == 1:
            raise InputError(unusable[0])
        raise InputError(f"none of the {len(paths)} photographs can be used; of the first it holds: {unusable[0]}")
    identities = np.stack([photograph.identity for photograph in photographs])
    guessed = {group.path for group in groups if not group.is_told}
    kept = list(range(len(photographs))) if keep_all else _the_person(photographs, identities, guessed, set_aside)
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
    return Gathering(used, tuple(set_aside), tuple(unusable), agreement(identities[kept]), tuple(groups))


def direction_of(identity: Identity, length: int) -> Float[np.ndarray, " d"]:
    """The unit identity of a person by the first recogniser, by which people are told apart.

    Args:
      identity: of all recognisers.
      length: of the first one's part.
    """
    start = identity.start[:length]
    return start / np.linalg.norm(start)


def choose_references(gathered: Gathering, identity: Identity) -> tuple[list[FaceCrop], list[str]]:
    """The photographs that show the identity's person, and a sentence for each file that was left out.

    Where none is like the identity, all are taken, and a sentence says so.
    """
    notes = [*gathered.unusable]
    start = direction_of(identity, gathered.used[0].identity.size)
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


@dataclass(frozen=True)
class _File:
    """A photograph and its faces, the likeliest first, with their unit identities; `is_told` if it is the person's."""

    path: Path
    name: str
    digest: str
    faces: Sequence[FaceCrop]
    identities: Float[np.ndarray, "n d"]
    copies: tuple[str, ...]
    is_told: bool

    def photograph(self, face: int) -> Photograph:
        crop = self.faces[face]
        detail = detail_side(crop.image, crop_side(crop.transform))
        weight = sharpness_weight(detail)
        origin = Origin(self.path.name, self.digest, weight, float("nan"), self.copies, crop.which)
        return Photograph(self.path, self.name, crop, self.identities[face], detail, origin)


def _read_all(
    paths: Sequence[Path],
    identities_of: Callable[[list[FaceCrop]], Float[np.ndarray, "k d"]],
    boxes: Mapping[Path, Box],
    read: Callable[[Path, Box | None], list[FaceCrop]],
    known: Callable[[Path, str], FaceCrop | None],
) -> tuple[list[_File], list[str], list[tuple[Path, str]]]:
    found: dict[tuple[str, Box | None], tuple[Path, list[FaceCrop]]] = {}
    unusable: list[str] = []
    copies: list[tuple[Path, str]] = []
    copied: dict[tuple[str, Box | None], list[str]] = {}
    names = told_apart(paths)
    for path in paths:
        box = boxes.get(path)
        try:
            digest = digest_of(path)
            if (digest, box) in found:
                copies.append((path, f"the same file as {names[found[digest, box][0]]}"))
                copied.setdefault((digest, box), []).append(path.name)
                continue
            crop = known(path, digest) if box is None else None
            found[digest, box] = path, read(path, box) if crop is None else [crop]
        except InputError as error:
            unusable.append(str(error))
    everybody = [crop for _, crops in found.values() for crop in crops]
    identities = iter(identities_of(everybody) if everybody else ())
    files = [
        _File(
            path,
            names[path],
            digest,
            crops,
            np.stack([next(identities) for _ in crops]),
            tuple(copied.get((digest, box), ())),
            len(crops) == 1 or box is not None,
        )
        for (digest, box), (path, crops) in found.items()
    ]
    return files, unusable, copies


def _of_the_person(
    files: Sequence[_File], person: Float[np.ndarray, " d"] | None, keep_all: bool
) -> tuple[list[Photograph], list[Group]]:
    """Of each file the face that is the person's, and what is to be known of those with several."""
    if person is None and not all(file.is_told for file in files):
        told = [file.photograph(0) for file in files if file.is_told]
        person = _shown_by(told, keep_all) if told else _in_common(files)
    photographs, groups = [], []
    for file in files:
        taken, is_told = (0, True) if file.is_told else _told_by(person, file.identities)
        photographs.append(file.photograph(taken))
        if len(file.faces) > 1:
            order = sorted(range(len(file.faces)), key=lambda face: file.faces[face].box or ())
            groups.append(Group(file.path, tuple(file.faces[face] for face in order), order.index(taken), is_told))
    return photographs, groups


def _shown_by(photographs: Sequence[Photograph], keep_all: bool) -> Float[np.ndarray, " d"]:
    """Whom photographs show, all of which are told."""
    once = _each_once(photographs, [])
    identities = np.stack([photograph.identity for photograph in once])
    return mean_direction(identities if keep_all else identities[_the_person(once, identities, set(), [])])


def _in_common(files: Sequence[_File]) -> Float[np.ndarray, " d"] | None:
    """Who is on more than half of some group pictures; None where nobody is, or more than one."""
    everybody = np.concatenate([file.identities for file in files])
    shown_on = np.sum([(file.identities @ everybody.T).max(axis=0) >= SAME_PERSON for file in files], axis=0)
    often = shown_on > max(1, len(files) / 2)
    # Nobody is on a photograph twice, and any two who are on most of them meet on one.
    last = np.cumsum([len(file.faces) for file in files])[:-1]
    if not often.any() or any(faces.sum() > 1 for faces in np.split(often, last)):
        return None
    return mean_direction(everybody[often])


def _told_by(person: Float[np.ndarray, " d"] | None, identities: Float[np.ndarray, "n d"]) -> tuple[int, bool]:
    """Position of the face that is taken for a person's, and whether it stands out; of equals it is the first."""
    if person is None:
        return 0, False
    cosine = identities @ person
    if cosine.max() < SAME_PERSON:
        return 0, False
    alike = np.flatnonzero(cosine > cosine.max() - STANDING_OUT)
    return int(alike[0]), len(alike) == 1


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
            set_aside.append((each.path, f"the same photograph as {best.name}{words}, which counts once"))
        names = (*best.origin.copies, *(name for each, _ in others for name in (each.path.name, *each.origin.copies)))
        kept.append(replace(best, origin=replace(best.origin, copies=names)))
    return kept


def _the_person(
    photographs: Sequence[Photograph],
    identities: Float[np.ndarray, "k d"],
    guessed: Set[Path],
    set_aside: list[tuple[Path, str]],
) -> list[int]:
    """Positions of the largest group; notes the others. Faces that were guessed make none larger than one of others."""

    def told(group: Int[np.ndarray, " _"]) -> int:
        return sum(photographs[position].path not in guessed for position in group)

    groups = sorted(group_by_person(identities), key=lambda group: (-told(group), -len(group), group[0]))
    if len(groups) > 1 and told(groups[0]) == told(groups[1]) > 0:
        names = " and ".join(photographs[group[0]].name for group in groups[:2])
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
