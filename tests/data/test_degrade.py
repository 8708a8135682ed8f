"""Degradation against NumPy block means, jax.image.resize, SciPy's blur and Pillow's JPEG."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from idfsr_jax.data import degrade
from idfsr_jax.errors import BadConfig

SCALES = (4, 8, 16, 32)
to_lr = jax.jit(degrade.degrade, static_argnames=("s", "kind"))


@pytest.fixture
def crops(astronaut):
    """Eight pieces of a photograph, 64 x 64, in [-1, 1]."""
    rows = [astronaut[20 * i : 20 * i + 256, 15 * i : 15 * i + 256] for i in range(8)]
    small = np.stack([np.asarray(Image.fromarray(row).resize((64, 64), Image.Resampling.BOX)) for row in rows])
    return jnp.asarray(small, jnp.float32) / 127.5 - 1.0


@pytest.mark.parametrize("s", SCALES)
def test_area_is_the_mean_of_blocks(crops, s):
    n = 64 // s
    expected = np.asarray(crops, np.float64).reshape(8, n, s, n, s, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(degrade.area_downsample(crops, s), expected, atol=1e-6)


@pytest.mark.parametrize(("n", "size"), [(2, 64), (4, 64), (16, 64), (5, 37), (8, 8), (16, 128)])
def test_bicubic_equals_jax_image_resize(n, size):
    y = jax.random.uniform(jax.random.key(n), (3, n, n, 3), minval=-1.0, maxval=1.0)
    expected = jax.image.resize(y, (3, size, size, 3), "cubic")
    np.testing.assert_allclose(degrade.bicubic_upsample(y, size), expected, atol=2e-6)


def test_bicubic_equals_pillow():
    y = np.random.default_rng(0).uniform(-1, 1, (8, 8)).astype(np.float32)
    expected = np.asarray(Image.fromarray(y).resize((64, 64), Image.Resampling.BICUBIC))
    ours = degrade.bicubic_upsample(jnp.asarray(np.stack([y] * 3, axis=-1)[None]), 64)[0, :, :, 0]
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_quantise_gives_eight_bit_levels():
    levels = np.arange(256, dtype=np.float32) / 127.5 - 1.0
    run = jax.jit(degrade.quantise)
    np.testing.assert_allclose(run(jnp.asarray(levels + 0.003)), levels, atol=1e-6)
    np.testing.assert_array_equal(run(jnp.array([-3.0, -1.0, 1.0, 1.4])), [-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize("kind", ["area", "classical"])
@pytest.mark.parametrize("s", SCALES)
def test_the_lr_picture_is_eight_bit_and_follows_its_key(crops, s, kind):
    y = np.asarray(to_lr(jax.random.key(0), crops, s, kind))
    assert y.shape == (8, 64 // s, 64 // s, 3) and y.dtype == np.float32
    levels = (y + 1.0) * 127.5
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    assert y.min() >= -1.0 and y.max() <= 1.0
    np.testing.assert_array_equal(y, to_lr(jax.random.key(0), crops, s, kind))
    differs = not np.array_equal(y, to_lr(jax.random.key(1), crops, s, kind))
    assert differs is (kind == "classical")


@pytest.mark.parametrize("kind", ["area", "classical"])
def test_the_mixed_batch_equals_one_scale_at_a_time(crops, kind):
    key, index = jax.random.key(3), np.array([3, 0, 1, 2, 2, 0, 3, 1], np.int32)
    mixed = jax.jit(degrade.enlarge_mixed, static_argnums=(3, 4))(key, crops, jnp.asarray(index), SCALES, kind)
    for row, scale in enumerate(index):
        s = SCALES[scale]
        expected = degrade.bicubic_upsample(to_lr(key, crops, s, kind), 64)[row]
        np.testing.assert_allclose(mixed[row], expected, atol=1e-6)


def test_the_mixed_batch_equals_numpy_and_jax_image_resize(crops):
    mixed = degrade.enlarge_mixed(jax.random.key(0), crops, jnp.arange(8, dtype=jnp.int32) % 4, SCALES, "area")
    for row in range(8):
        s = SCALES[row % 4]
        means = np.asarray(crops[row], np.float64).reshape(64 // s, s, 64 // s, s, 3).mean(axis=(1, 3))
        y = jnp.asarray(np.round((means + 1.0) * 127.5) / 127.5 - 1.0, jnp.float32)
        # A mean halfway between two levels may be rounded either way: one level is 2 / 255.
        np.testing.assert_allclose(mixed[row], jax.image.resize(y, (64, 64, 3), "cubic"), atol=0.012)
        assert float(jnp.abs(mixed[row] - jax.image.resize(y, (64, 64, 3), "cubic")).mean()) < 1e-3


@pytest.mark.parametrize("std", [0.5, 1.0, 3.2, 12.0])
def test_blur_equals_scipy_inside(std):
    signal = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    ours = np.asarray(degrade.blur_matrix(jnp.array([std]), 256))[0] @ signal
    expected = ndimage.gaussian_filter1d(signal.astype(np.float64), std, truncate=8.0)
    inside = slice(100, 156)
    np.testing.assert_allclose(ours[inside], expected[inside], atol=2e-5)


def test_no_blur_is_the_identity():
    np.testing.assert_allclose(degrade.blur_matrix(jnp.array([0.0, 0.05]), 32), np.stack([np.eye(32)] * 2), atol=1e-6)


def test_classical_noise_stays_within_its_range(monkeypatch):
    monkeypatch.setattr(degrade, "JPEG_QUALITY", (100.0, 100.0))
    grey = jnp.zeros((64, 64, 64, 3))
    run = jax.jit(lambda key: degrade.degrade(key, grey, 2, "classical"))  # compiled anew: the patched range is in it
    deviation = np.asarray(run(jax.random.key(0))).std(axis=(1, 2, 3)) * 127.5
    low, high = degrade.NOISE_STD_LEVELS
    assert deviation.min() < low + 2.0 and high - 2.0 < deviation.max() < high + 1.5
    assert deviation.mean() == pytest.approx((low + high) / 2, abs=2.5)


def test_classical_blur_stays_within_its_range(monkeypatch):
    """The width of a blurred line tells the blur: variances add, line and block adding (s^2 - 1) / 12 each."""
    monkeypatch.setattr(degrade, "NOISE_STD_LEVELS", (0.0, 0.0))
    monkeypatch.setattr(degrade, "JPEG_QUALITY", (100.0, 100.0))
    line = jnp.full((64, 64, 64, 3), -1.0).at[:, :, 32:34].set(1.0)
    run = jax.jit(lambda key: degrade.degrade(key, line, 2, "classical"))  # compiled anew: the patched range is in it
    profile = np.asarray(run(jax.random.key(0)))[..., 0].mean(axis=1) + 1.0
    profile = np.where(profile > 0.02, profile, 0.0)  # what JPEG scatters
    variance = (profile * (np.arange(32) - 16.0) ** 2).sum(axis=1) / profile.sum(axis=1)
    low, high = degrade.BLUR_STD_LR_PIXELS
    measured = np.sqrt(np.maximum(variance - 2.0 * (2.0**2 - 1.0) / 12.0 / 2.0**2, 0.0))
    assert measured.min() < low + 0.2 and high - 0.1 < measured.max() < high + 0.05


def pillow_jpeg(picture, quality):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(file), np.float64)


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
@pytest.mark.parametrize("n", [2, 12, 64])
def test_jpeg_loses_what_pillow_loses(crops, quality, n):
    images = degrade.quantise(degrade.area_downsample(crops, 64 // n)) if n != 12 else crops[:, 10:22, 20:32]
    levels = np.round((np.asarray(images) + 1.0) * 127.5).astype(np.uint8)
    ours = np.round((np.asarray(jax.jit(degrade.jpeg)(images, jnp.full(8, float(quality)))) + 1.0) * 127.5)
    theirs = np.stack([pillow_jpeg(picture, quality) for picture in levels])
    lost = np.abs(theirs - levels).mean()
    # Their integer DCT rounds a few coefficients the other way, which weighs most where steps are small.
    assert np.abs(ours - theirs).mean() < {30: 0.1, 50: 0.15, 75: 0.2, 95: 0.4}[quality] * lost
    assert np.abs(ours - levels).mean() == pytest.approx(lost, rel=0.05)


@pytest.mark.parametrize("s", SCALES)
def test_consistency_makes_block_means_exact_and_is_smooth(crops, s):
    y = to_lr(jax.random.key(0), crops, s, "area")
    start = jnp.flip(crops, axis=1)
    exact = degrade.data_consistency(y, 64, 1.0)(start)
    np.testing.assert_allclose(degrade.area_downsample(exact, s), y, atol=1e-5)
    np.testing.assert_allclose(degrade.data_consistency(y, 64, 1.0)(exact), exact, atol=1e-5)
    np.testing.assert_allclose(degrade.data_consistency(y, 64, 0.3)(start), start + 0.3 * (exact - start), atol=1e-5)
    np.testing.assert_array_equal(degrade.data_consistency(y, 64, 0.0)(start), start)
    traced = jax.jit(lambda strength: degrade.data_consistency(y, 64, strength)(start))(1.0)
    np.testing.assert_allclose(traced, exact, atol=1e-6)
    # Repeating pixels, the pseudo-inverse, steps at block borders; this correction has to step far less.
    steps = np.abs(np.diff(np.asarray(exact - start), axis=2)).max()
    repeated = np.repeat(np.asarray(y - degrade.area_downsample(start, s)), s, axis=2)
    assert steps < 0.75 * np.abs(np.diff(repeated, axis=2)).max()


def test_sizes_that_do_not_divide_are_refused(crops):
    with pytest.raises(BadConfig, match="factor 5 does not divide"):
        degrade.area_downsample(crops, 5)
    with pytest.raises(BadConfig, match="factor 128 does not divide"):
        degrade.area_downsample(crops, 128)
    with pytest.raises(BadConfig, match="12 pixels wide"):
        degrade.data_consistency(jnp.zeros((1, 12, 12, 3)), 64, 1.0)
