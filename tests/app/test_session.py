"""What a visitor does, without Gradio: the tiny model, real pictures, and every refusal in the page's own words."""

import re
from dataclasses import replace

import numpy as np
import pytest

from idfsr_jax.app.people import learn_person, recall_person
from idfsr_jax.app.session import (
    MAX_VARIANTS,
    Base,
    Question,
    Wishes,
    ask_which,
    eyes_at,
    face_at,
    restore_picture,
    write_result,
)
from idfsr_jax.app.wording import on_the_page
from idfsr_jax.face import read_image, read_metadata
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.likeness import Likeness
from idfsr_jax.restore.places import Choice, Place
from idfsr_jax.restore.result import Restoration


@pytest.fixture(scope="module")
def person(restorer, pictures):
    return learn_person(restorer, [pictures / "one.png", pictures / "darker.png"])


def assert_fit_for_the_page(sentence: str, pictures) -> None:
    """One sentence, with neither options of the command nor places on the server."""
    assert "--" not in sentence and str(pictures) not in sentence
    assert sentence.endswith(".") and "\n" not in sentence and not re.search(r"\.\s", sentence)


def test_a_person_is_learnt_step_by_step(restorer, pictures):
    seen = []
    files = [pictures / name for name in ("one.png", "nobody.png", "letter.png", "two.png", "darker.png")]
    person = learn_person(restorer, files, progress=lambda step, steps: seen.append((step, steps)))
    assert seen == [(0, restorer.config.fit.steps)]  # a fit of no step has nothing to say afterwards
    states = {name: state for name, state, _ in person.photographs}
    assert states == {
        "one.png": "used",
        "darker.png": "aside",
        "nobody.png": "unusable",
        "letter.png": "unusable",
        "two.png": "aside",
    }
    words = {name: why for name, _, why in person.photographs}
    assert "no face" in words["nobody.png"] and "JPEG or PNG" in words["letter.png"]
    assert words["two.png"].startswith("the same photograph as one.png")
    assert "detail" in words["one.png"] and "the same photograph as one.png" in words["darker.png"]
    assert len(person.crops) == 1 and person.identity.photographs == 1
    (warning,) = person.warnings
    assert "only one photograph remains" in warning and len(person.groups) == 1
    assert all(str(pictures) not in said for said in (*person.warnings, *words.values()))


def test_the_face_of_a_group_picture_that_was_pointed_at_is_learnt(restorer, pictures):
    path = pictures / "two.png"
    guessed = learn_person(restorer, [path])
    (group,) = guessed.groups
    assert not group.is_told and len(group.faces) == 2
    assert guessed.warnings[0].startswith("two.png: nothing tells which of its 2 faces is the person's")
    assert guessed.warnings[0].endswith("; click the right one below.")
    for number, face in enumerate(group.faces):
        person = learn_person(restorer, [path], boxes={path: face.box})
        assert person.groups[0].taken == number and person.groups[0].is_told
        assert f"face {number + 1} of 2 from the left" in person.photographs[0][2]


def test_a_saved_identity_serves_alone_or_beside_photographs(restorer, person, pictures, tmp_path):
    file = tmp_path / "me.safetensors"
    person.identity.save(file)
    alone = recall_person(restorer, file)
    beside = recall_person(restorer, file, [pictures / "one.png", pictures / "nobody.png"])
    assert alone.identity.digest == beside.identity.digest == person.identity.digest
    assert alone.crops == [] and alone.warnings == () and len(beside.crops) == 1
    assert any("nobody.png: no face" in sentence for sentence in beside.warnings)
    for sentence in beside.warnings:
        assert_fit_for_the_page(sentence, pictures)
    first, second = (restore_picture(restorer, each, pictures / "small.png", Wishes()) for each in (alone, beside))
    assert first.reference is None and second.reference is not None
    assert np.any(first.images[0] != second.images[0])


def test_what_is_no_identity_of_this_model_is_said(restorer, person, pictures, tmp_path):
    with pytest.raises(InputError, match=r"letter\.png: "):
        recall_person(restorer, pictures / "letter.png")
    another = tmp_path / "another.safetensors"
    replace(person.identity, model="0" * 64).save(another)
    with pytest.raises(InputError, match=r"another\.safetensors: was fitted with another model"):
        recall_person(restorer, another)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no photograph yet"),
        (["one.png"] * 21, "21 photographs are too many; give 1 to 20"),
        (["nobody.png"], "nobody.png: no face"),
        (["letter.png", "nobody.png"], "none of the 2 photographs can be used"),
    ],
)
def test_who_cannot_be_learnt_is_said(restorer, pictures, names, said):
    files = [pictures / name for name in names]
    with pytest.raises(InputError) as caught:
        learn_person(restorer, files)
    sentence = on_the_page(str(caught.value), files)
    assert said in sentence
    assert_fit_for_the_page(sentence, pictures)


