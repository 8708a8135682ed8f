"""What cannot be restored or fitted to, and what the commands say of it; and the commands where nothing is wrong."""

import shutil
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest

from idfsr_jax.cli import main
from idfsr_jax.face import read_image
from idfsr_jax.io.errors import BadWeights, InputError
from idfsr_jax.restore.checks import photographs_in
from idfsr_jax.restore.restorer import Restorer

BAD_RESTORES = {
    "oblong": ("oblong.png", {}, "oblong.png"),
    "two pixels": ("tiny.png", {}, "tiny.png"),
    "missing": ("missing.png", {}, "missing.png"),
    "cut short": ("cut.jpg", {}, "cut.jpg"),
    "no face": ("landscape.png", {}, "--box"),
    "two faces": ("two.png", {}, "2 faces"),
    "box outside": ("photo.jpg", {"box": (500, 500, 40, 40)}, "photo.jpg"),
    "box of nothing": ("photo.jpg", {"box": (5, 5, 0, 0)}, "photo.jpg"),
    "unknown scale": ("small.png", {"scale": 16}, "2 to 8"),
    "face too large": ("photo.jpg", {}, "photo.jpg"),
    "no second face": ("small.png", {"face": 2}, "small.png: has no face 2, as it is an aligned crop of one"),
    "no variants": ("small.png", {"variants": 0}, "variants"),
    "consistency": ("small.png", {"consistency": 1.5}, "consistency"),
    "floats": (np.zeros((8, 8, 3), np.float32), {}, "uint8"),
    "grey": (np.zeros((8, 8), np.uint8), {}, "uint8"),
    "four channels": (np.zeros((8, 8, 4), np.uint8), {}, "uint8"),
}


def assert_one_sentence(error: BaseException, part: str) -> None:
    text = str(error)
    assert part in text and text.endswith(".") and "\n" not in text and ". " not in text


@pytest.mark.parametrize("case", BAD_RESTORES)
def test_what_cannot_be_restored_is_named(case, place, restorer, identity, crops):
    picture, options, part = BAD_RESTORES[case]
    with pytest.raises(InputError) as caught:
        restorer.restore(place / picture if isinstance(picture, str) else picture, identity, crops, **options)
    assert_one_sentence(caught.value, part)


def test_an_identity_of_another_model_is_refused(restorer, small, identity, crops):
    with pytest.raises(InputError) as caught:
        restorer.restore(small, replace(identity, model="0" * 64), crops)
    assert_one_sentence(caught.value, "another model")


BAD_PEOPLE = {
    "no pairs": ([1], "people: give a list of pairs"),
    "no identity": ([("me.safetensors", ["photo.jpg"])], "identity: is of type str"),
}


