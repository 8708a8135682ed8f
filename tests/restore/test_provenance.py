import numpy as np
import pytest

from idfsr_jax.restore.provenance import mark


@pytest.mark.parametrize("size", [(24, 24), (64, 64), (400, 300), (1000, 1600)])
def test_the_mark_is_small_and_in_the_corner(size):
    picture = np.full((*size, 3), 128, np.uint8)
    marked = mark(picture)
    changed = np.argwhere(np.any(marked != picture, axis=2))
    height, width = np.array(size) - changed.min(axis=0)
    assert changed.max(axis=0).tolist() == [size[0] - 1, size[1] - 1]
    assert 6 <= height <= max(14, size[0] / 20) and 8 <= width <= max(14, size[1] / 2 + 4)
    # White on black, so that it can be read on anything.
    corner = marked[-height:, -width:]
    assert corner.max() > 180 and corner.min() < 20
    assert not np.any(picture != 128)