def test_a_crop_is_restored_and_written(restorer, person, pictures, tmp_path):
    wishes = Wishes(variants=3, seed=7)
    restoration = restore_picture(restorer, person, pictures / "small.png", wishes)
    assert isinstance(restoration, Restoration)
    result = write_result(restoration, tmp_path / "new", "small", wishes)
    assert [path.name for path in result.pictures] == [f"small-restored{n}.png" for n in ("", "-2", "-3")]
    assert len(result.after) == 3 and result.spread is not None and result.others is None and result.enlarged is None
    sizes = {read_image(path).shape for path in (result.before, *result.after)}
    assert sizes == {(640, 640, 3)}
    for path in (*result.pictures, *result.after, result.spread):
        assert "synthesised" in read_metadata(path)["Description"] and read_metadata(path)["idfsr:seed"] == "7"
    assert "input" in read_metadata(result.before)["Description"]
    np.testing.assert_array_equal(read_image(result.pictures[1]), restoration.images[1])


def test_wishes_reach_the_restorer(restorer, person, pictures, tmp_path):
    class Noted(Exception):
        pass

    class Notes:
        def restore(self, picture, identity, crops, **options):
            raise Noted(options)

    with pytest.raises(Noted) as caught:
        restore_picture(Notes(), person, pictures / "small.png", Wishes(2, True, 5, reveal=0.25), face=2)
    options = {"face": 2, "eyes": None, "seed": 5, "variants": 2, "consistency": 1.0, "reveal": 0.25}
    assert caught.value.args == (options,)
    with pytest.raises(Noted) as caught:
        restore_picture(Notes(), person, pictures / "small.png", Wishes())
    assert caught.value.args[0]["consistency"] is None and caught.value.args[0]["reveal"] is None
    plain, marked = (
        write_result(
            restore_picture(restorer, person, pictures / "small.png", Wishes()),
            tmp_path / name,
            "x",
            Wishes(label=label),
        )
        for name, label in (("plain", False), ("marked", True))
    )
    assert np.any(read_image(plain.after[0]) != read_image(marked.after[0]))
    assert np.any(read_image(plain.pictures[0]) != read_image(marked.pictures[0]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "no picture yet"),
        ("letter.png", "letter.png: is not a picture"),
        ("oblong.png", "crop it to the head."),
        ("one.png", "there is nothing to restore."),
    ],
)
def test_what_cannot_be_restored_is_said(restorer, person, pictures, name, said):
    file = None if name is None else pictures / name
    with pytest.raises(InputError) as caught:
        restore_picture(restorer, person, file, Wishes())
    sentence = on_the_page(str(caught.value), [] if file is None else [file])
    assert said in sentence
    assert_fit_for_the_page(sentence, pictures)


def test_order_and_number_are_checked(restorer, person, pictures):
    with pytest.raises(InputError, match="finish step 1"):
        restore_picture(restorer, None, pictures / "small.png", Wishes())
    for count in (0, MAX_VARIANTS + 1):
        with pytest.raises(InputError, match="variants"):
            restore_picture(restorer, person, pictures / "small.png", Wishes(variants=count))


def test_two_faces_are_asked_about(restorer, person, pictures):
    question = restore_picture(restorer, person, pictures / "two.png", Wishes())
    assert isinstance(question, Question) and question.kind == "face" and len(question.boxes) == 2
    assert "2 faces" in question.sentence and "click the one that is meant" in question.sentence
    assert_fit_for_the_page(question.sentence.replace("0.", "0,").replace("1.0", "1,0"), pictures)
    assert max(question.image.shape) == 720 and question.scale == pytest.approx(720 / 600)
    for number, (x, y, w, h) in enumerate(question.boxes, 1):
        assert face_at(question, (x + w / 2) * question.scale, (y + h / 2) * question.scale) == number


def test_the_faces_of_a_picture_are_shown_before_any_is_restored(restorer, pictures):
    question = ask_which(restorer, pictures / "two.png")
    assert question.kind == "face" and len(question.boxes) == 2
    assert question.sentence == "2 faces were found; click the one that is to be restored."
    assert ask_which(restorer, pictures / "nobody.png").kind == "eyes"
    for name, said in (
        ("small.png", "small.png: is taken for a crop of one face"),
        ("oblong.png", r"oblong.png: is 8 x 6 px, and an aligned crop is square; crop it to the head\.$"),
        ("letter.png", "is not a picture"),
    ):
        with pytest.raises(InputError, match=said):
            ask_which(restorer, pictures / name)
    with pytest.raises(InputError, match="no picture yet"):
        ask_which(restorer, None)


