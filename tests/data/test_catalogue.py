"""Data sets of the TFDS catalogue, written here by builders with the features that TFDS's own have."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.data import prepare as prepare_module
from idfsr_jax.data.catalogue import unpack
from idfsr_jax.data.examples import load_people, training_examples
from idfsr_jax.data.faces import load_faces
from idfsr_jax.data.folder import list_photographs
from idfsr_jax.data.index import load_index
from idfsr_jax.io.errors import InputError


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


def test_classes_are_called_by_their_names(catalogue, tmp_path):
    image = tfds.features.Image(shape=(None, None, 3))
    records = [{"image": _picture(0), "label": "Bo"}, {"image": _picture(1), "label": "Ann"}]
    named, counted = (tfds.features.ClassLabel(**each) for each in ({"names": ["Ann", "Bo"]}, {"num_classes": 9}))
    _written(catalogue, "named", {"image": image, "label": named}, {"train": records})
    _written(catalogue, "counted", {"image": image, "label": counted}, {"train": [{"image": _picture(0), "label": 7}]})
    people = [
        {each.identity for each in list_photographs(*unpack(name, tmp_path)).photographs}
        for name in ("named", "counted")
    ]
    assert people == [{"Ann", "Bo"}, {"000007"}], "each data set apart, in one folder"


@pytest.fixture
def faces(photographs) -> dict[str, list[bytes]]:
    """Files that show a face, of three people."""
    files = {"Ann": ("1.jpg", "2.jpg", "3.png"), "Bea": ("1.jpg", "2.jpg"), "Cid": ("1.jpg",)}
    return {who: [(photographs / who / name).read_bytes() for name in names] for who, names in files.items()}


def test_the_command_goes_from_lfw_to_a_batch_of_examples(catalogue, faces, tmp_path, capsys):
    """As of TFDS's own `lfw`, which has no splits; the lists give them."""
    features = {"label": tfds.features.Text(), "image": tfds.features.Image(shape=(None, None, 3))}
    records = [{"label": who, "image": image} for who, images in faces.items() for image in images]
    _written(catalogue, "lfw", features, {"train": records})
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/train.txt").write_text("Ann\nBea\n")
    (tmp_path / "splits/val.txt").write_text("Cid\n")
    out = tmp_path / "out"
    command = ["prepare", "--photos", "tfds:lfw", "--splits", str(tmp_path / "splits"), "--out", str(out)]
    assert cli.main([*command, "--workers", "0"]) == 0
    assert "6 of 6 photographs kept" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["identity_faces", "report.json"]
    index = load_index(out, "train")
    assert sorted(index.people[person] for person in index.person) == ["Ann"] * 3 + ["Bea"] * 2
    people = load_people(load_faces(out, "train", 32), index.embeddings.mean(0), (128, 192), 2)
    batch = next(iter(training_examples(people, 0, 4)))
    assert batch["target"].shape == (4, 32, 32, 3) and batch["references"].shape == (4, 2, 32, 32, 3)
    assert all(80 < image.mean() < 200 and image.std() > 30 for image in batch["target"]), "pictures, not noise"
    assert set(batch["record"]) <= set(range(5))
    np.testing.assert_array_equal(batch["truth"], people.units[batch["record"]])


def test_the_command_takes_the_splits_and_numbers_of_celeba(catalogue, faces, tmp_path):
    image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
    features = {"image": image, "attributes": {"Smiling": np.bool_}, "identity": {"Identity_No": np.int64}}

    def record(who: str, place: int, number: int) -> dict[str, Any]:
        return {
            "image": faces[who][place],
            "attributes": {"Smiling": True},
            "identity": {"Identity_No": number},
        }

    splits = {"train": [record("Ann", 0, 12), record("Ann", 1, 12)], "validation": [record("Bea", 0, 7)]}
    _written(catalogue, "celeb_a", features, splits)
    out = tmp_path / "out"
    assert cli.main(["prepare", "--photos", "tfds:celeb_a", "--out", str(out), "--workers", "0"]) == 0
    assert [load_index(out, split).people for split in ("train", "val")] == [("000012",), ("000007",)]


def test_the_command_says_what_cannot_be_had_from_here(catalogue, tmp_path, capsys):
    assert cli.main(["prepare", "--photos", "tfds:lfw", "--out", str(tmp_path / "out")]) == 2
    complaint = capsys.readouterr().err
    assert "`tfds build lfw --file_format=array_record`" in complaint and "the network" in complaint
    assert complaint.count("\n") == 1 and not (tmp_path / "out").exists()


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
