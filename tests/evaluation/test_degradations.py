"""Degradations on the host, against Pillow and SciPy called by hand."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from idfsr_jax.evaluation import degradations
from idfsr_jax.evaluation.degradations import ffhq_ref, gaussian_kernel, messenger, motion_kernel, surveillance


def fixed(**ranges):
    """A setting of FFHQ-Ref with nothing left to chance but the noise."""
    strengths = {"blur": 4.0, "reduction": 1.0, "noise": 0.0, "quality": 100} | ranges
    return {"fixed": tuple((value, value) for value in strengths.values())}


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)  # 4:2:0 by Pillow's own choice
    return np.asarray(Image.open(io.BytesIO(file.getvalue())))


@pytest.fixture(scope="module")
def image(face_crop):
    return np.asarray(Image.fromarray(face_crop.image).resize((128, 128), Image.Resampling.LANCZOS))


def test_a_messenger_resizes_and_compresses_twice(image, monkeypatch):
    monkeypatch.setattr(degradations, "MESSENGER_WIDTH", (1.5, 1.5))
    monkeypatch.setattr(degradations, "MESSENGER_QUALITY", (57, 57))
    expected = image
    for width in (33, 22):
        expected = jpeg(np.asarray(Image.fromarray(expected).resize((width, width), Image.Resampling.BICUBIC)), 57)
    np.testing.assert_array_equal(messenger(image, 22, np.random.default_rng(0)), expected)


def test_what_is_drawn_for_a_messenger(image, monkeypatch):
    seen = []
    monkeypatch.setattr(degradations, "_jpeg", lambda picture, quality: seen.append((len(picture), quality)) or picture)
    for seed in range(200):
        messenger(image, 40, np.random.default_rng(seed))
    (first, _), (second, _) = (zip(*seen[place::2], strict=True) for place in (0, 1))
    assert min(first) == 40 and max(first) == 80 and set(second) == {40} and len(set(first)) > 30
    assert {quality for _, quality in seen} == set(range(40, 86))
    seen.clear()
    messenger(image, 128, np.random.default_rng(0))
    assert [width for width, _ in seen] == [128, 128]  # never larger than the crop


def test_motion_along_rows_and_columns_is_a_running_mean():
    picture = np.random.default_rng(0).uniform(0, 255, (40, 40))
    for angle, axis in ((0.0, 1), (np.pi / 2, 0)):
        kernel = motion_kernel(6.0, angle)
        assert kernel.shape == (7, 7)
        found = ndimage.convolve(picture, kernel, mode="mirror")
        np.testing.assert_allclose(found, ndimage.uniform_filter1d(picture, 7, axis, mode="mirror"), atol=1e-9)
    slanted = motion_kernel(20.0, np.pi / 6)
    assert slanted.sum() == pytest.approx(1.0)
    rows, columns = np.mgrid[-9:10, -9:10]
    spread = [(slanted * a * b).sum() for a, b in ((columns, columns), (columns, rows), (rows, rows))]
    assert np.arctan2(2 * spread[1], spread[0] - spread[2]) / 2 == pytest.approx(np.pi / 6, abs=0.03)


def test_surveillance_is_motion_blur_block_means_and_noise(image, monkeypatch):
    monkeypatch.setattr(degradations, "MOTION_LR_PIXELS", (2.0, 2.0))
    monkeypatch.setattr(degradations, "motion_kernel", lambda length, _: motion_kernel(length, 0.0))
    monkeypatch.setattr(degradations, "SURVEILLANCE_NOISE_STD_LEVELS", (0.0, 0.0))
    still = surveillance(image, 16, np.random.default_rng(0)).astype(float)
    moved = ndimage.uniform_filter1d(image.astype(float), 17, axis=1, mode="mirror")  # 2 LR pixels of 8, and the centre
    np.testing.assert_allclose(still, moved.reshape(16, 8, 16, 8, 3).mean((1, 3)), atol=1.0)
    monkeypatch.setattr(degradations, "SURVEILLANCE_NOISE_STD_LEVELS", (12.0, 12.0))
    grey = np.full_like(image, 128)
    noise = surveillance(grey, 64, np.random.default_rng(0)).astype(float) - 128
    assert noise.std() == pytest.approx(12.0, rel=0.03) and abs(noise.mean()) < 0.5
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.05


def test_the_gaussian_is_scipys():
    point = np.zeros((41, 41))
    point[20, 20] = 1.0
    expected = ndimage.gaussian_filter(point, (3.0, 6.0), radius=20)
    np.testing.assert_allclose(gaussian_kernel(np.array([6.0, 3.0]), 0.0, 20), expected, atol=1e-12)
    np.testing.assert_allclose(gaussian_kernel(np.array([3.0, 6.0]), np.pi / 2, 20), expected, atol=1e-12)
    turned = gaussian_kernel(np.array([6.0, 3.0]), np.pi / 4, 20)
    np.testing.assert_allclose(turned, turned.T, atol=1e-12)
    assert turned[24, 24] > turned[24, 16]  # along falling columns and rows alike, both to the right and down


@pytest.mark.parametrize(("size", "reduction", "n"), [(512, 6.0, 85), (512, 32.0, 16), (128, 5.0, 102)])
def test_ffhq_ref_blurs_reduces_and_compresses_as_published(image, monkeypatch, size, reduction, n):
    """OpenCV's bilinear reduction takes the four pixels around each centre, whose places are spelled out here."""
    crop = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    monkeypatch.setattr(degradations, "FFHQ_REF", fixed(blur=10.0, reduction=reduction, quality=45))
    std, radius = 10.0 * size / 512, 20 * size // 512
    blurred = ndimage.gaussian_filter(crop.astype(float), (std, std, 0), mode="mirror", radius=(radius, radius, 0))
    places = (np.arange(n) + 0.5) * size / n - 0.5
    grid = np.meshgrid(places, places, indexing="ij")
    planes = [ndimage.map_coordinates(blurred[..., c], grid, order=1, mode="nearest") for c in range(3)]
    expected = jpeg(np.rint(np.stack(planes, axis=-1)).astype(np.uint8), 45)
    if n > size // 2:
        expected = np.asarray(Image.fromarray(expected).resize((size // 2,) * 2, Image.Resampling.BOX))
    found = ffhq_ref(crop, "fixed", np.random.default_rng(0))
    assert found.shape == expected.shape
    # A value between two levels may be rounded either way, which JPEG may carry through a block.
    assert (found == expected).mean() > 0.99 and np.abs(found.astype(int) - expected).max() <= 8


def test_the_published_ranges(monkeypatch):
    """Reduction, noise and quality as drawn; the blur by half a chance the same along both axes."""
    seen = []
    crop = np.full((128, 128, 3), 128, np.uint8)
    kernel = lambda stds, angle, radius: seen.append((*stds * 4, angle)) or np.ones((1, 1))  # noqa: E731
    monkeypatch.setattr(degradations, "gaussian_kernel", kernel)
    compressed = []
    monkeypatch.setattr(degradations, "_jpeg", lambda y, quality: compressed.append((y, quality)) or y)
    for setting, blur, widths, noise, quality in (
        ("moderate", (0, 8), (64, 128), (0, 15), (60, 100)),
        ("severe", (8, 16), (16, 63), (0, 20), (30, 100)),
    ):
        seen.clear()
        compressed.clear()
        for seed in range(400):
            ffhq_ref(crop, setting, np.random.default_rng(seed))
        stds = np.array(seen)[:, :2]
        assert blur[0] <= stds.min() < blur[0] + 0.1 and blur[1] - 0.1 < stds.max() <= blur[1]
        assert 0.4 < (stds[:, 0] == stds[:, 1]).mean() < 0.6
        found = [len(y) for y, _ in compressed]
        assert (min(found), max(found)) == widths
        levels = [y.std() for y, _ in compressed]
        assert min(levels) < noise[0] + 0.5 and noise[1] - 1 < max(levels) < noise[1] + 1
        assert {q for _, q in compressed} == set(range(quality[0], quality[1] + 1))
