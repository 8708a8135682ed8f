"""A folder of somebody's photographs, read by a stand-in: the file's name says what is on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from idfsr_jax.face import Box, FaceCrop
from idfsr_jax.io.errors import InputError, NoFace
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.photographs import MAX_PHOTOGRAPHS, choose_references, gather_photographs

LANDMARKS = np.zeros((68, 2), np.float32)


def crop_of(name: str) -> FaceCrop:
    """A crop whose first pixel says who it is; blurred ones are flat."""
    rng = np.random.default_rng(list(name.encode()))
    image = rng.integers(0, 256, (96, 96, 3)).astype(np.uint8)
    if "blurred" in name:
        image = np.array(Image.fromarray(image[::12, ::12]).resize((96, 96), Image.Resampling.BICUBIC))
    image[0, 0] = ord(name[0])
    return FaceCrop(image, LANDMARKS, np.diag([96.0, 96.0, 1.0]))


def read(path: Path, box: Box | None) -> list[FaceCrop]:
    """Whoever is named in a file's name, joined by +; a box's x points at one of them, counted from 0."""
    if "landscape" in path.name:
        raise NoFace(f"{path}: no face was found.")
    names = path.stem.split("+")
    crops = [
        replace(crop_of(name), box=(left, 0, 9, 9), which=f"face {left + 1} of {len(names)}" if names[1:] else "")
        for left, name in enumerate(names)
    ]
    return crops if box is None else [crops.pop(box[0]), *crops]


def identities_of(crops: list[FaceCrop]) -> np.ndarray:
    """Everybody's vector, by the first letter, with a little of another direction for every photograph."""
    vectors = np.zeros((len(crops), 128), np.float32)
    for row, crop in zip(vectors, crops, strict=True):
        row[int(crop.image[0, 0, 0]) % 64] = 1.0
        row[64:] = 0.05 * np.random.default_rng(int(crop.image[5, 5, 0])).normal(size=64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def gather(tmp_path: Path, *names: str, **options):
    paths = []
    for name in names:
        path = tmp_path / name
        path.write_text(name.split(".")[0])
        paths.append(path)
    return gather_photographs(paths, identities_of, read=read, **options)


def test_what_has_no_face_and_who_is_somebody_else_are_named(tmp_path):
    gathered = gather(tmp_path, "anna1.jpg", "anna22.jpg", "landscape.jpg", "bert1.jpg", "anna333.jpg")
    assert [each.path.name for each in gathered.used] == ["anna1.jpg", "anna22.jpg", "anna333.jpg"]
    ((path, why),) = gathered.set_aside
    assert path.name == "bert1.jpg" and "somebody else" in why
    (sentence,) = gathered.unusable
    assert "landscape.jpg" in sentence
    text = "\n".join(gathered.lines())
    assert all(name in text for name in ("anna1.jpg", "bert1.jpg", "landscape.jpg", "used, 3"))
    assert gathered.warnings() == []


def test_blurred_photographs_count_less(tmp_path):
    sharp, blurred = gather(tmp_path, "anna1.jpg", "anna-blurred.jpg").used
    assert blurred.origin.weight < 0.3 < sharp.origin.weight <= 1.0
    assert blurred.detail < 25 < sharp.detail


def test_a_copy_counts_once(tmp_path):
    (tmp_path / "deep").mkdir()
    gathered = gather(tmp_path, "anna1.jpg", "anna1.png", "anna22.jpg")
    assert len(gathered.used) == 2
    assert gathered.set_aside[0][1] == "the same file as anna1.jpg"


def test_photographs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    gathered = gather(
        tmp_path, "a/anna1.jpg", "b/anna1.png", "c/anna1.png", "b/anna22.jpg", "a/bert1.jpg", "b/bert1.jpg"
    )
    a, b, c = (str(tmp_path / folder) for folder in ("a", "b", "c"))
    lines = "\n".join(gathered.lines())
    assert "\n  anna1.jpg " in lines and "\n  anna22.jpg " in lines
    for folder in (b, c):
        assert f"\n  {folder}/anna1.png: the same photograph as anna1.jpg, which" in lines
    assert f"\n  {b}/bert1.jpg: the same photograph as {a}/bert1.jpg, which" in lines
    assert f"\n  {a}/bert1.jpg: likely somebody else" in lines


def test_few_photographs_are_warned_of(tmp_path):
    assert "one photograph remains" in gather(tmp_path, "anna1.jpg").warnings()[0]
    assert "2 photographs remain" in gather(tmp_path, "anna1.jpg", "anna22.jpg").warnings()[0]


def test_photographs_that_disagree_are_warned_of(tmp_path):
    gathered = gather(tmp_path, "anna1.jpg", "anna22.jpg", "bert1.jpg", "anna333.jpg", keep_all=True)
    assert len(gathered.used) == 4 and gathered.set_aside == ()
    (warning,) = gathered.warnings()
    assert "disagree" in warning and "bert1.jpg" in warning


def test_two_people_equally_often_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"anna1\.jpg and bert1\.jpg"):
        gather(tmp_path, "anna1.jpg", "bert1.jpg")


