from pathlib import Path

import pytest

from idfsr_jax.data.folder import Listing
from idfsr_jax.data.lists import list_by_identity_file, list_by_references
from idfsr_jax.io.errors import InputError


def _who(listing: Listing) -> dict[str, tuple[str, str]]:
    return {photograph.name: (photograph.identity, photograph.split) for photograph in listing.photographs}


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"picture")
    return folder


def _table(folder: Path, name: str, *rows: tuple[str, object]) -> Path:
    path = folder / name
    path.write_text("gt_image,ref_image\n" + "".join(f'{target},"{references}"\n' for target, references in rows))
    return path


def test_celebas_identity_file_names_the_people(tmp_path):
    photos = _touch(tmp_path / "img", "000001.jpg", "000002.jpg", "000003.jpg")
    (tmp_path / "identity.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n000003.jpg 2880\n")
    listing = list_by_identity_file(photos, tmp_path / "identity.txt")
    assert _who(listing) == {
        "000001.jpg": ("2880", "train"),
        "000002.jpg": ("2937", "train"),
        "000003.jpg": ("2880", "train"),
    }
    assert {photograph.size for photograph in listing.photographs} == {7}
    splits = _touch(tmp_path / "splits", "val.txt")
    (splits / "val.txt").write_text("2937\n99\n")
    listing = list_by_identity_file(photos, tmp_path / "identity.txt", splits)
    assert _who(listing) == {"000002.jpg": ("2937", "val")}
    assert listing.left_out == ("2880",) and listing.missing == ("99",)


def test_references_make_people_through_any_number_of_rows(tmp_path):
    names = [f"{n // 1000:02d}000/{n:05d}.png" for n in (1, 2, 3, 7, 1004)]
    photos = _touch(tmp_path / "images1024x1024", *names)
    train = _table(
        tmp_path, "train_references.csv", ("00002.png", ["00003.png"]), ("00003.png", ["00001.png"]), ("00007.png", [])
    )
    val = _table(tmp_path, "val_references.csv", ("01004.png", ["01005.png"]))
    listing = list_by_references(photos, [train, val])
    assert _who(listing) == {
        "00000/00001.png": ("00001", "train"),
        "00000/00002.png": ("00001", "train"),
        "00000/00003.png": ("00001", "train"),
        "00000/00007.png": ("00007", "train"),
        "01000/01004.png": ("01004", "val"),
        "01005.png": ("01004", "val"),
    }
    assert listing.photographs[-1].size == 0, "what is named and not there is left to the report"


def test_photographs_saved_in_another_format_are_found_by_their_names(tmp_path):
    photos = _touch(tmp_path / "images512x512", "00002.jpg", "00003.jpg")
    table = _table(tmp_path, "test_references.csv", ("00002.png", ["00003.png"]))
    assert _who(list_by_references(photos, [table])) == {"00002.jpg": ("00002", "test"), "00003.jpg": ("00002", "test")}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("references.csv", "gt_image,ref_image\n", "does not begin with train_"),
        ("train_references.csv", "gt_image,ref_image\n", "names no photograph"),
        ("train_references.csv", "image,other\n1.png,2.png\n", "line 2 has no gt_image"),
        ("train_references.csv", "gt_image,ref_image\n1.png,__import__('os')\n", "line 2 has no gt_image"),
        ("train_references.csv", "gt_image,ref_image\n1.png,[3]\n", "line 2 has no gt_image"),
        ("train_references.csv", "gt_image,ref_image\n8.png,['9.png']\n", "holds none of the photographs"),
    ],
)
def test_what_is_no_table_of_references_is_refused(tmp_path, name, text, said):
    photos = _touch(tmp_path / "photos", "1.png", "2.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        list_by_references(photos, [tmp_path / name])


def test_a_photograph_in_two_splits_is_refused(tmp_path):
    photos = _touch(tmp_path / "photos", "1.png", "2.png")
    tables = [_table(tmp_path, f"{split}_references.csv", ("1.png", ["2.png"])) for split in ("train", "test")]
    with pytest.raises(InputError, match=r"1\.png is in train_references\.csv too"):
        list_by_references(photos, tables)


def test_an_identity_file_with_other_lines_is_refused(tmp_path):
    photos = _touch(tmp_path / "photos", "1.png")
    (tmp_path / "who.txt").write_text("1.png 5\n1.png\n")
    with pytest.raises(InputError, match="line 2 is not a file's name and a person's"):
        list_by_identity_file(photos, tmp_path / "who.txt")
    with pytest.raises(InputError, match="cannot be read"):
        list_by_identity_file(photos, tmp_path / "nowhere.txt")
