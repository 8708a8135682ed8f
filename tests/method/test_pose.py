"""Heat maps: where lines are, and that a part of a pixel can be told."""

import jax
import jax.numpy as jnp
import numpy as np

from idfsr_jax.method import pose
from idfsr_jax.method.landmarks import MEAN_SHAPE
from idfsr_jax.method.pose import CHANNELS

FACE = (MEAN_SHAPE * 0.35 + np.array([0.5, 0.42])).astype(np.float32)
heat_maps = jax.jit(pose.heat_maps, static_argnums=1)


def test_lines_are_bright_and_all_else_is_dark():
    maps = np.asarray(heat_maps(jnp.asarray(FACE[None]), 64))[0]
    assert maps.shape == (64, 64, CHANNELS)
    for channel, point in enumerate((8, 19, 37, 29, 57, 66)):
        column, row = (FACE[point] * 64).astype(int)
        assert maps[row, column, channel] > 0.75
    assert maps[:3].max() < 1e-3


def test_a_pixel_is_exp_of_its_distance_to_the_line():
    points = np.tile(np.array([0.5, 0.5], np.float32), (68, 1))
    points[:17, 0] = np.linspace(0.0, 1.0, 17)
    points[:17, 1] = 0.5 + 0.25 / 16
    maps = np.asarray(heat_maps(jnp.asarray(points[None]), 16))[0, :, 8, 0]
    distance = (np.arange(16) + 0.5) - (8 + 0.25)
    np.testing.assert_allclose(maps, np.exp(-0.5 * distance**2), atol=1e-5)


def test_landmarks_in_one_place_are_finite():
    assert np.isfinite(np.asarray(heat_maps(jnp.full((1, 68, 2), 0.5), 8))).all()