def test_of_a_group_picture_the_face_of_the_others_is_taken_and_said(tmp_path):
    gathered = gather(tmp_path, "bert1+carl1+anna4444.jpg", "anna1.jpg", "anna22.jpg", "anna333.jpg")
    assert [each.crop.which for each in gathered.used] == ["face 3 of 3", "", "", ""]
    assert [each.origin.face for each in gathered.used] == ["face 3 of 3", "", "", ""]
    (group,) = gathered.groups
    assert (group.path.name, group.taken, len(group.faces), group.is_told) == (gathered.used[0].path.name, 2, 3, True)
    assert gathered.lines()[1].endswith("; face 3 of 3") and gathered.warnings() == []


def test_one_photograph_with_one_face_is_enough_to_tell(tmp_path):
    gathered = gather(tmp_path, "bert1+anna22.jpg", "anna1.jpg")
    assert [each.crop.which for each in gathered.used] == ["face 2 of 2", ""]


def test_a_group_picture_does_not_decide_between_two_people(tmp_path):
    """Both are on it: whoever stands in front would be taken for the person."""
    with pytest.raises(InputError, match=r"anna1\.jpg and bert1\.jpg"):
        gather(tmp_path, "anna1.jpg", "bert1.jpg", "anna22+bert22.jpg")


def test_where_nothing_tells_the_first_face_is_taken_with_a_note(tmp_path):
    gathered = gather(tmp_path, "bert1+anna22.jpg")
    (group,) = gathered.groups
    assert group.taken == 0 and not group.is_told and gathered.set_aside == ()
    said = gathered.warnings()[0]
    assert said.startswith(f"{tmp_path / 'bert1+anna22.jpg'}: nothing tells which of its 2 faces") and "--box" in said


@pytest.mark.parametrize("others", [("dora1.jpg",), ("dora1.jpg", "dora22.jpg", "dora333.jpg")])
def test_a_guessed_face_that_is_unlike_the_others_is_set_aside_without_a_note(tmp_path, others):
    """However many say the same: who stands in front says nothing about who is meant."""
    gathered = gather(tmp_path, "bert1+anna22.jpg", "bert22+carl1.jpg", *others)
    assert [each.path.name for each in gathered.used] == list(others)
    assert [path.name for path, _ in gathered.set_aside] == ["bert1+anna22.jpg", "bert22+carl1.jpg"]
    assert not any(group.is_told for group in gathered.groups)
    assert not any("nothing tells" in warning for warning in gathered.warnings())


@pytest.mark.parametrize(
    "names",
    [
        ("bert1+anna1.jpg", "carl1+anna22.jpg"),
        ("bert1+anna1.jpg", "anna22+bert22.jpg", "carl1+anna333.jpg", "emil1+dora1+carl22.jpg"),
    ],
    ids=["on both", "on most, others on half"],
)
def test_of_group_pictures_alone_the_one_on_most_of_them_is_the_person(tmp_path, names):
    gathered = gather(tmp_path, *names)
    assert [each.path.name for each in gathered.used] == [name for name in names if "anna" in name]
    assert {each.crop.image[0, 0, 0] for each in gathered.used} == {ord("a")}
    assert [group.is_told for group in gathered.groups] == ["anna" in name for name in names]
    assert not any("nothing tells" in warning for warning in gathered.warnings())


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (("bert1+anna1.jpg", "carl1+dora1.jpg"), ["bert1+anna1.jpg"]),
        (("bert1+anna1.jpg", "bert22+anna22.jpg"), ["bert1+anna1.jpg", "bert22+anna22.jpg"]),
        (("bert1+anna1.jpg", "anna22+carl1.jpg", "bert22+anna333.jpg"), ["bert1+anna1.jpg", "bert22+anna333.jpg"]),
        (("bert1+anna1.jpg", "carl1+anna22.jpg", "dora1+emil1.jpg", "fred1+gina1.jpg"), ["bert1+anna1.jpg"]),
    ],
    ids=["nobody on both", "two on both", "one on all, another on most", "one on half"],
)
def test_group_pictures_with_nobody_or_several_in_common_are_guessed_with_a_note(tmp_path, names, used):
    gathered = gather(tmp_path, *names)
    assert [each.path.name for each in gathered.used] == used and not any(group.is_told for group in gathered.groups)
    assert [group.path.name for group in gathered.groups] == list(names)
    notes = [warning for warning in gathered.warnings() if "nothing tells" in warning]
    assert [note.split(":")[0] for note in notes] == [str(tmp_path / name) for name in used]
    assert all("--box" in note for note in notes)


def test_of_two_faces_alike_the_first_is_taken_with_a_note(tmp_path):
    """A collage, or twins; whoever is unlike is none of them."""
    gathered = gather(tmp_path, "bert1+anna22+anna333.jpg", "anna1.jpg")
    assert gathered.groups[0].taken == 1 and not gathered.groups[0].is_told


