"""The canonical crop lies where FFHQ's recipe says, is sampled on the right grid, and follows the face."""

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import (
    align_face,
    apply_transform,
    central_face,
    crop_face,
    crop_faces,
    crop_side,
    cut_crop,
    ffhq_transform,
    find_faces,
    read_image,
    resize_crop,
)
from idfsr_jax.io.errors import InputError, NoFace, SeveralFaces, UnreadableImage


def landmarks_with(left_eye, right_eye, mouth) -> np.ndarray:
    """68 points of which only those that FFHQ uses matter."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = left_eye, right_eye
    points[48], points[54] = np.add(mouth, (-0.3, 0.1)), np.add(mouth, (0.3, -0.1))
    return points


def similarity(degrees: float, scale: float, shift) -> np.ndarray:
    c, s = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0.0, 0.0, 1.0]])


def sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values at continuous points, pixel centres at +0.5; written out, to be independent of Pillow's grid."""
    at = points - 0.5
    corner = np.floor(at).astype(int)
    (x, y), (fx, fy) = corner.T, (at - corner).T[..., None]
    values = image.astype(np.float64)
    upper = values[y, x] * (1 - fx) + values[y, x + 1] * fx
    lower = values[y + 1, x] * (1 - fx) + values[y + 1, x + 1] * fx
    return upper * (1 - fy) + lower * fy


def smooth_photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    waves = [np.sin(0.09 * x + 0.05 * y), np.cos(0.06 * x - 0.08 * y), np.sin(0.04 * x) * np.cos(0.07 * y)]
    return np.rint(127.5 + 110 * np.stack(waves, -1)).astype(np.uint8)


def test_ffhq_worked_by_hand():
    # Eyes 2 apart, mouth 2 below: half a side is max(2 * 2, 1.8 * 2) = 4 around (10, 20 + 0.1 * 2).
    transform = ffhq_transform(landmarks_with((9, 20), (11, 20), (10, 22)))
    np.testing.assert_allclose(transform, [[8, 0, 6], [0, 8, 16.2], [0, 0, 1]], atol=1e-12)
    # A long face: 1.8 * 4 = 7.2 is the larger one.
    transform = ffhq_transform(landmarks_with((9, 20), (11, 20), (10, 24)))
    np.testing.assert_allclose(transform, [[14.4, 0, 2.8], [0, 14.4, 13.2], [0, 0, 1]], atol=1e-12)


def test_ffhq_mixes_eyes_and_mouth_for_the_rotation():
    # Eyes level, mouth aside: x is along (2, 0) + (2, -1), as in FFHQ's script.
    transform = ffhq_transform(landmarks_with((9, 20), (11, 20), (11, 22)))
    direction = transform[:2, 0] / np.linalg.norm(transform[:2, 0])
    np.testing.assert_allclose(direction, np.array([4, -1]) / np.sqrt(17), atol=1e-12)
    assert crop_side(transform) == pytest.approx(2 * max(4, 1.8 * np.sqrt(5)))


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(0, 1, (7, -3)), (25, 1, (0, 0)), (-140, 3.7, (100, 50))])
def test_transform_follows_the_landmarks_exactly(degrees, scale, shift):
    points = np.random.default_rng(1).uniform(0, 100, (68, 2))
    move = similarity(degrees, scale, shift)
    np.testing.assert_allclose(ffhq_transform(apply_transform(move, points)), move @ ffhq_transform(points), atol=1e-9)


def test_transform_is_a_similarity_that_keeps_handedness():
    matrix = ffhq_transform(np.random.default_rng(2).uniform(0, 100, (68, 2)))[:2, :2]
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(2) * crop_side(np.pad(matrix, (0, 1))) ** 2, atol=1e-9)
    assert np.linalg.det(matrix) > 0


def test_coinciding_landmarks_are_refused():
    with pytest.raises(InputError, match="coincide"):
        ffhq_transform(np.full((68, 2), 3.0))


