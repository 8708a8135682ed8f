import dataclasses
from pathlib import Path

import numpy as np
import pytest

from idfsr_jax.data.extract import Refusal
from idfsr_jax.data.folder import Photograph
from idfsr_jax.data.parts import part_digest, read_part, write_part

REFUSALS = [Refusal("Al/é.jpg", "no face", "Al/é.jpg: no face was found.")]


@pytest.fixture
def records(train_records):
    return [record for _, record in train_records[:3]]


def test_round_trip(tmp_path, records):
    write_part(tmp_path / "parts" / "a.npz", records, REFUSALS)
    read, refusals = read_part(tmp_path / "parts" / "a.npz")
    assert refusals == REFUSALS
    for left, right in zip(read, records, strict=True):
        assert (left.photo, left.jpeg, left.source_sha256) == (right.photo, right.jpeg, right.source_sha256)
        np.testing.assert_array_equal(left.landmarks, right.landmarks)
        np.testing.assert_array_equal(left.embedding, right.embedding)


def test_a_part_of_refusals_only(tmp_path):
    write_part(tmp_path / "a.npz", [], REFUSALS)
    assert read_part(tmp_path / "a.npz") == ([], REFUSALS)


def test_damage_is_noticed(tmp_path, records):
    path = tmp_path / "a.npz"
    assert read_part(path) is None
    write_part(path, records, [])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert read_part(path) is None
    at = whole.index(records[1].jpeg) + 20
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert read_part(path) is None


def test_digest_follows_files_and_settings():
    photograph = Photograph("Al/1.jpg", Path("/elsewhere/Al/1.jpg"), "Al", "train", 10, 20)
    digest = part_digest([photograph], {"encoder": "a"})
    moved = dataclasses.replace(photograph, path=Path("/moved/Al/1.jpg"), split="val")
    assert part_digest([moved], {"encoder": "a"}) == digest
    changed = [
        dataclasses.replace(photograph, **change) for change in ({"size": 11}, {"modified": 21}, {"name": "Al/2.jpg"})
    ]
    assert digest not in [part_digest([other], {"encoder": "a"}) for other in changed]
    assert part_digest([photograph], {"encoder": "b"}) != digest
