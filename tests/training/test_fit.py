import hashlib
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import SampleConfig
from idfsr_jax.data.degrade import enlarge_mixed
from idfsr_jax.diffusion.samplers import course
from idfsr_jax.diffusion.schedule import x0_from_v
from idfsr_jax.face import resize_crop
from idfsr_jax.models.condition import make_condition
from idfsr_jax.models.denoiser import Denoiser
from idfsr_jax.models.landmark_net import estimate_landmarks
from idfsr_jax.networks.id_encoder import load_id_encoder
from idfsr_jax.training import fit
from idfsr_jax.training.fit import Album, choose_pairs, fit_identity, fit_loss, mean_identity, within
from idfsr_jax.training.rollout import rolled_out
from idfsr_jax.training.step import Frozen


@pytest.fixture(scope="module")
def album(face_crop):
    picture = resize_crop(face_crop.image, 32).astype(np.float32) / 127.5 - 1.0
    gains = np.array([1.0, 0.8, 0.6], np.float32)
    landmarks = jnp.tile(jnp.asarray(face_crop.landmarks), (3, 1, 1))
    identities = jax.random.normal(jax.random.key(1), (3, 128))
    identities /= jnp.linalg.norm(identities, axis=1, keepdims=True)
    return Album(jnp.asarray(gains[:, None, None, None] * picture), landmarks, identities)


@pytest.fixture(scope="module")
def weights(tiny_weights):
    """The denoiser's parameters, and the rest that a fit reads."""
    denoiser, landmark_net = tiny_weights
    return denoiser, Frozen(landmark_net, load_id_encoder(), jnp.zeros(128))


@pytest.fixture(scope="module")
def start():
    vector = np.random.default_rng(0).normal(size=128).astype(np.float32)
    return jnp.asarray(vector / np.linalg.norm(vector))


@pytest.fixture(scope="module")
def result(album, start, tiny_config, weights):
    return fit_identity(start, album, *weights, tiny_config)


def sum_of(tree) -> str:
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))).hexdigest()


def test_fitting_moves_the_identity_and_no_weight(album, start, tiny_config, weights):
    before = sum_of(weights), sum_of(album), np.asarray(start).tobytes()
    fitted, losses = fit_identity(start, album, *weights, tiny_config)
    assert (sum_of(weights), sum_of(album), np.asarray(start).tobytes()) == before
    assert fitted.shape == (128,) and fitted.dtype == np.float32
    assert np.linalg.norm(fitted - start) > 1e-3
    assert len(losses) == tiny_config.fit.steps and np.all(np.isfinite(losses))


def test_fitting_is_deterministic(album, start, tiny_config, weights, result):
    fitted, losses = fit_identity(start, album, *weights, tiny_config)
    np.testing.assert_array_equal(fitted, result[0])
    assert losses == result[1]


def test_the_identity_stays_within_its_bound(album, start, tiny_config, weights):
    config = replace(tiny_config, fit=replace(tiny_config.fit, learning_rate=10.0, max_distance=0.25))
    fitted, _ = fit_identity(start, album, *weights, config)
    assert np.linalg.norm(fitted - start) == pytest.approx(0.25, rel=1e-4)


def test_one_photograph_is_enough(album, start, tiny_config, weights):
    single = jax.tree.map(lambda x: x[:1], album)
    fitted, losses = fit_identity(start, single, *weights, tiny_config)
    assert np.all(np.isfinite(losses)) and 1e-3 < np.linalg.norm(fitted - start) <= 0.5 + 1e-5


def test_progress_is_told_every_step(album, start, tiny_config, weights, result):
    told = []
    fit_identity(start, album, *weights, tiny_config, lambda step, loss: told.append((step, loss)))
    assert told == list(enumerate(result[1], 1))


def test_no_steps_leave_the_start(album, start, tiny_config, weights):
    config = replace(tiny_config, fit=replace(tiny_config.fit, steps=0))
    fitted, losses = fit_identity(start, album, *weights, config)
    np.testing.assert_array_equal(fitted, start)
    assert losses == []


@pytest.fixture(scope="module")
def course_config(tiny_config):
    return replace(
        tiny_config,
        fit=replace(tiny_config.fit, on_course=True, pixel_loss=0.5, identity_loss=0.0),
        sample=SampleConfig(steps=3, temperature=0.8),
    )