def test_a_face_that_was_restored_stays_while_another_one_is(restorer, person, pictures, tmp_path):
    def restored(eyes, seed, base=None):
        wishes = Wishes(seed=seed)
        restoration = restore_picture(restorer, person, pictures / "nobody.png", wishes, eyes=eyes)
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        return write_result(restoration, folder, "x", wishes, base)

    first = restored((31.0, 40.0, 37.0, 40.0), 1)
    assert first.enlarged == pytest.approx(32 / 24, abs=0.3)
    one = read_image(first.pictures[0])
    base = Base(first.pictures[0], first.enlarged)
    second = restored((91.0, 40.0, 97.0, 40.0), 2, base)
    both = read_image(second.pictures[0])
    middle = one.shape[1] // 2
    assert both.shape == one.shape and second.enlarged == first.enlarged
    np.testing.assert_array_equal(both[:, :middle], one[:, :middle])
    assert np.any(both[:, middle:] != one[:, middle:])
    np.testing.assert_array_equal(read_image(second.after[0]).shape, read_image(second.before).shape)
    for path in (*second.pictures, *second.after):
        said, identity = read_metadata(path), person.identity.digest
        assert (said["idfsr:identity"], said["idfsr:seed"]) == (f"{identity}+{identity}", "1+2")
        assert said["idfsr:model"] == read_metadata(first.pictures[0])["idfsr:model"]
    # A smaller face makes all of it larger, so that it keeps its pixels.
    third = restored((90.0, 40.0, 93.0, 40.0), 3, Base(second.pictures[0], second.enlarged))
    assert read_metadata(third.pictures[0])["idfsr:seed"] == "1+2+3"
    assert third.enlarged > 1.5 * first.enlarged
    assert read_image(third.pictures[0]).shape[1] == round(120 * third.enlarged)


def test_an_identity_alone_asks_which_of_several_faces_is_meant(restorer, person, pictures):
    alone = replace(person, crops=[])
    question = restore_picture(restorer, alone, pictures / "two.png", Wishes())
    assert isinstance(question, Question) and question.kind == "face" and len(question.boxes) == 2
    assert question.sentence == "2 faces were found; click the one that is to be restored."


def test_no_face_is_asked_for_by_its_eyes(restorer, person, pictures):
    question = restore_picture(restorer, person, pictures / "nobody.png", Wishes())
    assert isinstance(question, Question) and question.kind == "eyes"
    assert "no face was found" in question.sentence and "one eye" in question.sentence
    assert_fit_for_the_page(question.sentence, pictures)
    assert question.image.shape == (600, 720, 3)
    eyes = eyes_at(question, [(300.0, 240.0), (330.0, 240.0)])
    assert eyes == pytest.approx((50.0, 40.0, 55.0, 40.0))
    restored = restore_picture(restorer, person, pictures / "nobody.png", Wishes(), eyes=eyes)
    assert isinstance(restored, Restoration)
    with pytest.raises(InputError) as caught:
        restore_picture(restorer, person, pictures / "nobody.png", Wishes(), eyes=(1.0, 1.0, 500.0, 1.0))
    assert "click the middle" in on_the_page(str(caught.value))


def test_strangers_are_asked_about_and_not_restored(restorer, person, pictures, monkeypatch):
    """Who is unlike the person is not restored unless the visitor says so."""
    monkeypatch.setattr(type(restorer), "likeness", lambda self, small, crops: Likeness(-0.2, len(small)))
    question = restore_picture(restorer, person, pictures / "two.png", Wishes())
    assert isinstance(question, Question) and question.kind == "face" and len(question.boxes) == 2
    assert question.sentence.endswith("is unlike the person; click the one that is meant.")
    assert_fit_for_the_page(question.sentence, pictures)


def test_a_click_beside_every_face_is_refused():
    question = Question("face", "", np.zeros((100, 200, 3), np.uint8), 2.0, ((10, 10, 10, 10), (70, 10, 10, 10)))
    assert face_at(question, 10.0, 30.0) == 1 and face_at(question, 160.0, 45.0) == 2
    with pytest.raises(InputError, match="framed"):
        face_at(question, 90.0, 90.0)


def test_a_photograph_is_compared_face_to_face(restorer, person, pictures, tmp_path):
    """Where there were several faces, the others stay within a click."""
    question = restore_picture(restorer, person, pictures / "nobody.png", Wishes())
    eyes = eyes_at(question, [(300.0, 240.0), (330.0, 240.0)])
    restoration = restore_picture(restorer, person, pictures / "nobody.png", Wishes(), eyes=eyes)
    place = Place((40, 40, 10, 10), restoration.face.transform)
    choice = Choice((place, place), 1, (0.1, 0.9))
    restoration = replace(restoration, face=replace(restoration.face, choice=choice))
    result = write_result(restoration, tmp_path, "photo", Wishes())
    before, after = read_image(result.before), read_image(result.after[0])
    assert before.shape == after.shape == (640, 640, 3)
    assert np.abs(before.astype(int) - 128).max() <= 1, "the photograph was grey"
    assert np.any(after != before) and read_image(result.pictures[0]).shape[0] >= 100
    assert result.others is not None and "number 2 was taken, as most like the person" in result.others.sentence
    assert all("--" not in note for note in result.notes)
