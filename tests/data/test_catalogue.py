"""Data sets of the TFDS catalogue, written here by builders with the features that TFDS's own have."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from idfsr_jax.data import prepare as prepare_module
from idfsr_jax.data.catalogue import unpack
from idfsr_jax.data.folder import list_photographs
from idfsr_jax.errors import InputError


def _picture(seed: int, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def _written(folder: Path, name: str, features: dict[str, Any], splits: dict[str, list[dict[str, Any]]]) -> Path:
    """Writes a data set as `tfds build NAME --file_format=array_record` does."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("2.1.0")
        pkg_dir_path = folder

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: enumerate(records) for split, records in splits.items()}

        def _generate_examples(self, records):
            return records

    Builder.name = name
    Builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture
def catalogue(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "tfds"
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def lfw(catalogue) -> Path:
    features = {"label": tfds.features.Text(), "image": tfds.features.Image(shape=(None, None, 3))}
    people = [("Ann_Lee", _picture(0)), ("Ann_Lee", _picture(1)), ("Bo/..", _picture(2, "PNG"))]
    return _written(catalogue, "lfw", features, {"train": [{"label": who, "image": image} for who, image in people]})


def test_a_labelled_data_set_becomes_a_folder_of_identities(lfw, tmp_path):
    photos, splits = unpack("lfw", tmp_path / "out")
    assert splits is None
    listing = list_photographs(photos)
    assert sorted(photograph.identity for photograph in listing.photographs) == ["Ann_Lee", "Ann_Lee", "Bo_.."]
    pictures = {photograph.path.read_bytes() for photograph in listing.photographs}
    assert pictures == {_picture(0), _picture(1), _picture(2, "PNG")}, "as they were stored"
    assert {photograph.modified for photograph in listing.photographs} == {0}
    again = unpack(str(lfw / "lfw"), tmp_path / "again")[0]
    assert [(p.name, p.size, p.modified) for p in list_photographs(again).photographs] == [
        (p.name, p.size, p.modified) for p in listing.photographs
    ]


def test_celebas_identities_and_splits_are_taken(catalogue, tmp_path):
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "attributes": {"Smiling": np.bool_},
        "identity": {"Identity_No": np.int64},
    }
    record = lambda seed, who: {  # noqa: E731
        "image": _picture(seed),
        "attributes": {"Smiling": True},
        "identity": {"Identity_No": who},
    }
    _written(catalogue, "celeb_a", features, {"train": [record(0, 7), record(1, 12)], "validation": [record(2, 3)]})
    listing = list_photographs(*unpack("celeb_a", tmp_path / "out"))
    assert {(photograph.identity, photograph.split) for photograph in listing.photographs} == {
        ("000007", "train"),
        ("000012", "train"),
        ("000003", "val"),
    }


def test_prepare_reads_the_catalogue_and_leaves_no_photographs(lfw, tmp_path, monkeypatch):
    seen: list[str] = []

    def listed(photos, *rest):
        seen.extend(photograph.identity for photograph in list_photographs(photos).photographs)
        raise InputError("far enough")

    monkeypatch.setattr(prepare_module, "_listed", listed)
    with pytest.raises(InputError, match="far enough"):
        prepare_module.prepare("tfds:lfw", tmp_path / "out", workers=0)
    assert len(seen) == 3
    with pytest.raises(InputError, match="leave --lists and --identities out"):
        prepare_module.prepare("tfds:lfw", tmp_path / "out", identities=tmp_path / "who.txt")


def test_what_is_not_here_is_said_with_what_makes_it(catalogue, tmp_path):
    with pytest.raises(InputError, match=r"tfds:lfw: is not prepared .* `tfds build lfw --file_format=array_record`"):
        unpack("lfw", tmp_path / "out")


def test_what_only_tensorflow_reads_is_refused(lfw, tmp_path):
    described = next(lfw.glob("lfw/*/dataset_info.json"))
    facts = json.loads(described.read_text())
    facts["fileFormat"] = "tfrecord"
    described.write_text(json.dumps(facts))
    with pytest.raises(InputError, match="is stored as tfrecord, which only TensorFlow reads"):
        unpack("lfw", tmp_path / "out")


def test_a_data_set_without_people_is_refused(catalogue, tmp_path):
    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    _written(catalogue, "scenes", features, {"train": [{"image": _picture(0)}]})
    with pytest.raises(InputError, match="no image with an identity or label"):
        unpack("scenes", tmp_path / "out")
