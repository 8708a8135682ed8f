"""The 3 x 3 convolution against XLA's own, value and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.networks.convolution import Conv3x3, convolve_3x3


@pytest.mark.parametrize(("side", "channels", "features"), [(5, 3, 4), (8, 4, 1)])
def test_value_and_gradients_are_those_of_a_convolution(side, channels, features):
    x_key, kernel_key, weight_key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (2, side, side, channels))
    kernel = jax.random.normal(kernel_key, (3, 3, channels, features))
    weight = jax.random.normal(weight_key, (2, side, side, features))

    def theirs(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)

    np.testing.assert_allclose(convolve_3x3(x, kernel), theirs(x, kernel), atol=1e-5)
    ours = jax.grad(lambda *a: jnp.sum(weight * jnp.square(convolve_3x3(*a))), (0, 1))(x, kernel)
    wanted = jax.grad(lambda *a: jnp.sum(weight * jnp.square(theirs(*a))), (0, 1))(x, kernel)
    for one, other in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_the_module_is_flax_s_own_with_its_parameters():
    x = jax.random.normal(jax.random.key(1), (1, 6, 6, 3))
    theirs = nn.Conv(5, (3, 3))
    params = theirs.init(jax.random.key(2), x)
    np.testing.assert_allclose(Conv3x3(5).apply(params, x), theirs.apply(params, x), atol=1e-5)
