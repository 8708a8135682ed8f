from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.data.degrade import bicubic_upsample
from idfsr_jax.diffusion.schedule import q_sample, x0_from_v
from idfsr_jax.face import resize_crop
from idfsr_jax.models.condition import drop, make_condition, paste, repeat, without_identity
from idfsr_jax.models.denoiser import Denoiser, init_denoiser
from idfsr_jax.models.mask import face_mask

SIZE = 32


@pytest.fixture
def face(face_crop):
    """Picture [1, 32, 32, 3] in [-1, 1] and landmarks [1, 68, 2]."""
    picture = resize_crop(face_crop.image, SIZE).astype(np.float32)[None] / 127.5 - 1.0
    return jnp.asarray(picture), jnp.asarray(face_crop.landmarks)[None]


@pytest.fixture
def conditions(face, tiny_config):
    """Makes the condition of an enlarged LR picture."""
    picture, landmarks = face
    identity = jnp.full((1, 128), 128**-0.5)

    def make(y_up, **model):
        config = replace(tiny_config.model, **model)
        reference, scale = picture[:, :, ::-1], jnp.full((1,), 4.0)
        return make_condition(jnp.asarray(y_up), landmarks, reference, landmarks, identity, scale, config)

    return make


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.fixture(scope="module")
def network(tiny_config):
    """The denoiser's function, compiled once."""
    return jax.jit(lambda params, *inputs: Denoiser(tiny_config.model).apply({"params": params}, *inputs))


@pytest.mark.parametrize("log_snr", [-10.0, -9.0])
def test_untrained_the_noisiest_estimate_is_the_pasted_picture(conditions, face, tiny_config, network, log_snr):
    condition = conditions(face[0])
    params = init_denoiser(jax.random.key(0), tiny_config)
    level = jnp.full((1,), log_snr)
    x_t = q_sample(face[0], normal((1, SIZE, SIZE, 3)), level)
    estimate = x0_from_v(x_t, network(params, x_t, level, condition), level)
    guess = np.asarray(paste(condition, "full"))
    np.testing.assert_allclose(estimate, guess, atol=0.02)
    assert np.abs(guess - face[0]).max() > 0.3  # the mirrored reference is not the answer itself


def test_untrained_it_is_the_best_linear_estimate_at_every_level(conditions, face, tiny_config, network):
    condition = conditions(face[0])
    params = init_denoiser(jax.random.key(0), tiny_config)
    guess, deviation = np.asarray(paste(condition, "full")), tiny_config.model.prior_std
    for log_snr in (-4.0, 0.0, 4.0):
        level = jnp.full((1,), log_snr)
        alpha, sigma = (1 / (1 + np.exp(-log_snr))) ** 0.5, (1 / (1 + np.exp(log_snr))) ** 0.5
        x_t = q_sample(face[0], normal((1, SIZE, SIZE, 3)), level)
        gain = alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)
        estimate = x0_from_v(x_t, network(params, x_t, level, condition), level)
        np.testing.assert_allclose(estimate, guess + gain * (np.asarray(x_t) - alpha * guess), atol=1e-4)


def test_without_identity_the_output_does_not_depend_on_it(conditions, face, tiny_weights, network):
    condition, level = conditions(face[0]), jnp.zeros(1)
    x_t = normal((1, SIZE, SIZE, 3))
    other = condition.replace(identity=-condition.identity)
    run = partial(network, tiny_weights[0], x_t, level)
    assert np.abs(run(condition) - run(other)).max() > 1e-4
    np.testing.assert_array_equal(run(without_identity(condition)), run(without_identity(other)))
    assert np.abs(run(condition) - run(without_identity(condition))).max() > 1e-4


@pytest.mark.parametrize("part", ["hidden", "mask", "reference", "valid", "scale"])
def test_the_output_depends_on_every_part_of_the_condition(conditions, face, tiny_weights, network, part):
    condition = conditions(face[0])
    changed = condition.replace(**{part: 0.5 * getattr(condition, part) + 1.0})
    run = partial(network, tiny_weights[0], normal((1, SIZE, SIZE, 3)), jnp.zeros(1))
    assert np.abs(run(condition) - run(changed)).max() > 1e-4


