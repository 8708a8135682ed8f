import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import TrainConfig
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.state import apply_gradients, create_state, ema_decay, learning_rate, make_optimizer


def decay_at(step, batch=16, halflife=20_000.0):
    return float(ema_decay(jnp.asarray(step, jnp.int32), batch, halflife))


def test_the_averages_half_life_is_reached_after_the_ramp():
    assert decay_at(10**6) == pytest.approx(0.5 ** (16 / 20_000), rel=1e-6)


def test_the_averages_half_life_grows_with_the_images_seen():
    decays = [decay_at(step) for step in (0, 10, 100, 1000, 10_000)]
    assert decays == sorted(decays) and len(set(decays)) == 5
    # After 100 steps 1616 images are seen; the half-life is a tenth of them and one batch.
    assert decay_at(100) == pytest.approx(0.5 ** (16 / (161.6 + 16)), rel=1e-5)
    assert decay_at(0) < 0.6


def test_trained_weights_are_not_forgotten_sooner_at_the_beginning():
    decays = [float(ema_decay(jnp.asarray(step, jnp.int32), 16, 2_000.0, from_random=False)) for step in (0, 10, 10**6)]
    assert decays == pytest.approx([0.5 ** (16 / 2_000)] * 3, rel=1e-6)


def test_one_step_moves_parameters_average_and_count():
    config = TrainConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.0)
    optimizer = make_optimizer(config)
    state = create_state({"w": jnp.ones((2, 2))}, optimizer)
    after = apply_gradients(state, {"w": jnp.full((2, 2), 3.0)}, optimizer, jnp.asarray(0.75))
    assert after.step == 1
    np.testing.assert_allclose(after.params["w"], 0.9, rtol=1e-5)  # Adam's first step is the learning rate
    np.testing.assert_allclose(after.ema["w"], 0.75 * 1.0 + 0.25 * 0.9, rtol=1e-5)


def test_only_matrices_decay():
    optimizer = make_optimizer(TrainConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.5))
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    state = create_state(params, optimizer)
    after = apply_gradients(state, jax.tree.map(jnp.zeros_like, params), optimizer, jnp.asarray(0.5))
    assert np.all(np.asarray(after.params["kernel"]) < 1)
    np.testing.assert_array_equal(after.params["bias"], 1.0)


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth():
    schedule = learning_rate(TrainConfig(steps=1000, warmup_steps=100, learning_rate=2.0))
    assert float(schedule(0)) == 0.0
    assert float(schedule(50)) == pytest.approx(1.0)
    assert float(schedule(100)) == pytest.approx(2.0)
    assert float(schedule(1000)) == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_a_run_shorter_than_its_warm_up_has_a_finite_learning_rate(steps):
    schedule = learning_rate(TrainConfig(steps=steps, warmup_steps=500, learning_rate=1.0))
    rates = [float(schedule(step)) for step in range(steps + 1)]
    assert np.all(np.isfinite(rates)) and max(rates) <= 1.0 + 1e-6


def test_keys_are_a_function_of_seed_stream_and_step():
    draw = lambda *use: float(jax.random.normal(step_key(*use)))  # noqa: E731
    uses = [(seed, stream, step) for seed in (0, 1) for stream in ("noise", "fit") for step in (0, 1, 2)]
    assert len({draw(*use) for use in uses}) == len(uses)
    assert [draw(*use) for use in uses] == [draw(*use) for use in uses]


def test_a_traced_step_gives_the_same_key():
    traced = jax.jit(lambda step: jax.random.key_data(step_key(3, "noise", step)))(jnp.asarray(7, jnp.int32))
    np.testing.assert_array_equal(traced, jax.random.key_data(step_key(3, "noise", 7)))


def test_streams_are_not_correlated():
    a, b = (np.asarray(jax.random.normal(step_key(0, name, 5), (4096,))) for name in ("noise", "dropout"))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06
