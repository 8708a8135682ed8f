"""The net that tells how wrong LR pictures are is taught the true errors."""

import jax
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.io.images import to_uint8
from idfsr_jax.method.degrade import resampling_tables
from tools import input_error_net


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 8, 8, 3), np.uint8)
    return np.stack([np.array(Image.fromarray(each).resize((128, 128), Image.Resampling.BICUBIC)) for each in coarse])


def test_errors_are_against_the_mean_of_areas(images, monkeypatch):
    monkeypatch.setattr(input_error_net, "MAX_LOG_GAMMA", 0.0)
    y, n, error = input_error_net.vary(jax.random.key(0), images, resampling_tables(128, 4, 16))
    for row in range(len(images)):
        picture, width = to_uint8(y)[row, : n[row], : n[row]], (int(n[row]),) * 2
        cleans = [
            np.asarray(Image.fromarray(one).resize(width, Image.Resampling.BOX), np.float64)
            for one in (images[row], images[row, :, ::-1])
        ]
        expected = min(np.sqrt(np.mean((picture - clean) ** 2)) for clean in cleans)
        assert float(error[row]) == pytest.approx(expected, abs=0.6)
    assert np.sum(np.asarray(error) < 1.0) > 2 and np.sum(np.asarray(error) > 4.0) > 5


def test_training_is_repeatable_and_lowers_the_loss(images, monkeypatch):
    monkeypatch.setattr(input_error_net, "CANVASES", (16,))
    losses = []
    first = input_error_net.train(images, 60, 3, lambda step, loss: losses.append(float(loss)))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    again = input_error_net.train(images, 60, 3, lambda step, loss: None)
    jax.tree.map(np.testing.assert_array_equal, first, again)
