"""Degradation against Pillow's resampling, Pillow's (libjpeg's) JPEG and SciPy's blur; and what is drawn."""

import io
import operator
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from idfsr_jax.method import degrade

SIZE, MOST = 128, 64
PILLOW = {
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
run = jax.jit(degrade.degrade)


@pytest.fixture(scope="module")
def tables():
    return degrade.resampling_tables(SIZE)


@pytest.fixture
def crop(reduced):
    """A real face, 128 x 128, 8 bits."""
    return reduced(SIZE)


def to_float(picture):
    return jnp.asarray(picture, jnp.float32) / 127.5 - 1.0


def to_levels(image):
    levels = (np.asarray(image, np.float64) + 1.0) * 127.5
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    return np.round(levels).astype(int)


def pillow_jpeg(picture, quality, subsampling):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.array(Image.open(file))


def test_tables_are_small_and_their_weights_sum_to_one(tables):
    assert tables.down.dtype == tables.up.dtype == np.float32
    assert tables.down.shape == (4, 61, MOST, SIZE) and tables.up.shape == (61, SIZE, MOST)
    assert tables.down.nbytes + tables.up.nbytes < 11e6
    valid = np.arange(MOST) < np.arange(4, 65)[:, None]
    np.testing.assert_allclose(tables.down.sum(axis=-1), np.stack([valid] * 4), atol=1e-6)
    np.testing.assert_allclose(tables.up.sum(axis=-1), 1.0, atol=1e-6)
    assert not np.any(np.moveaxis(tables.up, -1, 1)[~valid])


@pytest.mark.parametrize("kind", degrade.KINDS)
@pytest.mark.parametrize("n", [4, 8, 15, 31, 48, 64])
def test_both_resizings_equal_pillow(crop, tables, n, kind):
    y_up, y = run(to_float(crop)[None], degrade.fixed_degradation(1, n, kind), tables, jax.random.key(0))
    small = to_levels(y[0, :n, :n])
    expected = np.asarray(Image.fromarray(crop).resize((n, n), PILLOW[kind]), int)
    assert np.abs(small - expected).max() <= (0 if kind == "nearest" else 1)
    assert not np.any(np.asarray(y[0, n:])) and not np.any(np.asarray(y[0, :, n:]))
    large = Image.fromarray(small.astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert np.abs(np.round((np.asarray(y_up[0]) + 1.0) * 127.5) - np.asarray(large, int)).max() <= 1
    np.testing.assert_allclose(degrade.enlarge(y, jnp.array([n]), tables), y_up, atol=1e-6)


def test_nearest_equals_pillow_at_every_width(tables):
    ramp = Image.fromarray(np.tile(np.arange(SIZE, dtype=np.uint8), (SIZE, 1)))
    for n in range(4, 65):
        expected = np.asarray(ramp.resize((n, 1), Image.Resampling.NEAREST))[0]
        np.testing.assert_array_equal(tables.down[3, n - 4, :n].argmax(axis=1), expected)


def test_one_program_serves_all_and_an_example_knows_nothing_of_its_neighbours(crop, tables):
    images = to_float(np.stack([crop, crop[::-1], crop[:, ::-1], np.roll(crop, 9, axis=0)]))
    traced = []

    @jax.jit
    def compiled(*arguments):
        traced.append(1)
        return degrade.degrade(*arguments)

    for seed in range(3):
        drawn = degrade.draw_degradations(jax.random.key(seed), 4, clean_share=0.0)
        drawn = drawn.replace(noise=jnp.zeros(4))
        together, _ = compiled(images, drawn, tables, jax.random.key(0))
        for row in range(4):
            own = jax.tree.map(operator.itemgetter(slice(row, row + 1)), drawn)
            alone, _ = run(images[row : row + 1], own, tables, jax.random.key(1))
            # A value halfway between two levels may be rounded either way.
            assert np.quantile(np.abs(np.asarray(alone[0] - together[row])), 0.99) < 1e-5
        assert np.all(np.isfinite(together)) and np.abs(together).max() <= 1.0
    assert len(traced) == 1


def test_twice_compressed_equals_pillow_twice(crop, tables):
    n = 30
    drawn = degrade.fixed_degradation(1, n, "nearest", quality=35, subsampled=False)
    drawn = drawn.replace(shift=jnp.array([[3, 6]]), second_quality=jnp.array([60]))
    _, y = run(to_float(crop)[None], drawn, tables, jax.random.key(0))
    small = np.asarray(Image.fromarray(crop).resize((n, n), Image.Resampling.NEAREST))
    first = pillow_jpeg(np.pad(small, ((3, 0), (6, 0), (0, 0)), mode="edge"), 35, 0)[3:, 6:]
    assert (to_levels(y[0, :n, :n]) != pillow_jpeg(first, 60, 0)).mean() < 0.01


@pytest.mark.parametrize("n", [16, 31])
def test_blur_equals_scipy_before_down_sampling_and_after(crop, tables, n):
    std = 0.9
    early = degrade.fixed_degradation(1, n, blur=std)
    _, y = run(to_float(crop)[None], early, tables, jax.random.key(0))
    blurred = ndimage.gaussian_filter(crop.astype(float), (std * SIZE / n,) * 2 + (0,), mode="nearest", truncate=6.0)
    matrix = tables.down[0, n - 4, :n].astype(float)
    expected = np.einsum("nh,hwc,mw->nmc", matrix, blurred, matrix)
    inside = slice(4, n - 4)
    assert np.abs(to_levels(y[0, :n, :n]) - expected)[inside, inside].max() < 0.6

    _, y = run(to_float(crop)[None], early.replace(order=jnp.array([2])), tables, jax.random.key(0))
    small = np.einsum("nh,hwc,mw->nmc", matrix, crop.astype(float), matrix)
    expected = ndimage.gaussian_filter(small, (std, std, 0), mode="nearest", truncate=6.0)
    assert np.abs(to_levels(y[0, :n, :n]) - expected)[inside, inside].max() < 0.6


def test_sharpening_is_unsharp_masking(crop, tables):
    n, amount = 32, 1.5
    drawn = degrade.fixed_degradation(1, n).replace(sharpening=jnp.array([amount]))
    _, y = run(to_float(crop)[None], drawn, tables, jax.random.key(0))
    small = np.asarray(crop, float).reshape(n, 4, n, 4, 3).mean(axis=(1, 3))
    expected = small + amount * (small - ndimage.gaussian_filter(small, (1.0, 1.0, 0), mode="nearest", truncate=6.0))
    inside = slice(5, n - 5)
    assert np.abs(to_levels(y[0, :n, :n]) - np.clip(expected, 0, 255))[inside, inside].max() < 0.6


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_noise_has_its_strength_and_colour(tables, colour):
    drawn = degrade.fixed_degradation(8, 64, noise=8.0).replace(colour=jnp.full(8, colour))
    _, y = run(jnp.zeros((8, SIZE, SIZE, 3)), drawn, tables, jax.random.key(0))
    values = np.asarray(y).reshape(-1, 3) * 127.5
    np.testing.assert_allclose(values.std(axis=0), 8.0, rtol=0.02)
    correlation = np.corrcoef(values.T)
    np.testing.assert_allclose(correlation[np.triu_indices(3, 1)], 1.0 - colour, atol=0.02)


def test_the_order_of_noise_and_sharpening_tells(tables):
    """Sharpening that comes after the noise strengthens it, blur that comes after it weakens it."""
    drawn = degrade.fixed_degradation(3, 64, noise=8.0, blur=0.8).replace(
        sharpening=jnp.full(3, 1.0), order=jnp.array([0, 1, 2])
    )
    _, y = run(jnp.zeros((3, SIZE, SIZE, 3)), drawn, tables, jax.random.key(0))
    deviation = np.asarray(y).std(axis=(1, 2, 3)) * 127.5
    assert deviation[1] > 1.5 * 8.0 and deviation[2] < 8.0
    assert deviation[0] == pytest.approx(8.0, rel=0.05)


def test_randomness_follows_the_key(crop, tables):
    drawn = degrade.fixed_degradation(1, 24, blur=0.7, noise=8.0, quality=40)
    image = to_float(crop)[None]
    first, again, other = (run(image, drawn, tables, jax.random.key(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(np.asarray(first != other))


def test_draws_have_the_shares_and_ranges_that_are_asked_for():
    batch = 20_000
    drawn = jax.jit(lambda key: degrade.draw_degradations(key, batch))(jax.random.key(0))
    drawn = types.SimpleNamespace(**{name: np.asarray(value) for name, value in vars(drawn).items()})
    touched = (drawn.blur > 0) | (drawn.noise > 0) | (drawn.sharpening > 0) | (drawn.quality > 0)
    assert 1.0 - touched.mean() == pytest.approx(0.5 + 0.5 * 0.3 * 0.4 * 0.7 * 0.3, abs=0.02)
    for value, share in ((drawn.blur, 0.7), (drawn.noise, 0.6), (drawn.sharpening, 0.3), (drawn.quality, 0.7)):
        assert (value > 0).mean() == pytest.approx(0.5 * share, abs=0.02)
    for value, (low, high) in (
        (drawn.blur, degrade.BLUR_STD_LR_PIXELS),
        (drawn.noise, degrade.NOISE_STD_LEVELS),
        (drawn.sharpening, degrade.SHARPENING),
        (drawn.quality, degrade.JPEG_QUALITY),
        (drawn.second_quality, degrade.JPEG_QUALITY),
    ):
        value = value[value > 0]
        assert low <= value.min() <= low + 0.01 * (high - low) and high - 0.03 * (high - low) <= value.max() <= high
    assert np.all(drawn.quality[drawn.second_quality > 0] > 0)
    assert set(drawn.order) == {0, 1, 2} and set(np.unique(drawn.shift)) == set(range(16))
    np.testing.assert_allclose(np.bincount(drawn.kind) / batch, degrade.KIND_WEIGHTS, atol=0.02)


def test_widths_are_log_uniform_and_the_favoured_more_often():
    batch = 40_000
    draw = jax.jit(lambda key: degrade.draw_degradations(key, batch).n)
    n = np.asarray(draw(jax.random.key(1)))
    weights = np.array([(2.0 if 8 <= width <= 32 else 1.0) / width for width in range(4, 65)])
    np.testing.assert_allclose(np.bincount(n, minlength=65)[4:] / batch, weights / weights.sum(), atol=0.005)


def test_clean_and_fixed():
    clean = jax.jit(lambda key: degrade.draw_degradations(key, 64, clean_share=1.0))(jax.random.key(0))
    for strength in (clean.blur, clean.noise, clean.sharpening, clean.quality, clean.second_quality):
        assert not np.any(np.asarray(strength))
    fixed = degrade.fixed_degradation(2, jnp.array([8, 16]), blur=0.7, noise=8.0, quality=40)
    np.testing.assert_array_equal(fixed.n, [8, 16])
    assert float(fixed.blur[0]) == pytest.approx(0.7) and float(fixed.noise[1]) == 8.0
    assert int(fixed.quality[0]) == 40 and bool(fixed.subsampled[0]) and int(fixed.second_quality[0]) == 0