def test_full_mask_keeps_nothing_of_the_lr_face(conditions, face):
    """The point of the method: two LR pictures that differ only in the face are one and the same to the denoiser."""
    picture, landmarks = face
    y_up = np.array(bicubic_upsample(picture[:, 2::4, 2::4], SIZE))
    inside = np.asarray(face_mask(landmarks, SIZE) == 1.0)
    assert 0.1 < inside.mean() < 0.6
    other = np.where(inside, normal(y_up.shape), y_up)
    for a, b in zip(jax.tree.leaves(conditions(y_up)), jax.tree.leaves(conditions(other)), strict=True):
        np.testing.assert_array_equal(a, b)
    elsewhere = np.where(inside, y_up, normal(y_up.shape))
    assert np.any(conditions(y_up).hidden != conditions(elsewhere).hidden)
    assert np.any(conditions(y_up, mask="none").hidden != conditions(other, mask="none").hidden)


def test_tone_keeps_the_mean_light_of_the_lr_face_and_no_detail(conditions, face):
    picture, landmarks = face
    inside = np.asarray(face_mask(landmarks, SIZE) == 1.0)
    columns = np.where(np.arange(SIZE) % 2, 0.5, -0.5).astype(np.float32)[None, None, :, None]
    grey = np.zeros_like(picture)
    plain, striped, bright = (
        np.asarray(conditions(np.where(inside, z, grey).astype(np.float32), mask="tone").hidden)
        for z in (grey, grey + columns, grey + 0.5)
    )
    assert np.abs(striped - plain).max() < 0.1
    assert (bright - plain)[np.broadcast_to(inside, bright.shape)].mean() > 0.3


def test_a_model_made_to_do_without_sees_neither_reference_nor_identity(conditions, face):
    whole = conditions(face[0])
    without = conditions(face[0], use_reference=False, use_identity=False)
    assert whole.valid.max() == 1 and whole.identity_present.min() == 1
    assert not np.any(without.reference) and not np.any(without.valid) and not np.any(without.identity_present)
    np.testing.assert_array_equal(without.hidden, whole.hidden)


def test_dropping_everything_leaves_neither_identity_nor_reference(conditions, face):
    condition = drop(conditions(face[0]), jax.random.key(0), 1.0)
    assert not np.any(condition.identity_present)
    assert not np.any(condition.reference) and not np.any(condition.valid)


def test_dropping_nothing_changes_nothing(conditions, face):
    condition = conditions(face[0])
    kept = drop(condition, jax.random.key(0), 0.0)
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(condition), strict=True):
        np.testing.assert_array_equal(a, b)


def test_identity_and_reference_are_dropped_apart(conditions, face):
    dropped = drop(repeat(conditions(face[0]), 400), jax.random.key(0), 0.5)
    identity = np.asarray(dropped.identity_present)
    reference = np.any(np.asarray(dropped.valid), axis=(1, 2, 3))
    kinds = {(bool(i), bool(r)) for i, r in zip(identity, reference, strict=True)}
    assert len(kinds) == 4
    assert abs(identity.mean() - 0.5) < 0.1 and abs(reference.mean() - 0.5) < 0.1


def test_what_is_computed_anew_on_the_way_back_has_the_same_gradients(conditions, face, tiny_config, tiny_weights):
    condition, level = conditions(face[0]), jnp.zeros(1)

    def gradients(remat):
        apply = Denoiser(replace(tiny_config.model, remat=remat)).apply
        loss = lambda params: jnp.square(apply({"params": params}, face[0], level, condition)).sum()  # noqa: E731
        return jax.jit(jax.grad(loss)).lower(tiny_weights[0]).compile()

    kept, anew = gradients(False), gradients(True)
    assert "checkpoint" in anew.as_text() and "checkpoint" not in kept.as_text()
    both = (jax.tree.leaves(compiled(tiny_weights[0])) for compiled in (anew, kept))
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
