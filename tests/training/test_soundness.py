"""Which states may be saved: all their numbers are finite, and of a size that something can come of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import TrainConfig
from idfsr_jax.training.soundness import is_sound
from idfsr_jax.training.state import TrainState, create_state, make_optimizer


@pytest.fixture(scope="module")
def _state() -> TrainState:
    params = {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "bias": jnp.zeros(4)}
    return create_state(params, make_optimizer(TrainConfig()))


def test_a_state_is_sound_where_all_its_numbers_are(_state):
    assert is_sound(_state)
    leaves, structure = jax.tree.flatten(_state)
    floats = [n for n, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert len(floats) == 8  # parameters, average, both moments
    for n in floats:
        for value in (np.nan, np.inf, -np.inf):
            broken = [leaf.at[(-1,) * leaf.ndim].set(value) if n == m else leaf for m, leaf in enumerate(leaves)]
            assert not is_sound(jax.tree.unflatten(structure, broken))


@pytest.mark.parametrize("part", ["params", "ema"])
@pytest.mark.parametrize(("value", "sound"), [(9e3, True), (-9e3, True), (2e4, False), (-2e4, False), (1e37, False)])
def test_finite_numbers_that_nothing_can_come_of_are_not_sound(_state, part, value, sound):
    grown = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(value), getattr(_state, part))
    assert bool(is_sound(_state.replace(**{part: grown}))) == sound
