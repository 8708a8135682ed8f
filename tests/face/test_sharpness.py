"""A picture holds as much detail as it had before it was enlarged."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from idfsr_jax.face.sharpness import detail_side, sharpness_weight


def enlarged_from(image: np.ndarray, side: int) -> np.ndarray:
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return np.array(small.resize((image.shape[0],) * 2, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side", [16, 24, 32, 48])
def test_an_enlarged_crop_counts_as_the_small_one(face_crop, side):
    assert detail_side(enlarged_from(face_crop.image, side)) == pytest.approx(side, rel=0.4)


def test_detail_falls_with_blur(face_crop):
    blurred = [Image.fromarray(face_crop.image).filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 2, 4, 8)]
    sides = [detail_side(np.array(each)) for each in blurred]
    assert sides == sorted(sides, reverse=True) and sides[0] > 3 * sides[-1]


def test_no_more_than_the_photograph_had(face_crop):
    assert detail_side(face_crop.image, 20.0) == 20.0


def test_a_flat_picture_holds_nothing():
    assert detail_side(np.full((64, 64, 3), 77, np.uint8)) == pytest.approx(8.0)


def test_weights_rise_to_one():
    weights = [sharpness_weight(side) for side in (0.0, 8.0, 16.0, 32.0, 64.0, 128.0)]
    assert weights == sorted(weights)
    assert 0 < weights[0] and weights[3] == pytest.approx(0.5**1.4) and weights[-2:] == [1.0, 1.0]
