"""Where a face lies by two eyes, and which of several faces is taken."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import apply_transform, crop_side, cut_crop, ffhq_transform
from idfsr_jax.io.errors import InputError
from idfsr_jax.method.model import load_model
from idfsr_jax.restore.find_face import is_aligned
from idfsr_jax.restore.likeness import Likeness
from idfsr_jax.restore.overview import overview
from idfsr_jax.restore.places import (
    Choice,
    LeftAlone,
    Place,
    UndecidedFaces,
    choose_place,
    choose_places,
    place_in_crop,
    places_of,
)

PHOTO = np.full((100, 200, 3), 128, np.uint8)


def square(x: float, y: float, side: float) -> Place:
    return Place((round(x), round(y), 10, 10), np.array([[side, 0, x], [0, side, y], [0, 0, 1.0]]))


def test_two_eyes_give_nearly_the_crop_of_all_landmarks(astronaut, face_crop, tiny_config, tiny_weights):
    points = apply_transform(face_crop.transform, face_crop.landmarks)
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    for first, second in ((left, right), (right, left)):
        eyes = (*map(float, first), *map(float, second))
        (place,) = places_of(astronaut, "photo", tiny_config, tiny_weights[1], eyes=eyes)
        expected = ffhq_transform(points.astype(np.float32))
        assert crop_side(place.transform) == pytest.approx(crop_side(expected), rel=0.12)
        corners = np.array([[0.0, 0.0], [1.0, 1.0]])
        apart = apply_transform(place.transform, corners) - apply_transform(expected, corners)
        assert np.abs(apart).max() < 0.12 * crop_side(expected)
        x, y, width, height = place.box
        nose = points[30]
        assert x < nose[0] < x + width and y < nose[1] < y + height


@pytest.mark.parametrize("degrees", [120, 180, 240])
def test_the_mouth_of_a_face_that_stands_on_its_head_is_seen(degrees, astronaut, face_crop, tiny_config, tiny_weights):
    turn = np.radians(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = np.array(Image.fromarray(astronaut).rotate(-degrees, Image.Resampling.BICUBIC, center=(223, 127)))
    points = apply_transform(face_crop.transform, face_crop.landmarks)
    eyes = [(points[some].mean(0) - (223, 127)) @ matrix.T + (223, 127) for some in (slice(36, 42), slice(42, 48))]
    given = (*map(float, eyes[0]), *map(float, eyes[1]))
    (place,) = places_of(turned, "photo", tiny_config, tiny_weights[1], eyes=given)
    angle = np.degrees(np.arctan2(place.transform[1, 0], place.transform[0, 0]))
    assert (angle - degrees + 180) % 360 - 180 == pytest.approx(0, abs=10)


@pytest.mark.parametrize("eyes", [(10.0, 10.0, 10.2, 10.2), (-5.0, 10.0, 20.0, 10.0), (10.0, 10.0, 300.0, 10.0)])
def test_eyes_that_are_none_are_refused(eyes, tiny_config, tiny_weights):
    with pytest.raises(InputError, match="eyes at"):
        places_of(PHOTO, "photo.jpg", tiny_config, tiny_weights[1], eyes=eyes)


@pytest.mark.parametrize("degrees", [0, 45, 90])
def test_a_turned_face_in_a_box_is_straightened(degrees, astronaut, tiny_config, tiny_weights):
    turned = np.array(Image.fromarray(astronaut).rotate(-degrees, Image.Resampling.BICUBIC, center=(223, 127)))
    (place,) = places_of(turned, "photo", tiny_config, tiny_weights[1], box=(179, 83, 88, 88))
    angle = np.degrees(np.arctan2(place.transform[1, 0], place.transform[0, 0]))
    assert angle == pytest.approx(degrees, abs=10.0) and place.doubt == ""


def test_where_no_face_is_seen_in_a_box_that_is_said(tiny_config, tiny_weights):
    (place,) = places_of(PHOTO, "photo", tiny_config, tiny_weights[1], box=(20, 20, 30, 30))
    sentence = Choice((place,), 0).sentence()
    assert sentence.startswith("no face is seen in the box at any angle") and "--eyes" in sentence


@pytest.mark.parametrize("n", [4, 8, 16, 24, 32, 48, 64])
def test_a_crop_is_known_by_where_its_face_stands(n, reduced):
    assert is_aligned(reduced(n)) == (True, "")


@pytest.mark.parametrize("n", [48, 64])
def test_a_small_picture_with_its_face_elsewhere_is_a_photograph(n, astronaut):
    beside = np.array(Image.fromarray(astronaut[:240, 150:390]).resize((n, n), Image.Resampling.BOX))
    assert is_aligned(beside) == is_aligned(beside[: n * 7 // 8]) == (False, "")


@pytest.fixture(scope="module")
def shipped():
    return load_model()


@pytest.mark.parametrize("n", [16, 32, 64])
def test_a_face_that_stands_a_little_off_in_a_crop_is_found(n, shipped, astronaut, face_crop, reduced):
    find = partial(place_in_crop, config=shipped.config, landmark_net=shipped.landmark_net)
    assert find(reduced(n)) == (None, "")
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for size, right, down in ((1.0, 0.17, 0.0), (1.0, 0.0, -0.17), (1.5, 0.0, 0.0)):
        cut = face_crop.transform @ [[size, 0, 0.5 + right - size / 2], [0, size, 0.5 + down - size / 2], [0, 0, 1]]
        place, said = find(cut_crop(astronaut, cut, n))
        assert said == "" and place.doubt.startswith("its face was found") and "--box" in place.doubt
        back = np.linalg.inv(face_crop.transform) @ cut @ np.diag([1 / n, 1 / n, 1.0]) @ place.transform
        assert np.abs(apply_transform(back, corners) - corners).max() < 0.1


def test_where_nothing_tells_a_square_is_a_crop_and_that_is_said():
    for n in (24, 64):
        is_crop, said = is_aligned(np.full((n, n, 3), 128, np.uint8))
        assert is_crop and said.startswith("no face is seen in it") and "--box" in said
    for n in (2, 8, 23):  # Hardly any face is seen there.
        assert is_aligned(np.full((n, n, 3), 128, np.uint8)) == (True, "")
    assert is_aligned(PHOTO) == (False, "")


PLACES = [square(10, 10, 40), square(60, 10, 40), square(120, 10, 40)]


SMALL = [square(10, 10, 12), square(60, 10, 12), square(120, 10, 12)]


def choose(
    cosines: list[float], number: int | None = None, places: list[Place] = PLACES, anyone: bool | None = None
) -> Choice:
    given = iter(cosines)
    likeness = lambda crop: Likeness(next(given), len(crop))  # noqa: E731
    return choose_place(PHOTO, places, "group.jpg", number=number, likeness=likeness, anyone=anyone)


def test_the_face_most_like_the_person_is_taken_and_said():
    choice = choose([0.1, 0.2, 0.8])
    assert choice.chosen == 2
    assert "3 faces; took number 3 from the left" in choice.sentence() and "--face N" in choice.sentence()
    assert "as most like the photographs (probability 1.00)" in choice.sentence()


def test_a_number_overrides_and_the_identity_is_not_asked():
    choice = choose([], number=2)
    assert choice.chosen == 1 and choice.sentence() == ""
    with pytest.raises(InputError, match="has no face 4; 3 were found"):
        choose([], number=4)


def test_where_none_stands_out_nothing_is_taken():
    with pytest.raises(UndecidedFaces, match=r"group\.jpg: shows 3 faces.*number 2") as caught:
        choose([0.5, 0.52, 0.5])
    picture = overview(caught.value.image, caught.value.choice)
    assert picture.shape == (800, 1600, 3)
    # A box around every face, the likeliest in another colour.
    assert [tuple(picture[120, round(8 * place.box[0]) - 3]) for place in PLACES] == [
        (64, 196, 255),
        (255, 176, 0),
        (64, 196, 255),
    ]


def test_of_strangers_nobody_is_taken_but_by_anyone():
    with pytest.raises(
        LeftAlone, match=r"group\.jpg: left alone.*number 3, is unlike the person; give.*--anyone"
    ) as caught:
        choose([-0.3, -0.2, 0.1])
    assert caught.value.reason == "unlike the person" and caught.value.choice.chosen == 2
    taken = choose([-0.3, -0.2, 0.1], anyone=True)
    assert taken.chosen == 2 and "as most like the photographs; --face N" in taken.sentence()
    # No number stands on a stranger, however much more probable than the others.
    assert np.isnan(taken.probabilities).all() and not np.isnan(choose([0.1, 0.2, 0.8]).probabilities[2])
    np.testing.assert_array_equal(overview(PHOTO, taken), overview(PHOTO, replace(taken, probabilities=())))
    assert choose([-0.3, -0.2, 0.1], number=1, anyone=False).chosen == 0
    # Where none stands out `anyone` restores nobody, and so it is not offered.
    with pytest.raises(LeftAlone, match=r"is unlike the person; give --face N\.$"):
        choose([0.1, 0.1, 0.1])
    with pytest.raises(UndecidedFaces):
        choose([0.1, 0.1, 0.1], anyone=True)


def test_several_faces_too_small_to_tell_are_left_alone_but_by_anyone():
    assert choose([0.2, 0.2, 0.8], places=SMALL).chosen == 2
    with pytest.raises(LeftAlone, match=r"is too small to tell; give --face N, counted from the left, or --anyone\."):
        choose([0.55, 0.55, 0.7], places=SMALL)
    assert choose([0.55, 0.55, 0.7], places=SMALL, anyone=True).chosen == 2


def test_the_only_face_is_asked_about_where_any_picture_may_show_somebody_else():
    assert choose([0.9], places=PLACES[:1], anyone=False).sentence() == ""
    assert choose([0.7], places=SMALL[:1], anyone=False).chosen == 0  # Nobody else is there.
    with pytest.raises(LeftAlone, match=r"group\.jpg: left alone, as its face is unlike the person; --anyone"):
        choose([0.1], places=PLACES[:1], anyone=False)
    assert choose_place(PHOTO, PLACES[:1], "one.jpg", number=None, likeness=None, anyone=False).chosen == 0


def share(*people: list[float], places: list[Place] = PLACES) -> list[int | None]:
    told = lambda given, crop: Likeness(next(given), len(crop))  # noqa: E731
    asked = [partial(told, iter(cosines)) for cosines in people]
    likenesses = lambda crop: [likeness(crop) for likeness in asked]  # noqa: E731
    choices = choose_places(PHOTO, places, "group.jpg", likenesses=likenesses)
    return [None if choice is None else choice.chosen for choice in choices]


def test_each_of_several_people_has_a_face_of_their_own_or_none():
    assert share([0.8, 0.1, 0.7], [0.7, 0.0, 0.1]) == [2, 0]
    assert share([0.8, 0.1, 0.2], [0.1, 0.2, 0.1]) == [0, None]
    assert share([0.1, 0.0, 0.9], [0.8, 0.1, 0.9]) == [2, 0]
    with pytest.raises(LeftAlone, match=r"group\.jpg: left alone, as it is not told which of its faces is whose"):
        share([0.1, 0.1, 0.2], [0.2, 0.1, 0.1])
    # Of several faces those that are too small to tell are nobody's.
    assert share([0.715, 0.2, 0.1], [0.2, 0.8, 0.1], places=SMALL) == [None, 1]


def test_one_face_needs_no_identity():
    choice = choose_place(PHOTO, PLACES[:1], "one.jpg", number=None, likeness=lambda crop: 1 / 0)
    assert choice.chosen == 0 and choice.sentence() == ""
