"""A folder of photographs -> a prepared data set: in parallel, resumable, one bad file never stopping the rest."""

import contextlib
import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8
from rich.progress import Progress

from idfsr_jax.data.assemble import build_dataset, join_parts
from idfsr_jax.data.catalogue import PREFIX, unpack
from idfsr_jax.data.extract import Extracted, Refusal
from idfsr_jax.data.folder import SPLIT_NAMES, Listing, Photograph, list_photographs
from idfsr_jax.data.lists import list_by_identity_file, list_by_references
from idfsr_jax.data.parts import FaceRecord, part_digest, read_part, write_part
from idfsr_jax.data.report import Report, SplitCount, read_report, write_report
from idfsr_jax.data.workers import extract_all, usable_cores
from idfsr_jax.io.errors import InputError
from idfsr_jax.networks.id_encoder import IdEncoder
from idfsr_jax.networks.recognisers import (
    chip_kind,
    dimensions,
    load_recognisers,
    photograph_descriptors,
    recognisers_name,
)

_PHOTOGRAPHS_A_PART = 64
_UNPACKED = "unpacked"
_FORMAT = 2
"""Raised whenever the same photographs would make another data set."""

Describe = Callable[[UInt8[np.ndarray, "b c c 3"]], Float32[np.ndarray, "b d"]]


def prepare(
    photos: str | Path,
    out: str | Path,
    *,
    splits: str | Path | None = None,
    lists: Sequence[str | Path] = (),
    identities: str | Path | None = None,
    workers: int | None = None,
    encoder: str = "dlib",
    val_people: float = 0.0,
    progress: bool = True,
) -> Report:
    """Cuts out, measures and stores every face of a folder of identities (`Name/*.jpg`).

    Finished parts are kept in `out/parts`, so that a run that was killed goes on where it was and ends with the same
    data set; a run over a finished data set only reads its report. Writes `out/identity_faces/<version>` and
    `out/report.json`.

    Args:
      photos: folder that holds one folder for each person; or `tfds:NAME`, see `catalogue.unpack`.
      out: folder to write to.
      splits: folder of `train.txt`, `val.txt` and `test.txt` with identity names, one a line; without it everybody is
        in `train`. People in none of them are left out.
      lists: tables of FFHQ-Ref that name the photographs of `photos` and are the splits, see
        `lists.list_by_references`.
      identities: text file that names the person of each photograph, see `lists.list_by_identity_file`.
      workers: processes that read photographs; one for each core by default, 0 works in this process.
      encoder: "dlib", "mobilefacenet" or "arcface:PATH", or several of them joined by "+": whose descriptors to store;
        a model must be trained with the same.
      val_people: without `splits` and `lists`, share of the people that make the split `val`.
      progress: whether to show a bar.

    Returns:
      Counts, and what was refused and why.

    Raises:
      InputError: the folders are not as described, a split keeps no photograph, or `out` holds another data set.
      BadWeights: the encoder is missing or damaged.
    """
    began = time.monotonic()
    if not 0.0 <= val_people < 1.0:
        raise InputError(f"--val-people {val_people:g}: give a share of the people, from 0 to less than 1.")
    if val_people and (splits is not None or lists):
        raise InputError("--val-people divides people who are in no split yet; leave out --splits and --lists, or it.")
    catalogued, out = str(photos).startswith(PREFIX), Path(out).expanduser().absolute()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder to write to.")
    if catalogued and (lists or identities is not None):
        raise InputError(f"{photos}: says itself who is shown; leave --lists and --identities out.")
    if catalogued:
        photos, own_splits = unpack(str(photos).removeprefix(PREFIX), out / _UNPACKED)
        splits = own_splits if splits is None else splits
    photos = Path(photos).expanduser().absolute()
    if out.resolve().is_relative_to(photos.resolve()):
        raise InputError(f"{out}: lies in the folder of photographs, {photos}; give another folder to write to.")
    listing = _listed(photos, splits, lists, identities, val_people)
    recognisers = load_recognisers(encoder)
    chunks = [
        listing.photographs[start : start + _PHOTOGRAPHS_A_PART]
        for start in range(0, len(listing.photographs), _PHOTOGRAPHS_A_PART)
    ]
    name = recognisers_name(recognisers)
    settings = {"format": _FORMAT, "encoder": name}
    digests = [part_digest(chunk, settings) for chunk in chunks]
    named = [(photograph.name, photograph.split) for photograph in listing.photographs]
    fingerprint = hashlib.sha256(json.dumps([digests, named]).encode()).hexdigest()
    parts = out / "parts"
    done = read_report(out / "report.json")
    if done is not None and (out / done.dataset).is_dir():
        if done.fingerprint != fingerprint:
            raise InputError(f"{out}: holds a data set of other photographs or settings; give another folder.")
        _clear(out)
        return done

    paths = [parts / f"{digest}.npz" for digest in digests]
    read = _fill_parts(chunks, paths, recognisers, usable_cores() if workers is None else workers, progress)
    seconds = time.monotonic() - began
    faces, refusals = join_parts(paths)
    split_of = {photograph.name: photograph.split for photograph in listing.photographs}
    identity_of = {photograph.name: photograph.identity for photograph in listing.photographs}
    present = [split for split in SPLIT_NAMES if split in set(split_of.values())]
    kept = {split: [(photo, path) for photo, path in faces.items() if split_of[photo] == split] for split in present}
    for split, members in kept.items():
        if not members:
            which = refusals[0].message.rstrip(".") if refusals else "the folder"
            raise InputError(f"{photos}: no photograph of the split {split} can be used; see {which}.")
    dataset = build_dataset(out, kept, identity_of, name, sum(dimensions(recognisers)))
    report = Report(
        dataset=dataset.relative_to(out).as_posix(),
        fingerprint=fingerprint,
        encoder=name,
        photographs=len(listing.photographs),
        kept=len(faces),
        splits={split: _count([identity_of[photo] for photo, _ in members]) for split, members in kept.items()},
        refusals=tuple(refusals),
        stray=listing.stray,
        people_left_out=len(listing.left_out),
        people_missing=listing.missing,
        people_lost=tuple(sorted(set(identity_of.values()) - {identity_of[photo] for photo in faces})),
        seconds=round(time.monotonic() - began, 1),
        photographs_per_second=round(read / max(seconds, 1e-6), 2),
    )
    write_report(out / "report.json", report)
    _clear(out)
    return report


