"""A crop goes back exactly where it came from, and nothing else changes."""

import numpy as np
import pytest

from idfsr_jax.face import align_face, apply_transform, find_faces
from idfsr_jax.face.blend import warp_crop
from idfsr_jax.face.window import to_bytes

ONES = np.ones((64, 64), np.float32)


def paste_face(photo: np.ndarray, crop: np.ndarray, transform: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The photo with the crop mixed into it by its weights, and nothing else done to either."""
    result, warped = photo.copy(), warp_crop(photo.shape[:2], crop, transform, mask)
    if warped is not None:
        window, face, weight = warped
        result[window] = to_bytes(photo[window] + weight * (face - photo[window]))
    return result


def unit_positions(photo: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Unit coordinates of every pixel's centre, [h, w, 2]."""
    row, column = np.indices(photo.shape[:2])
    centers = np.stack([column.ravel() + 0.5, row.ravel() + 0.5], -1)
    return apply_transform(np.linalg.inv(transform), centers).reshape(*photo.shape[:2], 2)


def tilted(side: float, x: float, y: float) -> np.ndarray:
    c, s = side * np.cos(0.3), side * np.sin(0.3)
    return np.array([[c, -s, x], [s, c, y], [0.0, 0.0, 1.0]])


def test_unchanged_crop_gives_the_photo_back(astronaut):
    (face,) = find_faces(astronaut)
    crop = align_face(astronaut, face)
    pasted = paste_face(astronaut, crop.image, crop.transform, ONES)
    unit = unit_positions(astronaut, crop.transform)
    inside = ((unit > 0) & (unit < 1)).all(-1)
    difference = np.abs(pasted.astype(int) - astronaut)
    assert difference[inside].mean() < 3.0
    assert not difference[~inside].any()
    # A pixel aside is much worse, so the place is right.
    shifted = crop.transform.copy()
    shifted[0, 2] += 1.0
    off = np.abs(paste_face(astronaut, crop.image, shifted, ONES).astype(int) - astronaut)
    assert off[inside].mean() > 1.7 * difference[inside].mean()


def test_place_of_the_paste():
    photo = np.zeros((200, 220, 3), np.uint8)
    transform = tilted(80, 90, 60)
    pasted = paste_face(photo, np.full((64, 64, 3), 255, np.uint8), transform, ONES)[..., 0].astype(np.float64)
    row, column = np.indices(pasted.shape)
    center = np.array([(pasted * (column + 0.5)).sum(), (pasted * (row + 0.5)).sum()]) / pasted.sum()
    np.testing.assert_allclose(center, apply_transform(transform, np.array([[0.5, 0.5]]))[0], atol=0.05)


def test_reduction_does_not_alias():
    board = np.repeat((np.indices((512, 512)).sum(0).astype(np.uint8) % 2 * 255)[..., None], 3, 2)
    photo = np.full((100, 100, 3), 127, np.uint8)
    pasted = paste_face(photo, board, tilted(60, 35, 10), ONES)
    assert np.abs(pasted.astype(int) - 127).max() < 6


@pytest.mark.parametrize(("x", "y"), [(-40, -30), (170, 150), (-500, 0), (0, 900)])
def test_beyond_the_photo(x, y):
    photo = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    before = photo.copy()
    transform = np.array([[80.0, 0, x], [0, 80, y], [0, 0, 1]])
    pasted = paste_face(photo, np.full((40, 40, 3), 9, np.uint8), transform, ONES)
    np.testing.assert_array_equal(photo, before)
    unit = unit_positions(photo, transform)
    inside = ((unit > 0.1) & (unit < 0.9)).all(-1)
    assert (pasted[inside] == 9).all()
    outside = ~((unit > 0) & (unit < 1)).all(-1)
    np.testing.assert_array_equal(pasted[outside], before[outside])
