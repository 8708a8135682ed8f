"""Faces are found where dlib says they are, in our coordinates, and the right one is chosen."""

import math

import dlib
import face_recognition_models
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import Face, central_face, detect, face_in_box, find_faces
from idfsr_jax.face.detect import faces_that_count, is_one_place, prominence, turn_of
from idfsr_jax.io.errors import InputError, NoFace


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    return np.array(Image.fromarray(image).resize((round(width * factor), round(height * factor)), Image.LANCZOS))


def face(x: int, y: int, side: int, score: float = 1.0) -> Face:
    return Face((x, y, side, side), score, np.zeros((68, 2), np.float32))


def test_box_is_dlibs(astronaut):
    (found,) = find_faces(astronaut)
    (rectangle,) = dlib.get_frontal_face_detector()(astronaut, 0)
    assert found.box == (rectangle.left(), rectangle.top(), rectangle.width(), rectangle.height())
    assert found.score > 1.0


def test_landmarks_are_dlibs_plus_half_a_pixel(astronaut):
    """On average over the points; each one differs by dlib's rounding, which ours escapes by a finer picture."""
    (found,) = find_faces(astronaut)
    x, y, w, h = found.box
    predictor = dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())
    shape = predictor(astronaut, dlib.rectangle(x, y, x + w - 1, y + h - 1))
    expected = np.array([(point.x + 0.5, point.y + 0.5) for point in shape.parts()])
    difference = found.landmarks - expected
    assert np.abs(difference.mean(0)).max() < 0.3
    assert np.sqrt((difference**2).sum(1).mean()) < 1.0


def test_landmarks_have_fractions_of_a_pixel(astronaut):
    (found,) = find_faces(astronaut)
    assert len(np.unique(found.landmarks % 1.0)) > 10


@pytest.mark.parametrize("factor", [0.2, 0.3, 0.5, 2.0, 5.0])
def test_scaled_photo(astronaut, factor):
    """Small faces need the ladder; at 5 the photo is larger than what the detector is shown."""
    (plain,) = find_faces(astronaut)
    photo = resized(astronaut, factor)
    found = central_face(find_faces(photo), photo, "photo")
    eye_distance = np.linalg.norm(plain.landmarks[36] - plain.landmarks[45])
    error = np.linalg.norm(found.landmarks / factor - plain.landmarks, axis=1).mean()
    assert error < 0.08 * eye_distance
    # dlib's boxes come in steps of 6/5 at each of which the position is rounded to 8 pixels.
    np.testing.assert_allclose(np.array(found.box) / factor, plain.box, atol=0.4 * plain.box[2])


def test_ladder_stops_where_it_is_told(astronaut):
    small = resized(astronaut, 0.2)
    assert find_faces(small, ladder=(0, 1)) == []
    assert len(find_faces(small, ladder=(0, 1, 2))) == 1


def test_padded_rung_gives_photo_coordinates(astronaut):
    (plain,) = find_faces(astronaut)
    padded = central_face(find_faces(astronaut, ladder=()), astronaut, "photo")
    np.testing.assert_allclose(padded.box, plain.box, atol=10)
    np.testing.assert_allclose(padded.landmarks.mean(0), plain.landmarks.mean(0), atol=1.5)


