import numpy as np
import pytest

from idfsr_jax.restore.spread import spread_of, spread_picture


def test_the_spread_is_the_standard_deviation():
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (5, 16, 16, 3)).astype(np.uint8))
    expected = np.sqrt(np.mean([np.var([image[3, 4, c] for image in images]) for c in range(3)]))
    assert spread_of(images)[3, 4] == pytest.approx(expected, rel=1e-5)


def test_where_nothing_differs_the_map_is_dark_and_where_much_does_it_is_bright():
    images = np.full((2, 32, 32, 3), 100, np.uint8)
    images[1, :, 16:] = 200
    picture = spread_picture(list(images))
    panel = picture[40:400, 410:790].astype(int)
    assert panel[:, 20:150].max() < 10
    assert panel[:, -150:-20].mean() > 150


def test_small_differences_do_not_fill_the_scale():
    images = np.full((2, 32, 32, 3), 100, np.uint8)
    images[1] += 2
    assert spread_picture(list(images))[40:400, 410:790].mean() < 60
