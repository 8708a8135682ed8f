"""Which photographs stand beside a face."""

import numpy as np
import pytest

from idfsr_jax.method.references import likest, nearest_first


def test_the_nearest_is_told_up_to_shift_and_scale(rng=np.random.default_rng(0)):
    face = rng.uniform(size=(68, 2))
    moved = 3.0 * face + np.array([5.0, -2.0])
    far, near = moved + rng.normal(scale=0.6, size=(68, 2)), moved + rng.normal(scale=0.03, size=(68, 2))
    assert nearest_first(face, np.stack([far, near, moved])).tolist() == [2, 1, 0]
    assert nearest_first(face, np.zeros((0, 68, 2))).tolist() == []


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (20, 12)])
def test_three_in_five_photographs_are_shown_and_they_are_those_nearest_the_identity(count, shown):
    rng = np.random.default_rng(count)
    cosines = rng.permutation(np.linspace(-0.5, 0.9, count))
    units = np.stack([cosines, np.sqrt(1.0 - cosines**2)], axis=1).astype(np.float32)
    chosen = likest(np.array([1.0, 0.0], np.float32), units)
    assert len(chosen) == shown and np.all(np.diff(chosen) > 0)
    rest = np.delete(np.arange(count), chosen)
    assert shown in (0, count) or cosines[chosen].min() > cosines[rest].max()