@pytest.mark.parametrize("lost", [0.1, 0.3])
def test_head_cut_by_the_edge(astronaut, lost):
    (plain,) = find_faces(astronaut)
    cut = int(plain.box[0] + lost * plain.box[2])
    found = find_faces(np.ascontiguousarray(astronaut[:, cut:]))
    assert len(found) == 1
    # The nose is still there.
    assert np.linalg.norm(found[0].landmarks[30] + np.array([cut, 0]) - plain.landmarks[30]) < 0.1 * plain.box[2]


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 700), (2000, 2), (64, 64)])
def test_no_face_in_odd_pictures(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert find_faces(noise) == []


def test_no_face_is_an_error():
    grey = np.full((100, 100, 3), 128, np.uint8)
    with pytest.raises(NoFace, match=r"^album/me\.jpg: no face"):
        central_face(find_faces(grey), grey, "album/me.jpg")


def test_two_faces(astronaut):
    twins = np.concatenate([astronaut, astronaut], axis=1)
    found = find_faces(twins)
    # The right one ends nearer to the middle.
    chosen = central_face(found, twins, "twins.png")
    (plain,) = find_faces(astronaut)
    np.testing.assert_allclose(chosen.landmarks.mean(0), plain.landmarks.mean(0) + np.array([512, 0]), atol=1.5)


def test_largest_comes_first(astronaut):
    small = resized(astronaut, 0.95)
    pair = np.concatenate([np.pad(small, ((0, 512 - small.shape[0]), (0, 0), (0, 0))), astronaut], axis=1)
    found = find_faces(pair)
    areas = [face.box[2] * face.box[3] for face in found]
    assert len(found) >= 2 and areas == sorted(areas, reverse=True)


PHOTO = np.zeros((200, 300, 3), np.uint8)


def test_tiny_faces_do_not_count():
    me = face(10, 10, 80)
    assert faces_that_count([face(200, 10, 39), me]) == [me]
    assert len(faces_that_count([face(200, 10, 40), me])) == 2


def test_faint_detections_do_not_count_beside_sure_ones():
    me = face(10, 10, 80)
    faint = face(100, 10, 90, 0.03)
    assert faces_that_count([faint, me]) == [me] and faces_that_count([faint]) == [faint]


def test_central_face():
    around, beside, large = face(130, 80, 40), face(100, 80, 40), face(180, 0, 110)
    assert central_face([large, beside, around], PHOTO, "a") is around
    assert central_face([large, beside], PHOTO, "a") is beside
    # A faint detection only counts where the picture's subject must be.
    assert central_face([face(100, 80, 40, 0.03), large], PHOTO, "a") is large
    middle = face(130, 80, 40, 0.03)
    assert central_face([middle, large], PHOTO, "a") is middle


def test_box_by_hand(astronaut):
    (found,) = find_faces(astronaut)
    given = face_in_box(astronaut, found.box)
    assert given.score == math.inf and given.box == found.box
    np.testing.assert_array_equal(given.landmarks, found.landmarks)


def test_box_by_hand_may_be_rough(astronaut):
    (found,) = find_faces(astronaut)
    x, y, w, h = found.box
    rough = face_in_box(astronaut, (x - 6, y + 4, w + 10, h - 2))
    assert np.linalg.norm(rough.landmarks - found.landmarks, axis=1).mean() < 0.06 * w


@pytest.mark.parametrize("degrees", [-100, 25, 50, 180])
@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_a_turned_face_in_a_box_is_read_as_it_stands(astronaut, degrees, factor):
    (found,) = find_faces(astronaut)
    x, y, w, h = found.box
    center = (x + w / 2, y + h / 2)
    picture = Image.fromarray(astronaut)
    turned = resized(np.array(picture.rotate(-degrees, Image.Resampling.BICUBIC, center=center)), factor)
    box = tuple(round(factor * value) for value in found.box)
    assert abs((turn_of(turned, box) - degrees + 180) % 360 - 180) < 20
    angle = np.radians(degrees)
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = (face_in_box(turned, box).landmarks / factor - center) @ back + center
    assert np.linalg.norm(upright - found.landmarks, axis=1).mean() < 0.05 * w


def test_where_nobody_is_seen_nothing_is_known_of_a_turn(astronaut):
    assert turn_of(np.full((100, 100, 3), 128, np.uint8), (30, 30, 40, 40)) is None


def test_faces_in_the_middle_are_more_prominent_and_large_ones():
    middle, corner, large = (80, 30, 40, 40), (0, 0, 40, 40), (0, 10, 80, 80)
    by_prominence = sorted([corner, middle, large], key=lambda box: prominence(box, 200, 100))
    assert by_prominence == [corner, large, middle]
    assert prominence((90, 45, 20, 10), 200, 100) == pytest.approx(np.sqrt(200))


def test_boxes_of_one_place_have_each_others_middle_in_them():
    assert is_one_place((10, 10, 20, 20), (14, 8, 30, 26)) and not is_one_place((10, 10, 20, 20), (0, 0, 200, 200))
    assert not is_one_place((10, 10, 20, 20), (21, 10, 20, 20))


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 10), (0, 0, 10, -1), (600, 10, 50, 50), (-90, 0, 50, 50), (-9000, 0, 20000, 9)]
)
def test_box_outside_the_photo(astronaut, box):
    with pytest.raises(InputError, match="does not lie in the 512 x 512 photo"):
        face_in_box(astronaut, box)


def test_equal_faces_of_a_group_are_all_found_where_the_first_rung_sees_one(astronaut):
    """Heads beside each other on grey, which are about as small as the detector sees."""
    head = astronaut[0:300, 120:360]
    canvas = np.full((320, 700, 3), 128, np.uint8)
    left = 10
    for factor in (1.0, 0.57, 0.57):
        small = resized(head, factor)
        canvas[10 : 10 + small.shape[0], left : left + small.shape[1]] = small
        left += small.shape[1] + 20
    assert len(find_faces(canvas)) == 1
    assert len(find_faces(canvas, others=True)) == 3


def test_a_portrait_is_looked_at_once(astronaut, monkeypatch):
    scales = []
    real = detect.detect_boxes
    monkeypatch.setattr(detect, "detect_boxes", lambda image, scale: scales.append(scale) or real(image, scale))
    assert find_faces(resized(astronaut, 2.0), others=True)
    assert scales == [1.0]
