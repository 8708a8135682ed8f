"""Training on the sampler's course: whose states they are, and what is judged there."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import SampleConfig
from idfsr_jax.config_checks import check_config
from idfsr_jax.diffusion.samplers import course
from idfsr_jax.diffusion.schedule import q_sample, sampling_levels
from idfsr_jax.errors import BadConfig
from idfsr_jax.models.denoiser import Denoiser
from idfsr_jax.networks.resample import smoothed
from idfsr_jax.training import step
from idfsr_jax.training.rollout import load_perceptual, rolled_out
from idfsr_jax.training.state import create_state, make_optimizer
from idfsr_jax.training.step import Frozen, draw_examples, examples_loss, mean_gradients, on_course


@pytest.fixture(scope="module")
def config(tiny_config):
    train = replace(tiny_config.train, batch=8, rollout_fraction=0.5, identity_loss=0.0)
    return replace(tiny_config, train=train, sample=SampleConfig(steps=4, temperature=0.8))


@pytest.fixture(scope="module")
def frozen(tiny_weights, config) -> Frozen:
    return Frozen(tiny_weights[1], None, jnp.zeros(128), perceptual=load_perceptual(config.train))


@pytest.fixture(scope="module")
def batch(config, face_crop):
    rng = np.random.default_rng(0)
    side = config.data.size
    images = rng.integers(0, 256, (2, 8, side, side, 3), np.uint8)
    landmarks = np.stack([face_crop.landmarks] * 8)
    descriptors = rng.normal(size=(2, 8, 128)).astype(np.float32)
    return {
        "target": images[0],
        "target_landmarks": landmarks,
        "reference": images[1],
        "reference_landmarks": landmarks,
        "embedding": descriptors[0],
        "target_embedding": descriptors[1],
        "scale": np.array([0, 1] * 4, np.int32),
    }


def drawn(batch, frozen, config):
    return jax.jit(partial(draw_examples, config=config))(batch, frozen, key=jax.random.key(0))


@pytest.fixture(scope="module")
def examples(config, frozen, batch):
    return drawn(batch, frozen, config)


def test_every_second_example_is_at_a_state_of_its_own_run_and_the_others_stay(config, frozen, examples, tiny_weights):
    key = jax.random.key(5)
    found, first = on_course(tiny_weights[0], examples, frozen, config, key), int(jax.random.randint(key, (), 0, 3))
    np.testing.assert_array_equal(found.noise[1::2], examples.noise[1::2])
    np.testing.assert_array_equal(found.log_snr[1::2], examples.log_snr[1::2])
    network = partial(Denoiser(config.model).apply, {"params": tiny_weights[0]})
    reached = q_sample(found.x0, found.noise, found.log_snr)
    for place in range(4):
        one = jax.tree.map(lambda leaf: leaf[2 * place : 2 * place + 1], examples)  # noqa: B023
        states, levels = course(
            lambda x_t, log_snr: network(x_t, log_snr, one.condition),  # noqa: B023
            0.8 * one.noise,
            config.sample,
            config.diffusion,
            config.data.size,
        )
        met = 1 + (first + place) % 3
        assert float(found.log_snr[2 * place]) == float(levels[met])
        np.testing.assert_allclose(reached[2 * place], states[met, 0], atol=2e-5)


def test_a_batch_of_one_comes_to_every_step_but_the_first(config, examples, tiny_weights):
    one = jax.tree.map(lambda leaf: leaf[:1], examples)
    roll = jax.jit(lambda key: rolled_out(tiny_weights[0], one.x0, one.noise, one.condition, config, key)[1])
    met = {float(roll(jax.random.key(seed))[0]) for seed in range(20)}
    steps = np.asarray(sampling_levels(config.sample.steps, config.data.size, config.diffusion))
    assert met == {float(level) for level in steps[1:]}


def test_every_training_step_draws_anew_which_is_judged_first(config, frozen, examples, tiny_weights, monkeypatch):
    keys = []

    def recorded(*arguments):
        keys.append(jax.random.key_data(arguments[-1]).tolist())
        raise StopIteration

    monkeypatch.setattr(step, "draw_examples", lambda *_: examples)
    monkeypatch.setattr(step, "on_course", recorded)
    optimizer = make_optimizer(config.train)
    state = create_state(tiny_weights[0], optimizer)
    for index in (0, 1, 1):
        with pytest.raises(StopIteration):
            at = state.replace(step=jnp.asarray(index, jnp.int32))
            step.train_step(at, {"target": examples.x0}, frozen, config=config, optimizer=optimizer)
    assert keys[0] != keys[1] == keys[2]


def test_what_is_on_the_course_is_judged_as_a_picture_and_bears_no_loss_of_v(config, frozen, examples, tiny_weights):
    run = partial(jax.jit, static_argnums=3)(mean_gradients)
    rolled = jax.jit(lambda examples: on_course(tiny_weights[0], examples, frozen, config, jax.random.key(5)))(examples)
    whole, parts = run(tiny_weights[0], rolled, frozen, config)
    assert set(parts) == {"loss", "v_loss", "pixel_loss", "perceptual_loss"}
    expected = parts["v_loss"] + 0.1 * parts["pixel_loss"] + 0.2 * parts["perceptual_loss"]
    assert float(parts["loss"]) == pytest.approx(float(expected), rel=1e-5)
    half = jax.tree.map(lambda leaf: leaf[1::2], examples)
    plain = replace(config, train=replace(config.train, rollout_fraction=0.0))
    _, alone = run(tiny_weights[0], half, replace_perceptual(frozen), plain)
    assert float(parts["v_loss"]) == pytest.approx(float(alone["v_loss"]), rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(whole))


def test_lpips_sees_each_picture_moved_by_less_than_its_stride(config, frozen, examples, tiny_weights):
    shift = np.asarray(examples.shift)
    assert shift.shape == (8, 2) and shift.min() == 0 and shift.max() == 3 and len(np.unique(shift, axis=0)) > 4
    loss = jax.jit(lambda examples: examples_loss(tiny_weights[0], examples, frozen, config)[1])
    still, moved = (loss(examples.replace(shift=by)) for by in (jnp.zeros_like(examples.shift), examples.shift))
    assert float(still["pixel_loss"]) == float(moved["pixel_loss"])
    assert 1e-5 < abs(float(still["perceptual_loss"] - moved["perceptual_loss"])) < 0.1


def replace_perceptual(frozen: Frozen) -> Frozen:
    return frozen.replace(perceptual=None)


def test_parts_one_by_one_give_the_gradients_of_the_whole(config, frozen, examples, tiny_weights):
    rolled = on_course(tiny_weights[0], examples, frozen, config, jax.random.key(5))

    def gradients(accumulate: int):
        parted = replace(config, train=replace(config.train, accumulate=accumulate))
        leaves, structure = jax.tree.flatten((tiny_weights[0], rolled, frozen))
        return jax.jit(lambda *leaves: mean_gradients(*jax.tree.unflatten(structure, leaves), parted))(*leaves)[0]

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), gradients(2), gradients(1))


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("train", {"rollout_fraction": 0.75}, "train.rollout_fraction is 0.75; give 1/2, 1/4"),
        ("train", {"perceptual_loss": -1.0}, "train.perceptual_loss is -1.0"),
        ("sample", {"steps": 1}, "sample.steps is 1; give 2 or more"),
        ("data", {"size": 16}, "data.size is 16; give 32 or more, or a train.perceptual_loss of 0"),
        ("sample", {"sampler": "ancestral"}, "sample.sampler is 'ancestral'; give dpm++2m or ddim"),
    ],
)
def test_what_has_no_course_is_refused(config, section, changes, said):
    check_config(config)
    with pytest.raises(BadConfig) as caught:
        check_config(replace(config, **{section: replace(getattr(config, section), **changes)}))
    assert said in str(caught.value)


def test_nor_can_a_person_be_fitted_on_one(tiny_config):
    fitting = replace(tiny_config, fit=replace(tiny_config.fit, on_course=True), sample=SampleConfig(steps=2))
    check_config(fitting)
    with pytest.raises(BadConfig, match=r"sample\.steps is 1; give 2 or more, or .* no fit\.on_course"):
        check_config(replace(fitting, sample=SampleConfig(steps=1)))


def test_the_recogniser_sees_the_estimates_smoothed_and_the_faces_moved(
    config, frozen, batch, tiny_weights, monkeypatch
):
    examples = drawn(batch, frozen, replace(config, train=replace(config.train, identity_movement=0.03)))
    seen = {}

    def recorded(x0, truth, landmarks, frozen, log_snr):
        seen.update(x0=x0, landmarks=landmarks)
        return jnp.zeros(x0.shape[0])

    monkeypatch.setattr(step, "identity_loss", recorded)

    def shown(**settings):
        changed = replace(config, train=replace(config.train, identity_loss=1.0, perceptual_loss=0.0, **settings))
        examples_loss(tiny_weights[0], examples, frozen, changed)
        return seen["x0"]

    plain = shown()
    np.testing.assert_array_equal(seen["landmarks"], examples.seen_at[::2])
    np.testing.assert_allclose(shown(identity_smoothing=4), smoothed(plain, 4), atol=1e-5)


def test_every_example_is_seen_at_a_place_of_its_own(config, frozen, batch):
    def seen_at(movement):
        train = replace(config.train, identity_movement=movement)
        return np.asarray(drawn(batch, frozen, replace(config, train=train)).seen_at)

    np.testing.assert_allclose(seen_at(0.0), batch["target_landmarks"], atol=1e-6)
    middles = (seen_at(0.03) - batch["target_landmarks"]).mean(1)
    assert len(np.unique(middles[:, 0])) == len(middles) and 0.01 < middles.std() < 0.06
