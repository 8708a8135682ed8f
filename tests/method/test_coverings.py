"""Coverings: signed distances against scikit-image and by hand, and what each kind covers on a real face."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.draw import polygon2mask

from idfsr_jax.face.align import resize_crop
from idfsr_jax.io.images import to_float
from idfsr_jax.method import coverings

SIZE, COPIES = 96, 4
cover = jax.jit(coverings.cover)


@pytest.fixture(scope="module")
def crops(face_crop):
    image = to_float(resize_crop(face_crop.image, SIZE))
    landmarks = jnp.asarray(face_crop.landmarks, jnp.float32)
    return jnp.broadcast_to(image, (COPIES, *image.shape)), jnp.broadcast_to(landmarks, (COPIES, 68, 2))


def kinds_of(kind):
    return jnp.full(COPIES, kind, jnp.int32)


def changes_at(before, after, places):
    """How much the pixels at some places (unit coordinates) changed, [COPIES, places]."""
    x, y = np.clip((np.asarray(places) * SIZE).astype(int), 0, SIZE - 1).T
    return np.abs(np.asarray(after - before)).mean(axis=-1)[:, y, x]


@pytest.mark.parametrize("kind", coverings.KINDS)
def test_each_kind_covers_what_it_covers(crops, kind):
    images, landmarks = crops
    covered = cover(jax.random.key(1), images, landmarks, kinds_of(coverings.KINDS.index(kind)))
    assert covered.dtype == jnp.float32 and np.all(np.isfinite(covered))
    assert covered.min() >= -1.0 and covered.max() <= 1.0
    points = np.asarray(landmarks[0])
    eyes = changes_at(images, covered, [points[36:42].mean(axis=0), points[42:48].mean(axis=0)])
    mouth = changes_at(images, covered, points[48:68])
    changed = (np.abs(np.asarray(covered - images)).max(axis=-1) > 0.02).mean()
    assert 0.01 < changed < 0.6
    if kind == "mask":
        assert np.all(mouth > 0.02) and np.all(eyes < 0.02)
    elif kind == "sunglasses":
        assert np.all(eyes > 0.02) and np.all(mouth < 0.02)
    elif kind == "glasses":
        # A reflection may lie before an eye, a rim not before both.
        assert np.all(mouth < 0.02) and np.median(eyes) < 0.3
    else:
        assert np.all(eyes < 0.02) and np.all(changes_at(images, covered, points[[8, 57]]).max(axis=1) > 0.02)
    # Corners of the picture above the head are nobody's.
    np.testing.assert_allclose(covered[:, :4], images[:, :4], atol=0.01)


def test_probability_says_how_many_and_the_rest_is_untouched(crops):
    images, landmarks = crops
    run = jax.jit(coverings.draw_coverings)
    count = 0
    for seed in range(25):
        drawn = run(jax.random.key(seed), images, landmarks, 0.4)
        same = np.all(np.asarray(drawn == images), axis=(1, 2, 3))
        count += int((~same).sum())
    assert count / (25 * COPIES) == pytest.approx(0.4, abs=0.15)
    np.testing.assert_array_equal(run(jax.random.key(0), images, landmarks, 0.0), images)
    everywhere = run(jax.random.key(0), images, landmarks, 1.0)
    assert np.all(np.any(np.asarray(everywhere != images), axis=(1, 2, 3)))
    np.testing.assert_array_equal(everywhere, run(jax.random.key(0), images, landmarks, 1.0))


def test_a_degenerate_face_gives_no_nan(crops):
    images, landmarks = crops
    for kind in range(len(coverings.KINDS)):
        covered = cover(jax.random.key(0), images, jnp.full_like(landmarks, 0.5), kinds_of(kind))
        assert np.all(np.isfinite(covered)), coverings.KINDS[kind]


def grid(size):
    centres = jnp.arange(size, dtype=jnp.float32)
    x, y = jnp.meshgrid(centres, centres)
    return x, y


def test_the_inside_of_a_polygon_is_scikit_images():
    corners = np.array([[5.2, 4.1], [40.3, 9.7], [30.6, 22.2], [44.9, 41.3], [11.1, 36.8], [17.4, 20.5]], np.float32)
    distance = np.asarray(jax.jit(coverings._polygon)(grid(50), jnp.asarray(corners)))
    inside = polygon2mask((50, 50), corners[:, ::-1])
    far = np.abs(distance) > 1e-3
    np.testing.assert_array_equal((distance < 0.0)[far], inside[far])


def test_distances_by_hand():
    square = jnp.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]])
    polygon = jax.jit(coverings._polygon)(grid(40), square)
    box = coverings._rounded_box(grid(40), jnp.array([15.0, 15.0]), jnp.array([5.0, 5.0]), jnp.array(0.0))
    np.testing.assert_allclose(polygon, box, atol=1e-4)
    assert float(polygon[24, 23]) == pytest.approx(5.0)  # 3 beside and 4 below the corner
    assert float(polygon[15, 13]) == pytest.approx(-3.0)
    capsule = coverings._capsule(grid(40), jnp.array([10.0, 10.0]), jnp.array([20.0, 10.0]), 2.0)
    assert float(capsule[16, 15]) == pytest.approx(4.0) and float(capsule[14, 23]) == pytest.approx(3.0)
