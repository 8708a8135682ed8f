"""Light against the sRGB transfer function written out in double precision; and what is drawn."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.io.images import to_float
from idfsr_jax.method import light

run = jax.jit(light.relight)


@pytest.fixture
def images(astronaut):
    return to_float(np.stack([astronaut[:64, 200:264], astronaut[100:164, 150:214]]))


def neutral(batch):
    ones = jnp.ones(batch)
    return light.Light(ones, jnp.ones((batch, 3)), ones, ones, jnp.ones((batch, 3)))


def linear(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def values_of(images):
    return (np.asarray(images, np.float64) + 1.0) / 2.0


def test_ones_change_nothing_from_black_to_white(images):
    np.testing.assert_allclose(run(images, neutral(2)), images, atol=2e-6)
    ramp = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, 256)[None, :, None, None], (1, 256, 256, 3))
    np.testing.assert_allclose(run(ramp, neutral(1)), ramp, atol=2e-6)


def test_exposure_and_cast_multiply_linear_light(images):
    gains = np.array([[0.3, 0.25, 0.2], [0.5, 0.55, 0.6]])
    given = neutral(2).replace(exposure=jnp.array([0.25, 0.5]), cast=jnp.asarray(gains / [[0.25], [0.5]], jnp.float32))
    expected = linear(values_of(images)) * gains[:, None, None]
    np.testing.assert_allclose(linear(values_of(run(images, given))), expected, atol=1e-5)


def test_overexposure_is_clipped(images):
    brighter = run(images, neutral(2).replace(exposure=jnp.array([8.0, 8.0])))
    assert 0.999999 < brighter.max() <= 1.0 and np.mean(np.asarray(brighter) > 0.999999) > 0.05


def test_contrast_is_about_the_mean(images):
    values = values_of(images)
    mean = values.mean(axis=(1, 2, 3), keepdims=True)
    ours = values_of(run(images, neutral(2).replace(contrast=jnp.array([0.5, 1.3]))))
    expected = np.clip(mean + np.array([0.5, 1.3])[:, None, None, None] * (values - mean), 0.0, 1.0)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_grey_is_the_luma_and_sepia_a_tone_of_it(images):
    luma = values_of(images) @ np.array([0.299, 0.587, 0.114])
    toned = neutral(2).replace(saturation=jnp.zeros(2), tone=jnp.array([[1.0, 1.0, 1.0], light.SEPIA]))
    ours = values_of(run(images, toned))
    for channel in range(3):
        np.testing.assert_allclose(ours[0, ..., channel], luma[0], atol=1e-5)
        np.testing.assert_allclose(ours[1, ..., channel], np.minimum(luma[1] * light.SEPIA[channel], 1.0), atol=1e-5)


def test_draws_have_the_shares_and_ranges_that_are_asked_for():
    batch = 20_000
    drawn = jax.jit(lambda key: light.draw_light(key, batch))(jax.random.key(0))
    drawn = types.SimpleNamespace(**{name: np.asarray(value) for name, value in vars(drawn).items()})
    low, high = light.EXPOSURE
    assert low <= drawn.exposure.min() < 1.05 * low and 0.95 * high < drawn.exposure.max() <= high * 1.00001
    # Mild light lies within the roots; the rest by chance, one time in four.
    mild = (drawn.exposure >= low**light.MILD) & (drawn.exposure <= high**light.MILD)
    assert mild.mean() == pytest.approx(0.5 + 0.5 * 0.25, abs=0.02)
    assert light.CONTRAST[0] <= drawn.contrast.min() and drawn.contrast.max() <= light.CONTRAST[1] * 1.00001
    assert (drawn.saturation == 0).mean() == pytest.approx(0.09, abs=0.01)
    sepia = np.any(drawn.tone != 1.0, axis=1)
    assert sepia.mean() == pytest.approx(0.03, abs=0.006) and np.all(drawn.saturation[sepia] == 0)
    np.testing.assert_allclose(drawn.cast @ np.array([0.2126, 0.7152, 0.0722]), 1.0, atol=1e-5)
    assert np.log(drawn.cast[:, 0] / drawn.cast[:, 2]).std() == pytest.approx(0.3 * np.sqrt((1 + 1 / 16) / 2), rel=0.05)
