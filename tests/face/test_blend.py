"""What is pasted takes the photograph's colours, grain and tint, and touches nothing else."""

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face.blend import blend_face, grain_of, paste_mask

SQUARE = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])


@pytest.fixture
def mask():
    """A disk, hard."""
    row, column = np.indices((64, 64))
    return ((row - 31.5) ** 2 + (column - 31.5) ** 2 < 16**2).astype(np.float32)


def noisy(shape: tuple[int, int], level: float, std: float, seed: int = 0) -> np.ndarray:
    return (level + std * np.random.default_rng(seed).normal(size=(*shape, 3))).round().clip(0, 255).astype(np.uint8)


def test_another_light_leaves_no_seam(mask):
    ramp = np.linspace(60, 160, 200)[None, :, None]
    photo = np.broadcast_to(ramp, (200, 200, 3)).round().astype(np.uint8)
    crop = np.array(Image.fromarray(photo[50:150, 50:150]).resize((64, 64)))
    blended = blend_face(photo, (crop + 30).astype(np.uint8), SQUARE, paste_mask(mask, 2.0))
    assert np.abs(blended.astype(int) - photo).max() <= 4


def test_the_face_itself_stays(mask):
    """A black spot in the middle is a feature, not light."""
    photo = np.full((200, 200, 3), 128, np.uint8)
    crop = np.full((64, 64, 3), 128, np.uint8)
    crop[30:34, 30:34] = 0
    blended = blend_face(photo, crop, SQUARE, paste_mask(mask, 2.0))
    assert blended[100, 100].max() < 30 and abs(int(blended[75, 100, 0]) - 128) < 12


def test_the_light_on_the_face_is_the_photographs(mask):
    """Lit from the left, where the crop is lit from the right."""
    light = np.linspace(-40, 40, 200)[None, :, None]
    photo = np.broadcast_to(128 - light, (200, 200, 3)).round().astype(np.uint8)
    crop = np.array(Image.fromarray(photo[50:150, 50:150]).resize((64, 64)))[:, ::-1]
    blended = blend_face(photo, crop, SQUARE, paste_mask(mask, 2.0)).astype(float)
    before = np.abs(np.array(Image.fromarray(crop).resize((100, 100))).astype(float) - photo[50:150, 50:150])[
        30:70, 30:70
    ]
    assert np.abs(blended - photo)[80:120, 80:120].mean() < 0.35 * before.mean()


def test_outside_the_mask_nothing_changes(mask):
    photo = noisy((200, 200), 128, 20)
    blended = blend_face(photo, np.zeros((64, 64, 3), np.uint8), SQUARE, paste_mask(mask, 2.0))
    row, column = np.indices((200, 200))
    distance = np.hypot(row - 99.5, column - 99.5)
    np.testing.assert_array_equal(blended[distance > 48], photo[distance > 48])
    assert np.any(blended[distance < 20] != photo[distance < 20])


@pytest.mark.parametrize("std", [3.0, 8.0])
def test_the_pasted_has_the_photographs_grain(mask, std):
    photo = noisy((200, 200), 128, std)
    blended = blend_face(photo, np.full((64, 64, 3), 128, np.uint8), SQUARE, paste_mask(mask, 2.0))
    for rows in (slice(85, 115), slice(66, 78)):  # the middle, and where photo and crop are mixed
        assert blended[rows, 85:115].astype(float).std() == pytest.approx(std, rel=0.3)


def test_grain_is_as_coarse_as_the_enlarged_photographs(mask):
    small = noisy((100, 100), 128, 8.0)
    photo = np.array(Image.fromarray(small).resize((300, 300), Image.Resampling.LANCZOS))
    place = SQUARE * np.array([[1.5], [1.5], [1.0]])
    blended = blend_face(photo, np.full((64, 64, 3), 128, np.uint8), place, paste_mask(mask, 2.0), enlarged=3.0)
    steps = lambda image: np.abs(np.diff(image.astype(float), axis=1)).mean() / image.astype(float).std()  # noqa: E731
    assert steps(blended[130:170, 130:170]) == pytest.approx(steps(photo[10:60, 10:60]), rel=0.3)


def test_a_photograph_without_grain_gets_none(mask):
    photo = np.full((200, 200, 3), 128, np.uint8)
    blended = blend_face(photo, np.full((64, 64, 3), 128, np.uint8), SQUARE, paste_mask(mask, 2.0))
    np.testing.assert_array_equal(blended, photo)


def test_the_same_seed_gives_the_same_grain(mask):
    photo = noisy((200, 200), 128, 8.0)
    once, again, other = (
        blend_face(photo, np.full((64, 64, 3), 128, np.uint8), SQUARE, paste_mask(mask, 2.0), seed=seed)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(once, again)
    assert np.any(once != other)


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.1, 0.95, 0.75)], ids=["grey", "sepia"])
def test_in_a_photograph_without_colours_there_are_none(mask, tint):
    grey = noisy((200, 200), 110, 30)[..., :1].astype(float)
    photo = (grey * np.array(tint)).clip(0, 255).astype(np.uint8)
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[..., 0] = 200
    middle = blend_face(photo, crop, SQUARE, paste_mask(mask, 2.0))[70:130, 70:130].astype(float)
    np.testing.assert_allclose(middle.mean((0, 1)) / middle[..., 1].mean() * tint[1], tint, atol=0.06)


def test_the_estimate_of_grain_is_right_and_texture_does_not_count():
    image = noisy((128, 128), 128, 6.0).astype(np.float32)
    lightness, colours = grain_of(image)
    assert lightness == pytest.approx(6.0 * np.linalg.norm([0.299, 0.587, 0.114]), rel=0.1)
    assert colours.shape == (3,) and np.all(colours > 2)
    edges = image.copy()
    edges[:, 60:68] += 90
    assert grain_of(edges)[0] == pytest.approx(lightness, rel=0.15)


@pytest.mark.parametrize("shift", [(-40, -30), (170, 150), (-500, 0)])
def test_a_face_at_the_edge(mask, shift):
    place = SQUARE.copy()
    place[:2, 2] = shift
    photo = noisy((200, 200), 128, 5.0)
    assert blend_face(photo, photo[:64, :64], place, paste_mask(mask, 2.0)).shape == photo.shape


def test_a_mask_is_one_on_the_face_and_fades_around_it(mask):
    weights = paste_mask(mask, 2.0)
    assert weights[mask > 0].min() > 0.5 and weights[32, 32] == 1.0
    assert weights[0].max() == 0.0 and np.abs(np.diff(weights[32])).max() < 0.35


def test_beside_a_blurred_head_the_face_fades_more_slowly(mask):
    """The zone grows with the input's pixels, and ends within the crop."""
    zones = [paste_mask(mask, scale) for scale in (2.0, 4.0, 8.0, 16.0)]
    widths = [np.sum((weights[32] > 0.05) & (weights[32] < 0.95)) for weights in zones]
    assert widths == sorted(widths) and widths[-1] > 1.5 * widths[0]
    for weights in zones:
        assert weights[mask > 0].min() > 0.5
        assert max(edge.max() for edge in (weights[0], weights[-1], weights[:, 0], weights[:, -1])) < 0.02