def _listed(
    photos: Path,
    splits: str | Path | None,
    lists: Sequence[str | Path],
    identities: str | Path | None,
    val_people: float,
) -> Listing:
    chosen = Path(splits).expanduser().absolute() if splits is not None else None
    if lists:
        if identities is not None or chosen is not None:
            raise InputError("--lists say who is shown and what the splits are; leave --identities and --splits out.")
        return list_by_references(photos, [Path(table).expanduser() for table in lists])
    if identities is not None:
        return list_by_identity_file(photos, Path(identities).expanduser(), chosen, val_people)
    return list_photographs(photos, chosen, val_people)


def _clear(out: Path) -> None:
    """Removes what was only needed on the way."""
    for name in ("parts", _UNPACKED):
        shutil.rmtree(out / name, ignore_errors=True)


def _describer(encoder: IdEncoder) -> Describe:
    """The recogniser at one fixed batch size, so that it compiles once and a face's neighbours change nothing."""

    @jax.jit
    def describe(encoder: IdEncoder, chips: UInt8[jax.Array, "b c c 3"]) -> Float32[jax.Array, "b d"]:
        return photograph_descriptors(encoder, chips.astype(jnp.float32))

    def padded(chips: UInt8[np.ndarray, "b c c 3"]) -> Float32[np.ndarray, "b d"]:
        batch = np.zeros((_PHOTOGRAPHS_A_PART, *chips.shape[1:]), np.uint8)
        batch[: len(chips)] = chips
        return np.asarray(describe(encoder, batch))[: len(chips)]

    return padded


def _fill_parts(
    chunks: Sequence[Sequence[Photograph]],
    paths: Sequence[Path],
    recognisers: Sequence[IdEncoder],
    workers: int,
    show: bool,
) -> int:
    """Does the parts that are missing or damaged; returns how many photographs it read."""
    missing = [(chunk, path) for chunk, path in zip(chunks, paths, strict=True) if read_part(path) is None]
    wanted = [photograph for chunk, _ in missing for photograph in chunk]
    if not wanted:
        return 0
    describers = [_describer(recogniser) for recogniser in recognisers]
    total = sum(len(chunk) for chunk in chunks)
    with Progress(disable=not show) as bar:
        task = bar.add_task("photographs", total=total, completed=total - len(wanted))
        results = extract_all(wanted, [chip_kind(each) for each in recognisers], workers)
        with contextlib.closing(results):
            for chunk, path in missing:
                faces: list[tuple[Photograph, Extracted]] = []
                refusals: list[Refusal] = []
                for photograph, result in zip(chunk, results):
                    if isinstance(result, Refusal):
                        refusals.append(result)
                    else:
                        faces.append((photograph, result))
                    bar.advance(task)
                write_part(path, _records(faces, describers), refusals)
    return len(wanted)


def _records(faces: Sequence[tuple[Photograph, Extracted]], describers: Sequence[Describe]) -> list[FaceRecord]:
    if not faces:
        return []
    columns = [
        describe(np.stack([face.chips[number] for _, face in faces])) for number, describe in enumerate(describers)
    ]
    embeddings = np.concatenate(columns, axis=1)
    return [
        FaceRecord(photograph.name, face.jpeg, face.landmarks, embedding, face.frame, face.source_sha256)
        for (photograph, face), embedding in zip(faces, embeddings, strict=True)
    ]


def _count(identities: Sequence[str]) -> SplitCount:
    photographs = Counter(identities)
    several = sum(count > 1 for count in photographs.values())
    return SplitCount(people=len(photographs), people_with_two=several, photographs=len(identities))
