import jax
import jax.numpy as jnp
import pytest

from idfsr_jax.training.flops import flops_of


def test_a_matrix_product_has_two_operations_a_term():
    assert flops_of(jnp.matmul, jnp.zeros((8, 16)), jnp.zeros((16, 32))) == pytest.approx(2 * 8 * 16 * 32, rel=0.01)


def test_loops_count_as_often_as_they_go_round():
    x, w = jnp.zeros((5, 16, 16)), jnp.zeros((16, 16))
    once = flops_of(jnp.matmul, w, w)
    mapped = lambda x: jax.lax.map(lambda y: y @ w, x)  # noqa: E731
    assert flops_of(mapped, x) == pytest.approx(5 * once, rel=0.01)
    thrice = lambda y: jax.lax.scan(lambda carry, _: (jax.jit(jnp.matmul)(carry, w), None), y, None, length=3)[0]  # noqa: E731
    assert flops_of(lambda x: jax.lax.map(thrice, x), x) == pytest.approx(15 * once, rel=0.01)
