"""The guess in the result, and the reference of a grey picture."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.models.condition import make_condition, paste, towards_guess
from idfsr_jax.pictures import to_float

SIDE = 32


@pytest.fixture(scope="module")
def made(face_crop, tiny_config):
    """A function from an LR picture to its condition, with the astronaut as reference."""
    whole = to_float(face_crop.image)[None]
    reference = jax.image.resize(whole, (1, SIDE, SIDE, 3), "linear")
    landmarks = jnp.asarray(face_crop.landmarks[None])
    identity, scale = jnp.ones((1, 128)) / 128**0.5, jnp.full((1,), 8.0)

    def make(y_up, **options):
        config = replace(tiny_config.model, **options)
        return make_condition(y_up, landmarks, reference, landmarks, identity, scale, config)

    return make


@pytest.fixture(scope="module")
def blurred() -> jnp.ndarray:
    small = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 4, 4, 3)).astype(np.float32)
    return jax.image.resize(jnp.asarray(small), (1, SIDE, SIDE, 3), "cubic")


@pytest.mark.parametrize("kind", ["full", "tone"])
def test_the_guess_has_its_share_where_it_shows_the_reference(made, blurred, kind):
    condition = made(blurred, mask=kind)
    picture = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32))
    found, guess = towards_guess(picture, condition, 0.25, kind), jnp.clip(paste(condition, kind), -1, 1)
    shown = np.asarray(condition.mask * condition.valid)[..., 0]
    assert (shown == 1).sum() > 50 and (shown == 0).sum() > 50
    np.testing.assert_allclose(found[shown == 1], (0.75 * picture + 0.25 * guess)[shown == 1], atol=1e-6)
    np.testing.assert_array_equal(found[shown == 0], picture[shown == 0])


def test_without_a_reference_there_is_no_guess(made, blurred):
    condition = made(blurred, use_reference=False)
    picture = jnp.full((1, SIDE, SIDE, 3), 0.3)
    np.testing.assert_array_equal(towards_guess(picture, condition, 1.0, "tone"), picture)


def _colour(images) -> float:
    return float(jnp.abs(images - images.mean(-1, keepdims=True)).max())


def test_a_grey_picture_gets_a_grey_reference(made, blurred):
    grey = jnp.repeat(blurred[..., :1], 3, axis=-1)
    assert _colour(made(blurred).reference) > 0.1
    for kind in ("full", "tone"):
        condition = made(grey, mask=kind)
        assert _colour(condition.reference) < 1e-6 and _colour(paste(condition, kind)) < 1e-6
    # A scan's tint is no colour.
    assert _colour(made(grey + jnp.array([8.0, 0.0, -8.0]) / 127.5).reference) < 1e-6
    assert _colour(made(grey + jnp.array([12.0, 0.0, -12.0]) / 127.5).reference) > 0.1


def test_a_grey_reference_keeps_its_light(made, blurred):
    """Luma is Pillow's."""
    from PIL import Image

    grey = jnp.repeat(blurred[..., :1], 3, axis=-1)
    coloured, found = made(blurred), made(grey)
    inside = np.asarray(coloured.valid)[0, ..., 0] == 1
    levels = np.asarray((coloured.reference[0] + 1) * 127.5).clip(0, 255).round().astype(np.uint8)
    expected = np.asarray(Image.fromarray(levels).convert("L"), np.float32)
    np.testing.assert_allclose(np.asarray((found.reference[0, ..., 0] + 1) * 127.5)[inside], expected[inside], atol=1.5)
