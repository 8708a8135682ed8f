"""Finished parts -> one data set."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from idfsr_jax.data.extract import Refusal
from idfsr_jax.data.identity_faces import IdentityFaces
from idfsr_jax.data.parts import FaceRecord, read_part


def join_parts(paths: Sequence[Path]) -> tuple[dict[str, Path], list[Refusal]]:
    """The part file of each usable photograph, in order; copies of an earlier file are refused."""
    first: dict[str, str] = {}
    faces: dict[str, Path] = {}
    refusals: list[Refusal] = []
    for path in paths:
        records, refused = _whole_part(path)
        for record in records:
            original = first.setdefault(record.source_sha256, record.photo)
            if original != record.photo:
                message = f"{record.photo}: is the same file as {original}."
                refused.append(Refusal(record.photo, "copy of another", message))
            else:
                faces[record.photo] = path
        refusals.extend(refused)
    return faces, sorted(refusals, key=lambda refusal: refusal.photo)


def _whole_part(path: Path) -> tuple[list[FaceRecord], list[Refusal]]:
    part = read_part(path)
    if part is None:
        raise OSError(f"{path}: vanished or was damaged while it was being used")
    return part


def build_dataset(
    out: Path, kept: dict[str, list[tuple[str, Path]]], identity_of: dict[str, str], encoder: str, embedding_size: int
) -> Path:
    """Writes the data set from the parts; what an earlier, broken run left of one is removed."""
    shutil.rmtree(out / "identity_faces", ignore_errors=True)

    def records_of(split: str) -> Callable[[], Iterator[tuple[str, FaceRecord]]]:
        wanted = {photo for photo, _ in kept[split]}
        paths = list(dict.fromkeys(path for _, path in kept[split]))

        def records() -> Iterator[tuple[str, FaceRecord]]:
            for path in paths:
                for record in _whole_part(path)[0]:
                    if record.photo in wanted:
                        yield identity_of[record.photo], record

        return records

    builder = IdentityFaces(
        data_dir=out,
        records={split: records_of(split) for split in kept},
        encoder=encoder,
        embedding_size=embedding_size,
    )
    tfds.disable_progress_bar()
    try:
        # TFDS announces its work on standard output; the report says it better.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()
    shutil.rmtree(out / "downloads", ignore_errors=True)
    return Path(builder.data_path)
