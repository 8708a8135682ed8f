from pathlib import Path

import pytest

from idfsr_jax.data.folder import list_photographs, read_splits
from idfsr_jax.errors import InputError


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def two_people(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("Zoe/2.jpg", "Zoe/1.jpg", "Al/1.jpg", "Al/.DS_Store"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_photographs_are_sorted_and_hidden_files_passed_over(two_people):
    listing = list_photographs(two_people)
    assert [photograph.name for photograph in listing.photographs] == ["Al/1.jpg", "Zoe/1.jpg", "Zoe/2.jpg"]
    assert {photograph.split for photograph in listing.photographs} == {"train"}
    assert listing.stray == listing.left_out == listing.missing == ()


def test_splits_assign_leave_out_and_miss_people(two_people, tmp_path):
    splits = _write(tmp_path / "splits", val="Zoe\nNobody\n\n")
    listing = list_photographs(two_people, splits)
    assert [(photograph.name, photograph.split) for photograph in listing.photographs] == [
        ("Zoe/1.jpg", "val"),
        ("Zoe/2.jpg", "val"),
    ]
    assert listing.left_out == ("Al",)
    assert listing.missing == ("Nobody",)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({}, "none of train.txt"),
        ({"train": "\n \n"}, "train.txt"),
        ({"train": "Al\nZoe", "test": "Zoe"}, "Zoe is in train.txt too"),
        ({"train": "Al", "val": "Nobody"}, "val.txt"),
    ],
)
def test_senseless_splits_are_refused_in_one_sentence(two_people, tmp_path, files, named):
    splits = _write(tmp_path / "splits", **files)
    with pytest.raises(InputError, match=named) as error:
        list_photographs(two_people, splits)
    assert "\n" not in str(error.value) and str(splits) in str(error.value)


def test_splits_that_are_no_text_are_refused(tmp_path):
    folder = _write(tmp_path / "splits")
    (folder / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_splits(folder)


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        list_photographs(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no photograph"):
        list_photographs(tmp_path)
