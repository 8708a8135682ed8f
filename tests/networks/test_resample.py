import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from idfsr_jax.networks.resample import smoothed


@pytest.mark.parametrize("times", [0, 1, 4])
def test_smoothing_is_the_binomial_filter(times):
    image = np.random.default_rng(0).normal(size=(9, 7, 2)).astype(np.float32)
    expected = image
    for axis in (0, 1) * times:
        expected = scipy.ndimage.correlate1d(expected, np.array([0.25, 0.5, 0.25]), axis=axis, mode="nearest")
    np.testing.assert_allclose(smoothed(jnp.asarray(image)[None], times)[0], expected, atol=1e-6)


@pytest.mark.parametrize(("wave", "left"), [(2, 0.0), (4, 0.5), (8, 0.8536)])
def test_what_smoothing_leaves_of_a_wave(wave, left):
    x = np.cos(2 * np.pi * np.arange(64) / wave).astype(np.float32)
    image = jnp.asarray(np.broadcast_to(x[None, None, :, None], (1, 4, 64, 1)))
    inside = np.asarray(smoothed(image))[0, 2, 8:-8, 0]
    np.testing.assert_allclose(inside, left * x[8:-8], atol=1e-3)


@pytest.mark.parametrize("wave", [8, 16, 32])
def test_four_times_leave_as_much_of_a_wave_twice_as_long(wave):
    def left(wave, times):
        x = np.cos(2 * np.pi * np.arange(64) / wave).astype(np.float32)
        image = jnp.asarray(np.broadcast_to(x[None, None, :, None], (1, 4, 64, 1)))
        return float(smoothed(image, times)[0, 2, 32, 0])

    assert left(wave, 4) == pytest.approx(left(wave // 2, 1), abs=0.05)
