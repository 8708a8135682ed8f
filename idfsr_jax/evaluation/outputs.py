"""Other systems in the same tables: a protocol's pictures written for them to run on, and what they made, read.

A picture's file has the photograph's name in the protocol, with `__` for `/`, as PNG. Inputs, and what was made of
them, lie in a folder for each scale, degradation and seed.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8

from idfsr_jax.evaluation.methods import Method, main_count
from idfsr_jax.evaluation.protocol import Protocol, setting_name, write_protocol
from idfsr_jax.evaluation.study import Case, Study, cases_of, low_resolution
from idfsr_jax.face import read_image, resize_crop, write_image
from idfsr_jax.io.errors import BadConfig, InputError, UnreadableImage
from idfsr_jax.io.files import file_sha256
from idfsr_jax.io.names import fitted

_NAMED = 5
"""So many bad files are named in a complaint."""


def write_inputs(study: Study, folder: Path, batch: int) -> None:
    """Writes all that a system needs to take part in a protocol; the pictures show people.

    `protocol.json` says which photographs are whose, `photographs` holds those that may be given, `truths` those that
    are to come out, both at the side of the study's crops, and each other folder the LR pictures of one setting.

    Args:
      study: the photographs.
      folder: is made.
      batch: LR pictures at once.

    Raises:
      BadConfig: two photographs would have one name.
    """
    protocol = study.protocol
    _require_distinct(protocol)
    write_protocol(folder / "protocol.json", protocol)
    for person in protocol.people:
        for kind, photos in (("photographs", person.photographs), ("truths", person.restored)):
            for photo in photos:
                write_image(folder / kind / _file_name(photo), study.images[study.record[photo]])
    for cases in _settings(protocol):
        for start in range(0, len(cases), batch):
            chunk = cases[start : start + batch]
            given = low_resolution(study, [*chunk, *[chunk[-1]] * (batch - len(chunk))])
            for case, image in zip(chunk, given.y, strict=False):
                write_image(_path(folder, case), image)


def output_method(name: str, folder: str, study: Study) -> tuple[Method, list[str]]:
    """A system whose pictures lie in a folder, as a method, and what is to be said of them, a sentence each.

    Args:
      name: what reports call it.
      folder: as `write_inputs` lays it out.
      study: whose cases they are.

    Raises:
      InputError: the folder of a setting is missing, or a picture is unreadable or not square.
    """
    _require_distinct(study.protocol)
    notes, bad = [], []
    for cases in _settings(study.protocol):
        paths = [_path(Path(folder), case) for case in cases]
        place = paths[0].parent
        if not place.is_dir():
            raise InputError(f"{place}: no such folder; put what {name} made there, or leave that setting out.")
        there = [path for path in paths if path.exists()]
        shapes = []
        for path in there:
            try:
                shapes.append(read_image(path).shape[:2])
            except UnreadableImage:
                shapes.append((0, 1))
        bad += [path for path, (height, width) in zip(there, shapes, strict=True) if height != width]
        other = sum(height != study.size for height, _ in shapes)
        if len(there) < len(paths):
            notes.append(f"{name}: {len(paths) - len(there)} of {len(paths)} pictures of {place.name} are missing; "
                         "they are failures, measured as black pictures.")  # fmt: skip
        if other:
            notes.append(f"{name}: {other} of {len(paths)} pictures of {place.name} are of another size and were "
                         f"resized to {study.size} px by Lanczos filtering.")  # fmt: skip
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise InputError(
            f"{', '.join(map(str, bad[:_NAMED]))}{more}: damaged, no picture or not square; replace what is named, or "
            "delete it, so that it counts as a failure."
        )
    return Method(name, "outputs", main_count(study.protocol), folder=folder), notes


def read_outputs(method: Method, cases: Sequence[Case], size: int) -> UInt8[np.ndarray, "b s s 3"]:
    """What a system made of cases, at side `size`; black where there is nothing."""
    images = np.zeros((len(cases), size, size, 3), np.uint8)
    for image, case in zip(images, cases, strict=True):
        path = _path(Path(method.folder), case)
        if path.exists():
            image[:] = resize_crop(read_image(path), size)
    return images


def sums_of_outputs(method: Method, cases: Sequence[Case]) -> list[str]:
    """SHA-256 of each file that `read_outputs` reads; empty where there is none."""
    paths = [_path(Path(method.folder), case) for case in cases]
    return [file_sha256(path) if path.exists() else "" for path in paths]


def _settings(protocol: Protocol) -> list[list[Case]]:
    """The cases of each scale, degradation and seed."""
    return [
        [case for case in cases_of(protocol, scale, degradation) if case.seed == seed]
        for scale, degradation in protocol.settings
        for seed in protocol.seeds
    ]


def _path(folder: Path, case: Case) -> Path:
    setting = setting_name((case.scale, case.degradation)).replace(", ", "_")
    return folder / f"{setting}_seed{case.seed}" / _file_name(case.photo)


def _file_name(photo: str) -> str:
    return fitted(str(PurePosixPath(photo).with_suffix("")).replace("/", "__"), ".png")


def _require_distinct(protocol: Protocol) -> None:
    owners: dict[str, str] = {}
    for photo in (photo for person in protocol.people for photo in (*person.photographs, *person.restored)):
        other = owners.setdefault(_file_name(photo), photo)
        if other != photo:
            raise BadConfig(f"{protocol.name}: {other} and {photo} would be one file here; leave one of them out.")
