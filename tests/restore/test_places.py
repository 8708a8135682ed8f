"""Where a face lies by two eyes, and which of several faces is taken."""

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import apply_transform, crop_side, ffhq_transform
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.overview import overview
from idfsr_jax.restore.places import Choice, Place, UndecidedFaces, choose_place, places_of, the_only_one

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


PLACES = [square(10, 10, 40), square(60, 10, 40), square(120, 10, 40)]


def choose(likenesses: list[float], number: int | None = None) -> Choice:
    given = iter(likenesses)
    return choose_place(PHOTO, PLACES, "group.jpg", number=number, likeness=lambda crop: next(given))


def test_the_face_most_like_the_person_is_taken_and_said():
    choice = choose([0.1, 0.2, 0.8])
    assert choice.chosen == 2
    assert "3 faces; took number 3 from the left" in choice.sentence() and "--face N" in choice.sentence()


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


def test_one_face_needs_no_identity():
    choice = choose_place(PHOTO, PLACES[:1], "one.jpg", number=None, likeness=lambda crop: 1 / 0)
    assert choice.chosen == 0 and choice.sentence() == ""
    assert the_only_one(PHOTO, PLACES[:1], "one.jpg").chosen == 0
    with pytest.raises(InputError, match="3 faces"):
        the_only_one(PHOTO, PLACES, "group.jpg")
