import os
from pathlib import Path

import pytest
from PIL import Image

from idfsr_jax.data.folder import list_photographs, people_of_val, read_splits
from idfsr_jax.io.errors import InputError


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


def test_system_files_are_silent(two_people):
    for name in ("Thumbs.db", "desktop.ini", "__MACOSX/._x", "Al/Thumbs.db", "Al/desktop.ini", "Al/__MACOSX/._1.jpg"):
        (two_people / name).parent.mkdir(exist_ok=True)
        (two_people / name).touch()
    listing = list_photographs(two_people)
    assert [photograph.name for photograph in listing.photographs] == ["Al/1.jpg", "Zoe/1.jpg", "Zoe/2.jpg"]
    assert listing.stray == ()


def test_names_that_are_no_text_are_escaped(two_people):
    (two_people / os.fsdecode(b"Ren\xe9")).mkdir()
    (two_people / os.fsdecode(b"Ren\xe9/\xff.jpg")).touch()
    (two_people / os.fsdecode(b"\xfe.txt")).touch()
    listing = list_photographs(two_people)
    photograph = next(each for each in listing.photographs if each.identity == "Ren\\xe9")
    assert photograph.name == "Ren\\xe9/\\xff.jpg" and photograph.path.is_file()
    assert listing.stray == ("\\xfe.txt",)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (["a.png", "b.png"], "pictures lie in it itself; put those of each person into a folder of their own"),
        (["all/Ann/a.png", "all/Bea/b.png"], "pictures lie one folder deeper; give {}/all."),
        (["Ann/summer/a.png", "Bea/winter/b.png"], "one folder deeper, in {}/Ann/summer for one"),
        ([".hidden/a.png", "notes/x/y.txt"], "each person needs a folder with photographs in it"),
    ],
)
def test_folders_one_level_off_are_told(tmp_path, where, said):
    for name in where:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("png"):
            Image.new("RGB", (4, 4)).save(tmp_path / name)
        else:
            (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        list_photographs(tmp_path)
    assert said.format(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_share_of_the_people_is_val(two_people):
    listing = list_photographs(two_people, val_people=0.1)
    assert {each.split for each in listing.photographs} == {"train", "val"}
    people = [f"person {number}" for number in range(100)]
    chosen = people_of_val(people, 0.1)
    assert len(chosen) == 10 and chosen == people_of_val(people[::-1], 0.1)
    assert len(chosen & people_of_val([*people, "one more"], 0.1)) >= 9
    assert people_of_val(people, 0.0) == frozenset()
    with pytest.raises(InputError, match="two of them"):
        people_of_val(["one"], 0.5)
