import numpy as np
import pytest
from PIL import Image

from idfsr_jax.restore.recognition import reduce_crop, seen_side


@pytest.mark.parametrize(
    ("side", "seen"), [(2, 4), (4, 4), (7.9, 6), (8, 8), (23.7, 16), (24, 24), (63.9, 48), (64, 64), (500.0, 64)]
)
def test_faces_are_compared_at_the_next_smaller_side(side, seen):
    assert seen_side(side) == seen


def test_a_crop_is_reduced_by_area(face_crop):
    fine = np.asarray(Image.fromarray(face_crop.image).resize((192, 192), Image.Resampling.LANCZOS), np.float64)
    expected = fine.reshape(8, 24, 8, 24, 3).mean(axis=(1, 3))
    assert np.abs(reduce_crop(face_crop.image, 8) - expected).max() < 2.0
