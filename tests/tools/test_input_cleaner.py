"""The net that cleans LR pictures is taught what they were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.io.images import to_uint8
from idfsr_jax.method.degrade import resampling_tables
from tools import input_cleaner
from tools.input_cleaner import Kind


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 8, 8, 3), np.uint8)
    return np.stack([np.array(Image.fromarray(each).resize((128, 128), Image.Resampling.BICUBIC)) for each in coarse])


def test_clean_pictures_are_means_of_areas(images, monkeypatch):
    monkeypatch.setattr(input_cleaner, "MAX_LOG_GAMMA", 0.0)
    kind = Kind(4, 16, 16, len(images))
    y, clean, n = input_cleaner.vary(jax.random.key(0), images, resampling_tables(128, 4, 16), kind)
    for row, width in enumerate(n.tolist()):
        means = [
            np.asarray(Image.fromarray(one).resize((width, width), Image.Resampling.BOX), np.float64)
            for one in (images[row], images[row, :, ::-1])
        ]
        told = 127.5 * (np.asarray(clean[row, :width, :width], np.float64) + 1.0)
        assert min(np.abs(told - mean).max() for mean in means) < 1.0
    far = [np.abs(y[row] - clean[row]).max() > 4.0 / 127.5 for row in range(len(images))]
    assert 5 < np.sum(far) < len(images)


def test_windows_of_large_pictures_are_cut_at_one_place_of_both(images, monkeypatch):
    monkeypatch.setattr(input_cleaner, "CLEAN_SHARE", 1.0)
    kind = Kind(32, 64, 24, len(images))
    y, clean, n = input_cleaner.vary(jax.random.key(1), images, resampling_tables(128, 4, 64), kind)
    assert y.shape == clean.shape == (len(images), 24, 24, 3) and np.all(n >= 32)
    # Other filters than the mean of areas differ from it a little.
    assert np.median(np.abs(y - clean).max(axis=(1, 2, 3))) < 0.05
    np.testing.assert_array_less(0, np.std(to_uint8(y).astype(float), axis=(1, 2, 3)))


def test_training_is_repeatable_and_lowers_the_loss(images, monkeypatch):
    kind = Kind(4, 8, 8, 8)
    monkeypatch.setattr(input_cleaner, "KINDS", (kind,))
    trained = [input_cleaner.train(images, steps, 3, lambda step, average, loss: None) for steps in (1, 60, 60)]
    jax.tree.map(np.testing.assert_array_equal, *trained[1:])
    shown = input_cleaner.vary(jax.random.key(5), np.tile(images, (4, 1, 1, 1)), resampling_tables(128, 4, 8), kind)
    before, after = (float(input_cleaner.loss_of(params, *shown, jnp.array(1.0))) for params in trained[:2])
    assert after < 0.95 * before