def test_a_box_says_which_face_whatever_the_others_say(tmp_path):
    names = ("bert1+anna22.jpg", "anna1.jpg", "anna333.jpg")
    boxes = {tmp_path / names[0]: (0, 0, 9, 9)}
    gathered = gather(tmp_path, *names, boxes=boxes)
    assert gathered.groups[0].taken == 0 and gathered.groups[0].is_told
    assert [path.name for path, _ in gathered.set_aside] == [names[0]]
    assert gather(tmp_path, *names, boxes=boxes, keep_all=True).used[0].crop.which == "face 1 of 2"


def test_a_box_tells_who_is_meant_where_there_are_group_pictures_alone(tmp_path):
    names = ("bert1+anna1.jpg", "carl1+anna22.jpg")
    gathered = gather(tmp_path, *names, boxes={tmp_path / names[0]: (1, 0, 9, 9)})
    assert [each.crop.which for each in gathered.used] == ["face 2 of 2"] * 2 and gathered.groups[1].is_told


def test_a_known_person_tells_the_face(tmp_path):
    anna = identities_of([crop_of("anna1")])[0]
    gathered = gather(tmp_path, "bert1+anna22.jpg", "carl1+anna333.jpg", person=anna, keep_all=True)
    assert [group.taken for group in gathered.groups] == [1, 1] and all(each.is_told for each in gathered.groups)


def test_nothing_usable_is_refused(tmp_path):
    with pytest.raises(InputError, match="no photograph was given; give 1 to 20"):
        gather(tmp_path)
    with pytest.raises(InputError, match=r"landscape\.jpg: no face"):
        gather(tmp_path, "landscape.jpg")
    with pytest.raises(InputError, match="none of the 2 photographs"):
        gather(tmp_path, "landscape.jpg", "landscape2.jpg")


def test_of_very_many_the_sharpest_remain(tmp_path):
    names = ["anna-blurred.jpg", *(f"anna{'x' * count}.jpg" for count in range(MAX_PHOTOGRAPHS))]
    gathered = gather(tmp_path, *names)
    assert len(gathered.used) == MAX_PHOTOGRAPHS
    assert [path.name for path, _ in gathered.set_aside] == ["anna-blurred.jpg"]


def test_references_unlike_the_identity_are_left_out(tmp_path):
    gathered = gather(tmp_path, "anna1.jpg", "bert1.jpg", "landscape.jpg", keep_all=True)
    identity = Identity(
        gathered.used[0].identity, gathered.used[0].identity, np.zeros(1, np.float32), 1, "encoder", "model"
    )
    crops, notes = choose_references(gathered, identity)
    assert crops == [gathered.used[0].crop]
    assert "landscape.jpg" in notes[0] and "bert1.jpg" in notes[1]
    stranger = Identity(
        np.eye(128, dtype=np.float32)[3], np.eye(128, dtype=np.float32)[3], np.zeros(1, np.float32), 1, "e", "m"
    )
    crops, notes = choose_references(gathered, stranger)
    assert len(crops) == 2 and "none of the photographs is like the identity" in notes[-1]


def test_one_photograph_in_several_files_counts_once(tmp_path):
    """What a file holds says what is on it; blanks make another file of the same."""
    held = {"anna": "a", "abel": "a ", "another": "a2", "alma": "a  ", "z-copy": "a"}
    for name, text in held.items():
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in held]
    gathered = gather_photographs(paths, identities_of, read=lambda path, _: [crop_of(path.read_text().strip())])
    assert [each.path.name for each in gathered.used] == ["anna", "another"]
    assert gathered.used[0].origin.copies == ("z-copy", "abel", "alma")
    said = dict(gathered.set_aside)
    assert said[paths[1]] == said[paths[3]] == "the same photograph as anna, which counts once"
    assert said[paths[4]] == "the same file as anna"


def test_of_one_photograph_the_sharpest_file_is_kept(tmp_path, astronaut):
    """Mirrored and with half of its detail, in a file that comes first."""
    sharp = Image.fromarray(astronaut[20:180, 144:304])
    soft = ImageOps.mirror(sharp.resize((40, 40), Image.Resampling.LANCZOS).resize(sharp.size))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text(name)

    def read_two(path: Path, box: Box | None) -> list[FaceCrop]:
        return [FaceCrop(np.array(sharp if path.stem == "b" else soft), LANDMARKS, np.diag([160.0, 160.0, 1.0]))]

    same = np.eye(128, dtype=np.float32)[:1]
    gathered = gather_photographs(
        [tmp_path / "a.jpg", tmp_path / "b.jpg"], lambda crops: same.repeat(len(crops), 0), read=read_two
    )
    assert [each.path.name for each in gathered.used] == ["b.jpg"]
    assert gathered.set_aside[0][1] == "the same photograph as b.jpg, mirrored, which counts once"
