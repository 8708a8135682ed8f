import numpy as np
import pytest
from PIL import Image

from idfsr_jax.restore.conditions import cleaned_input
from idfsr_jax.restore.recognition import reduce_crop, seen_side, small_unit


@pytest.mark.parametrize(
    ("side", "seen"), [(2, 4), (4, 4), (7.9, 6), (8, 8), (23.7, 16), (24, 24), (63.9, 48), (64, 64), (500.0, 64)]
)
def test_faces_are_compared_at_the_next_smaller_side(side, seen):
    assert seen_side(side) == seen


def test_a_crop_is_reduced_by_area(face_crop):
    fine = np.asarray(Image.fromarray(face_crop.image).resize((192, 192), Image.Resampling.LANCZOS), np.float64)
    expected = fine.reshape(8, 24, 8, 24, 3).mean(axis=(1, 3))
    assert np.abs(reduce_crop(face_crop.image, 8) - expected).max() < 2.0


def test_a_small_face_is_cleaned_before_it_is_compared_by_all_recognisers(restorer, face_crop):
    noise = np.random.default_rng(0).normal(0.0, 12.0, (16, 16, 3))
    noisy = np.clip(reduce_crop(face_crop.image, 16) + noise, 0, 255).astype(np.uint8)
    clean, _ = cleaned_input(noisy, restorer.config.data.size)
    unit, model = restorer.see_small(noisy)[0], restorer.model
    as_cleaned, as_it_is = (
        small_unit(each, restorer.recognisers, model.landmark_net, model.center, restorer.config)[0]
        for each in (clean, noisy)
    )
    assert unit.shape == (sum(restorer.sizes),)
    np.testing.assert_allclose(unit, as_cleaned, atol=1e-5)
    assert np.abs(unit - as_it_is).max() > 1e-3