@pytest.mark.parametrize("case", BAD_PEOPLE)
def test_people_to_look_for_are_pairs(case, place, restorer, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    people, part = BAD_PEOPLE[case]
    with pytest.raises(InputError) as caught:
        restorer.find_each(place / "two.png", people)
    assert_one_sentence(caught.value, part)


@pytest.mark.parametrize("boxes", [[(1, 1, 40, 40)], {1: (1, 1, 40, 40)}, {"photo.jpg": (1, 1, 40)}])
def test_boxes_to_gather_by_are_four_numbers_of_files(boxes, place, restorer, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError) as caught:
        restorer.gather([place / "photo.jpg"], boxes=boxes)
    assert_one_sentence(caught.value, "box")


@pytest.mark.parametrize("count", [0, 21])
def test_a_fit_takes_1_to_20_photographs(restorer, crops, count):
    with pytest.raises(InputError) as caught:
        restorer.fit([crops[0]] * count)
    assert_one_sentence(caught.value, f"{count} photographs")


@pytest.mark.parametrize("name", ["landscape.png", "two.png", "cut.jpg", "missing.png"])
def test_a_photograph_that_cannot_be_fitted_to_is_named(restorer, place, name):
    with pytest.raises(InputError) as caught:
        restorer.fit([place / name])
    assert_one_sentence(caught.value, name)


@pytest.mark.parametrize(
    "name", ["oblong.png", "landscape.png", "cut.jpg", "small.png --scale 16", "photo.jpg --box 500,500,40,40"]
)
def test_the_command_names_what_cannot_be_restored_and_writes_nothing(name, place, identity, tiny_model, capsys):
    identity.save(place / "me.safetensors")
    picture, *options = name.split()
    out = place / "out.png"
    arguments = ["--identity", place / "me.safetensors", "--photos", place / "photo.jpg", "--out", out]
    arguments = ["restore", place / picture, *arguments, "--weights", tiny_model, *options]
    assert main([str(argument) for argument in arguments]) == 2
    complaint = capsys.readouterr().err.strip()
    assert complaint.startswith("idfsr: ") and picture in complaint and "\n" not in complaint
    assert not out.exists()


def test_the_command_refuses_damaged_weights(place, identity, tiny_model, capsys):
    identity.save(place / "me.safetensors")
    folder = shutil.copytree(tiny_model, place / "model")
    path = folder / "center.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BadWeights):
        Restorer.load(folder)
    arguments = ["--identity", place / "me.safetensors", "--photos", place / "photo.jpg", "--out", place / "out.png"]
    arguments = ["restore", place / "small.png", *arguments, "--weights", folder]
    assert main([str(argument) for argument in arguments]) == 2
    assert "center.safetensors" in capsys.readouterr().err
    assert not (place / "out.png").exists()


def test_the_commands_fit_and_restore(place, tiny_model, tiny_config):
    common = ["--photos", place / "photo.jpg", "--weights", tiny_model]
    assert main([str(a) for a in ["fit", *common, "--out", place / "me.safetensors"]]) == 0
    restore = ["restore", place / "small.png", "--identity", place / "me.safetensors", *common]
    assert main([str(a) for a in [*restore, "--out", place / "out.png", "--sheet", place / "sheet.png"]]) == 0
    assert read_image(place / "out.png").shape[1::-1] == (tiny_config.data.size,) * 2
    assert read_image(place / "sheet.png").shape[1] > 200


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"picture": None}, "picture"),
        ({"picture": [[1]]}, "picture"),
        ({"identity": "me.safetensors"}, "identity"),
        ({"photos": [np.zeros((9, 9, 3), np.uint8)]}, "photos"),
        ({"photos": "nowhere"}, "nowhere"),
        ({"box": (1, 2, 3)}, "box"),
        ({"box": "1,2,3,4"}, "box"),
        ({"eyes": (1, 2, 3)}, "eyes"),
        ({"box": (1, 2, 3, 4), "face": 1}, "box and face"),
        ({"face": "2"}, "face"),
        ({"scale": 4.5}, "scale"),
        ({"seed": 1.5}, "seed"),
        ({"variants": "2"}, "variants"),
        ({"steps": 1.5}, "steps"),
        ({"consistency": "1"}, "consistency"),
        ({"reveal": "1"}, "reveal"),
    ],
)
def test_what_a_caller_gives_wrongly_is_named(wrong, named, restorer, place, identity, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # Users run without its checks.
    given = {"picture": place / "small.png", "identity": identity, "photos": (), **wrong}
    with pytest.raises(InputError) as caught:
        restorer.restore(given.pop("picture"), given.pop("identity"), **given)
    assert_one_sentence(caught.value, named)


def test_photographs_may_be_a_folder_and_a_picture_is_one_of_those_drawn(
    restorer, place, identity, tmp_path, monkeypatch
):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(place / "photo.jpg", folder)
    assert photographs_in(str(folder)) == photographs_in(folder) == [folder / "photo.jpg"]
    restoration = restorer.restore(place / "small.png", identity, variants=2, steps=1)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for wrong in ({"index": 5}, {"index": "1"}, {"enlarge": 0.0}, {"enlarge": "2"}):
        with pytest.raises(InputError) as caught:
            restoration.picture(**wrong)
        assert_one_sentence(caught.value, next(iter(wrong)))