def test_on_the_course_the_sampler_s_own_estimates_are_compared_with_the_photographs(
    album, start, course_config, weights
):
    pairs, key = jnp.array([[0, 1], [2, 0]]), jax.random.key(3)
    (denoiser, frozen), scales = weights, course_config.fit.scales
    loss = jax.jit(
        lambda identity: fit_loss(
            {"identity": identity, "denoiser": denoiser}, album, pairs, frozen, course_config, key
        )
    )(start)

    scale_key, degrade_key, time_key, noise_key = jax.random.split(key, 4)
    index = jax.random.randint(scale_key, (2,), 0, len(scales))
    y_up = enlarge_mixed(degrade_key, album.images[pairs[:, 0]], index, scales, "area")
    landmarks = jax.jit(estimate_landmarks, static_argnames="config")(
        frozen.landmark_net, y_up, course_config.landmarks
    )
    identity, scale = jnp.tile(start, (2, 1)), jnp.asarray(scales, jnp.float32)[index]
    reference = album.images[pairs[:, 1]], album.landmarks[pairs[:, 1]]
    condition_of = jax.jit(make_condition, static_argnames="config")
    condition = condition_of(y_up, landmarks, *reference, identity, scale, course_config.model)
    network = jax.jit(partial(Denoiser(course_config.model).apply, {"params": denoiser}))
    call = lambda x_t, log_snr: network(x_t, log_snr, condition)  # noqa: E731
    x_t = 0.8 * jax.random.normal(noise_key, album.images[pairs[:, 0]].shape)
    states, levels = course(call, x_t, course_config.sample, course_config.diffusion, x_t.shape[1])
    # One example is judged at the second step, the other at the third; the key says which.
    errors, first = [], int(jax.random.randint(time_key, (), 0, 2))
    for place in range(2):
        step = 1 + (first + place) % 2
        log_snr = jnp.full(2, levels[step])
        estimate = x0_from_v(states[step], call(states[step], log_snr), log_snr)[place]
        errors.append(jnp.mean((jnp.clip(estimate, -1, 1) - album.images[pairs[place, 0]]) ** 2))
    assert float(loss) == pytest.approx(0.5 * float(sum(errors)) / 2, rel=1e-4)


def test_a_fit_on_the_course_moves_the_identity_by_its_last_call_alone(album, start, course_config, weights):
    config = replace(course_config, fit=replace(course_config.fit, identity_loss=0.3))
    fitted, losses = fit_identity(start, album, *weights, config)
    assert 1e-3 < np.linalg.norm(fitted - start) <= 0.5 + 1e-5 and np.all(np.isfinite(losses))
    given = (album, jnp.array([[0, 1], [2, 0]]), weights[1], config, jax.random.key(3))
    loss_of = lambda identity: fit_loss({"identity": identity, "denoiser": weights[0]}, *given)  # noqa: E731
    gradient, seen = jax.jit(jax.grad(loss_of))(start), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "rolled_out", lambda *arguments: seen.append(rolled_out(*arguments)) or seen[0])
        states = jax.jit(lambda identity: (loss_of(identity), seen[0])[1])(start)
        patch.setattr(fit, "rolled_out", lambda *_: states)
        # Another function, as JAX would take the program that it has.
        held = jax.jit(jax.grad(lambda identity: loss_of(identity)))(start)
        np.testing.assert_allclose(gradient, held, rtol=1e-4, atol=1e-7)
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize(("count", "batch"), [(2, 4), (3, 2), (5, 4), (20, 3)])
def test_a_photograph_is_never_its_own_reference(count, batch):
    rng = np.random.default_rng(0)
    pairs = np.concatenate([choose_pairs(rng, count, batch) for _ in range(200)])
    assert pairs.dtype == np.int32 and pairs.shape == (200 * batch, 2)
    assert np.all(pairs[:, 0] != pairs[:, 1])
    assert set(pairs[:, 0]) == set(pairs[:, 1]) == set(range(count))


def test_targets_are_drawn_evenly():
    targets = choose_pairs(np.random.default_rng(0), 4, 8)[:, 0]
    np.testing.assert_array_equal(np.bincount(targets), 2)


def test_sharper_photographs_are_targets_more_often():
    pairs = choose_pairs(np.random.default_rng(0), 3, 6000, np.array([1.0, 0.5, 0.1]))
    np.testing.assert_allclose(np.bincount(pairs[:, 0]) / 6000, np.array([1.0, 0.5, 0.1]) / 1.6, atol=0.03)
    assert np.all(pairs[:, 0] != pairs[:, 1])


def test_sharper_photographs_weigh_more_at_the_start():
    units = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    start = mean_identity(units, np.array([0.3, 0.1]))
    np.testing.assert_allclose(start, np.array([0, 3, 1]) / np.sqrt(10), atol=1e-6)


def test_a_single_photograph_is_its_own_pair():
    np.testing.assert_array_equal(choose_pairs(np.random.default_rng(0), 1, 3), 0)


def test_the_start_is_the_normalised_mean_of_unit_identities():
    units = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(mean_identity(units), np.array([0, 1, 1]) / np.sqrt(2), atol=1e-6)


def test_the_identity_loss_pulls_towards_the_photographs_identity(album, start, tiny_config, weights):
    # The encoder is a real recogniser: raising the loss's weight must change where the fit goes.
    config = replace(tiny_config, fit=replace(tiny_config.fit, identity_loss=1.0))
    fitted, losses = fit_identity(start, album, *weights, config)
    plain, plain_losses = fit_identity(start, album, *weights, tiny_config)
    assert np.linalg.norm(fitted - plain) > 1e-4
    assert all(loss > other for loss, other in zip(losses[:1], plain_losses[:1], strict=True))


def test_within_pulls_back_only_what_is_too_far():
    start = jnp.array([1.0, 0.0])
    np.testing.assert_allclose(within(jnp.array([1.0, 0.3]), start, 0.5), [1.0, 0.3], atol=1e-6)
    np.testing.assert_allclose(within(jnp.array([1.0, 2.0]), start, 0.5), [1.0, 0.5], atol=1e-6)
    np.testing.assert_array_equal(within(start, start, 0.5), start)