def test_inverse(astronaut):
    (face,) = find_faces(astronaut)
    crop = align_face(astronaut, face)
    np.testing.assert_allclose(apply_transform(crop.transform, crop.landmarks), face.landmarks, atol=1e-4)
    assert crop.image.shape[0] == round(crop_side(crop.transform))
    assert crop.landmarks.dtype == np.float32 and crop.transform.dtype == np.float64
    # Eyes are level and in the upper half, as in FFHQ.
    eyes = crop.landmarks[36:42].mean(0), crop.landmarks[42:48].mean(0)
    assert abs(eyes[0][1] - eyes[1][1]) < 0.02 and 0.4 < eyes[0][1] < 0.55
    assert abs((eyes[0][0] + eyes[1][0]) / 2 - 0.5) < 0.05


def test_whole_photo_is_copied_exactly():
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    np.testing.assert_array_equal(cut_crop(photo, np.diag([40.0, 40.0, 1.0]), 40), photo)


def test_quarter_turn_is_exact():
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    turn = np.array([[0.0, -40.0, 40.0], [40.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(cut_crop(photo, turn, 40), np.rot90(photo, 1))


def test_outside_the_photo_is_mirrored():
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    transform = np.array([[60.0, 0.0, -10.0], [0.0, 60.0, -10.0], [0.0, 0.0, 1.0]])
    expected = np.pad(photo, ((10, 10), (10, 10), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(cut_crop(photo, transform, 60), expected)


def test_neighbours_outside_the_square_are_used():
    """Up to its edge a crop equals the middle of a larger one."""
    photo = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    small = cut_crop(photo, np.array([[40.0, 0, 10.5], [0, 40, 12.3], [0, 0, 1]]), 40)
    large = cut_crop(photo, np.array([[50.0, 0, 5.5], [0, 50, 7.3], [0, 0, 1]]), 50)
    np.testing.assert_allclose(small.astype(int), large[5:-5, 5:-5], atol=1)


@pytest.mark.parametrize("size", [300, 150, 97, 64, 33])
def test_pixel_centers_are_at_one_half(size):
    """Wherever the grid falls, the crop shows at unit (j + 0.5) / S what the photo shows at the transformed point."""
    photo = smooth_photo(400, 500)
    transform = similarity(20, 150, (180, 90))
    crop = cut_crop(photo, transform, size)
    column, row = np.meshgrid(np.arange(size), np.arange(size))
    unit = np.stack([column.ravel() + 0.5, row.ravel() + 0.5], -1) / size
    expected = sample(photo, apply_transform(transform, unit)).reshape(size, size, 3)
    error = crop - expected
    assert abs(error.mean()) < 0.15  # The rounding is to the nearest.
    # What there is of error is reduction's loss of contrast, not a shift: the fit of both says so.
    step = 1e-3
    slopes = [
        (
            sample(photo, apply_transform(transform, unit + axis))
            - sample(photo, apply_transform(transform, unit - axis))
        )
        / (2 * step)
        for axis in np.eye(2) * step
    ]
    causes = np.stack([slopes[0].ravel(), slopes[1].ravel(), expected.ravel() - 127.5], -1)
    shift_x, shift_y, gain = np.linalg.lstsq(causes, error.ravel(), rcond=None)[0]
    assert max(abs(shift_x), abs(shift_y)) * size < 0.01
    assert abs(gain) < 0.02
    assert np.abs(error.ravel() - causes @ [shift_x, shift_y, gain]).mean() < 2.0


def test_reduction_does_not_alias():
    board = np.indices((256, 256)).sum(0).astype(np.uint8) % 2 * 255
    crop = cut_crop(np.repeat(board[..., None], 3, 2), similarity(10, 160, (60, 40)), 40)
    assert np.abs(crop.astype(int) - 127).max() < 12


def test_landmarks_show_the_same_content(astronaut):
    (face,) = find_faces(astronaut)
    crop = align_face(astronaut, face)
    here = sample(astronaut, face.landmarks.astype(np.float64))
    side = crop.image.shape[0]
    there = sample(crop.image, crop.landmarks.astype(np.float64) * side)
    off = sample(crop.image, crop.landmarks.astype(np.float64) * side + 0.5)
    assert np.abs(here - there).mean() < 3.0 < np.abs(here - off).mean() / 1.5


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"), [(0, 1, (40, 30)), (8, 1, (80, 20)), (-12, 1.3, (0, 130)), (5, 0.7, (50, 20))]
)
def test_moved_photo_gives_the_same_crop(astronaut, degrees, scale, shift):
    (face,) = find_faces(astronaut)
    plain = align_face(astronaut, face)
    move = similarity(degrees, scale, shift)
    coefficients = tuple(np.linalg.inv(move)[:2].ravel())
    side = round(620 * max(1, scale))
    moved_photo = Image.fromarray(astronaut).transform((side, side), Image.AFFINE, coefficients, Image.BICUBIC)
    moved_photo = np.array(moved_photo)
    moved_face = central_face(find_faces(moved_photo), moved_photo, "moved")
    moved = align_face(moved_photo, moved_face)
    assert np.linalg.norm(moved.landmarks - plain.landmarks, axis=1).mean() < 0.02
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    where = apply_transform(np.linalg.inv(move @ plain.transform) @ moved.transform, corners)
    np.testing.assert_allclose(where, corners, atol=0.03)
    difference = resize_crop(moved.image, 64).astype(int) - resize_crop(plain.image, 64)
    assert np.abs(difference).mean() < 8
    # With the same landmarks only resampling is left.
    same = cut_crop(moved_photo, move @ plain.transform, 64).astype(int) - cut_crop(astronaut, plain.transform, 64)
    assert np.abs(same).mean() < 2


@pytest.mark.parametrize(("factor", "expected"), [(3.0, 512), (0.1, 32)])
def test_side_is_bounded(astronaut, factor, expected):
    size = round(512 * factor)
    photo = np.array(Image.fromarray(astronaut).resize((size, size), Image.LANCZOS))
    (face,) = find_faces(astronaut)
    scaled = type(face)(face.box, face.score, (face.landmarks * factor).astype(np.float32))
    assert align_face(photo, scaled).image.shape == (expected, expected, 3)


def test_resize_keeps_the_mean_and_the_grid():
    ramp = np.repeat(np.repeat(np.arange(0, 256, 2, dtype=np.uint8)[None], 128, 0)[..., None], 3, 2)
    small = resize_crop(ramp, 16)
    inner = slice(1, -1)
    expected = ramp.reshape(16, 8, 16, 8, 3).mean((1, 3))
    np.testing.assert_allclose(small[:, inner], expected[:, inner], atol=1)
    np.testing.assert_array_equal(resize_crop(ramp, 128), ramp)
    assert resize_crop(ramp, 200).shape == (200, 200, 3)


def test_crop_face_from_a_file(tmp_path, astronaut):
    path = tmp_path / "me.png"
    Image.fromarray(astronaut).save(path)
    (face,) = find_faces(astronaut)
    expected = align_face(astronaut, face)
    for crop in (crop_face(path), crop_face(str(path))):
        np.testing.assert_array_equal(crop.image, expected.image)
        np.testing.assert_array_equal(crop.landmarks, expected.landmarks)


def test_crop_face_names_the_file(tmp_path, astronaut):
    path = tmp_path / "me.png"
    with pytest.raises(UnreadableImage, match=r"me\.png: no such file"):
        crop_face(path)
    Image.new("RGB", (90, 90)).save(path)
    with pytest.raises(NoFace, match=r"me\.png: no face"):
        crop_face(path)
    Image.fromarray(np.concatenate([astronaut, astronaut], 1)).save(path)
    with pytest.raises(SeveralFaces, match=r"me\.png: shows 2"):
        crop_face(path)


@pytest.fixture
def group(tmp_path, astronaut):
    """A photograph of the astronaut twice, the right one larger, with their boxes."""
    small = np.array(Image.fromarray(astronaut).resize((360, 360), Image.LANCZOS))
    image = np.concatenate([np.pad(small, ((0, 152), (0, 0), (0, 0)), mode="edge"), astronaut], axis=1)
    path = tmp_path / "group.png"
    Image.fromarray(image).save(path)
    right, left = (face.box for face in find_faces(image))
    return path, left, right


def test_all_faces_of_a_photograph_the_most_prominent_first(group):
    path, left, right = group
    crops = crop_faces(path)
    assert [crop.box for crop in crops] == [right, left]
    assert crops[0].which == "face 2 of 2 from the left, {2} x {3} px at {0},{1}".format(*right)
    assert crops[1].which.startswith("face 1 of 2 from the left")
    image = read_image(path)
    np.testing.assert_array_equal(crops[0].image, align_face(image, find_faces(image)[0]).image)


def test_faces_above_one_another_have_numbers_of_their_own(tmp_path, astronaut):
    path = tmp_path / "collage.png"
    Image.fromarray(np.concatenate([astronaut, astronaut])).save(path)
    crops = crop_faces(path)
    numbers = {crop.box[1]: crop.which[:11] for crop in crops}
    assert len({crop.box[0] for crop in crops}) == 1
    assert [numbers[y] for y in sorted(numbers)] == ["face 1 of 2", "face 2 of 2"]


def test_the_face_that_a_box_points_at_comes_first_found_or_not(group):
    path, left, right = group
    x, y, w, h = left
    rough = (x - 9, y - 5, w + 12, h + 20)
    assert [crop.box for crop in crop_faces(path, rough)] == [left, right]
    beside = (x + 2 * w, y, 40, 40)
    crops = crop_faces(path, beside)
    assert [crop.box for crop in crops] == [beside, right, left] and crops[0].which.startswith("face 2 of 3")


def test_a_photograph_of_one_face_has_no_choice(tmp_path, astronaut):
    Image.fromarray(astronaut).save(tmp_path / "me.png")
    (crop,) = crop_faces(tmp_path / "me.png")
    assert crop.which == "" and crop.box == find_faces(astronaut)[0].box
    np.testing.assert_array_equal(crop.image, crop_face(tmp_path / "me.png").image)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photograph_that_lies_gives_the_same_crop(tmp_path, astronaut, quarters):
    for name, image in (("me.png", astronaut), ("lying.png", np.rot90(astronaut, quarters))):
        Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / name)
    (crop,), (lying,) = crop_faces(tmp_path / "me.png"), crop_faces(tmp_path / "lying.png")
    np.testing.assert_allclose(lying.landmarks, crop.landmarks, atol=1e-4)
    assert np.abs(lying.image.astype(int) - crop.image).mean() < 1.0


def test_flawed_faces_are_left_out_beside_sound_ones(group):
    path, left, right = group
    image = np.array(Image.open(path))
    image[:, 360:] = image[:, 360:] // 64 * 64 + 32
    Image.fromarray(image).save(path)
    assert len(find_faces(image)) == 2
    (crop,) = crop_faces(path)
    assert crop.box == left and crop.which == ""
    with pytest.raises(InputError, match=r"group\.png: its face is posterised"):
        crop_faces(path, right)


def test_where_no_face_is_a_box_is_needed(tmp_path):
    path = tmp_path / "grey.png"
    noise = np.random.default_rng(0).normal(128, 20, (90, 90, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise).save(path)
    with pytest.raises(NoFace, match=r"grey\.png: no face"):
        crop_faces(path)
    with pytest.raises(InputError, match=r"grey\.png: box 500,0,10,10 does not lie"):
        crop_faces(path, (500, 0, 10, 10))
    assert len(crop_faces(path, (20, 20, 50, 50))) == 1
