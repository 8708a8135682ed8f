import numpy as np
import pytest

from idfsr_jax.face.window import reflected_window

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("pad", [0, 1, 5, 12, 40])
def test_beyond_the_edges_is_mirrored(pad):
    expected = np.pad(IMAGE, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(reflected_window(IMAGE, -pad, -pad, 7 + pad, 5 + pad), expected)


def test_inside_is_a_slice():
    np.testing.assert_array_equal(reflected_window(IMAGE, 2, 1, 6, 4), IMAGE[1:4, 2:6])


def test_wholly_outside():
    expected = np.pad(IMAGE, ((0, 0), (0, 7), (0, 0)), mode="symmetric")[:, 9:12]
    np.testing.assert_array_equal(reflected_window(IMAGE, 9, 0, 12, 5), expected)
