"""JPEG against libjpeg's, which Pillow brings."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.method.jpeg import jpeg

MOST = 64
run = jax.jit(jpeg)


def ours(picture, quality, subsampled, shift=(0, 0)):
    n = len(picture)
    canvas = np.full((3, MOST, MOST), 77, np.float32)
    canvas[:, :n, :n] = picture.transpose(2, 0, 1)
    numbers = (np.array(n, np.int32), np.array(quality, np.int32), np.array(subsampled), np.array(shift, np.int32))
    levels = np.asarray(run(canvas, *numbers))[:, :n, :n].transpose(1, 2, 0)
    np.testing.assert_array_equal(levels, np.round(levels))
    return levels


def pillows(picture, quality, subsampling):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.array(Image.open(file))


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("n", [4, 8, 15, 16, 31, 49, 64])
def test_it_equals_pillow(reduced, n, subsampling):
    """A real face: all but two values in a thousand are equal, where one level in a hundred would do."""
    picture = reduced(n)
    for quality in (10, 30, 40, 75, 90, 95, 100):
        wrong = ours(picture, quality, subsampling == 2) != pillows(picture, quality, subsampling)
        # Encoders with another DCT than libjpeg's "islow" may come in other builds of Pillow: none is known.
        assert wrong.mean() < 0.002, quality


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("shift", [(0, 3), (5, 0), (8, 15), (7, 12)])
def test_of_shifted_blocks_it_is_that_of_a_larger_picture(reduced, shift, subsampling):
    picture, (top, left) = reduced(31), shift
    larger = np.pad(picture, ((top, 0), (left, 0), (0, 0)), mode="edge")
    expected = pillows(larger, 50, subsampling)[top:, left:]
    assert (ours(picture, 50, subsampling == 2, shift) != expected).mean() < 0.002


def test_of_quality_zero_there_is_none(reduced):
    np.testing.assert_array_equal(ours(reduced(20), 0, True), reduced(20))
