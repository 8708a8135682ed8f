"""The denoiser of a pretrained UNet: untrained it is that UNet, against diffusers' PyTorch class."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers import UNet2DConditionModel as TorchUNet

from idfsr_jax.config import Config, DiffusionConfig
from idfsr_jax.diffusion.schedule import log_snr
from idfsr_jax.latent.discrete import levels_of, timestep_of
from idfsr_jax.latent.unet_weights import begun_with_unet
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.denoiser import Denoiser, denoiser_of, empty_condition, init_denoiser

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own

TIMESTEPS = [999, 700, 3, 0]
SIZES = (5, 7)


@pytest.fixture(scope="module")
def params(unet_config) -> dict:
    """What training begins with: the UNet's weights, widened, and random tokens."""
    return jax.device_get(begun_with_unet(lambda: init_denoiser(jax.random.key(0), unet_config, SIZES), unet_config))


@pytest.fixture(scope="module")
def condition(unet_config) -> Condition:
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    parts = [draw(4, size) for size in SIZES]
    empty = empty_condition(4, 32, 2, unet_config.model, SIZES, diffused=True)
    return empty.replace(
        hidden=draw(4, 16, 16, 4),
        mask=jax.nn.sigmoid(draw(4, 16, 16, 1)),
        references=draw(4, 2, 16, 16, 4),
        valid=jax.nn.sigmoid(draw(4, 2, 16, 16, 1)),
        identity=jnp.concatenate([part / jnp.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1),
        scale=jnp.asarray([4.0, 8.0, 8.0, 16.0]),
    )


@pytest.fixture(scope="module")
def x_t() -> jax.Array:
    return jnp.asarray(np.random.default_rng(2).normal(size=(4, 16, 16, 4)), jnp.float32)


@pytest.fixture(scope="module")
def levels() -> jax.Array:
    return jnp.asarray(levels_of(DiffusionConfig(schedule="scaled_linear"))[TIMESTEPS])


@pytest.fixture(scope="module")
def run(unet_config):
    """v, and the tokens."""
    network = denoiser_of(unet_config, SIZES)

    @jax.jit
    def both(params, x_t, level, condition):
        apply = lambda *given, **how: network.apply({"params": params}, *given, **how)  # noqa: E731
        return apply(x_t, level, condition), apply(condition, method="tokens")

    return both


def in_torch(array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32).transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_untrained_it_is_the_given_unet_under_its_tokens(prediction, unet_config, params, x_t, levels, condition):
    unet = replace(unet_config.model.unet, prediction_type=prediction)
    config = replace(unet_config, model=replace(unet_config.model, unet=unet))
    network = denoiser_of(config, SIZES)
    v = jax.jit(network.apply)({"params": params}, x_t, levels, condition)
    tokens = network.apply({"params": params}, condition, method="tokens")
    assert tokens.shape == (4, unet_config.model.identity_tokens + 1, 12)
    theirs = TorchUNet.from_pretrained(unet.folder, subfolder="unet", local_files_only=True).eval()
    noisy, timesteps = in_torch(x_t), torch.tensor(TIMESTEPS)
    with torch.no_grad():
        output = theirs(noisy, timesteps, torch.from_numpy(np.array(tokens))).sample
    if prediction == "epsilon":
        alpha_bar = DDIMScheduler.from_pretrained(unet.folder, subfolder="scheduler").alphas_cumprod[timesteps]
        alpha, sigma = (part.sqrt()[:, None, None, None] for part in (alpha_bar, 1 - alpha_bar))
        output = (output - sigma * noisy) / alpha
    np.testing.assert_allclose(v, output.numpy().transpose(0, 2, 3, 1), atol=1e-4, rtol=1e-4)


def test_its_further_channels_begin_without_a_say_and_can_get_one(run, params, x_t, levels, condition):
    v, tokens = run(params, x_t, levels, condition)
    changed = {name: -getattr(condition, name) for name in ("hidden", "references")}
    other = condition.replace(mask=1 - condition.mask, valid=1 - condition.valid, **changed)
    unseen, same = run(params, x_t, levels, other)
    np.testing.assert_array_equal(unseen, v)
    np.testing.assert_array_equal(same, tokens)
    kernel = np.array(params["unet"]["conv_in"]["kernel"])
    assert kernel.shape[2] == 14 and not kernel[:, :, 4:].any() and kernel[:, :, :4].any()
    kernel[:, :, 4:] = 0.1
    trained = {**params, "unet": {**params["unet"], "conv_in": {**params["unet"]["conv_in"], "kernel": kernel}}}
    assert np.abs(run(trained, x_t, levels, other)[0] - run(trained, x_t, levels, condition)[0]).max() > 1e-2


def test_tokens_tell_of_identity_and_scale_only(run, params, x_t, levels, condition):
    v, tokens = run(params, x_t, levels, condition)
    assert float(jnp.std(tokens)) == pytest.approx(1.0, abs=0.05)
    person = condition.replace(identity=condition.identity[::-1])
    size = condition.replace(scale=condition.scale * 2)
    for changed, at in [(person, slice(0, -1)), (size, slice(-1, None))]:
        other_v, other = run(params, x_t, levels, changed)
        differing = np.abs(other - tokens).max((0, 2)) > 1e-3
        assert differing[at].all() and differing.sum() == len(differing[at])
        assert np.abs(other_v - v).max() > 1e-3
    _, null = run(params, x_t, levels, condition.replace(identity_present=jnp.zeros(4)))
    np.testing.assert_allclose(null[0, :-1], null[1, :-1], atol=1e-6)
    np.testing.assert_array_equal(null[:, -1], tokens[:, -1])


def test_each_recognisers_part_has_a_say_of_unit_variance(params, unet_config, condition):
    """A unit vector in a part is to the tokens what its elements times the root of its length are."""
    kernel = params["identity_tokens"]["projection"]["kernel"]
    assert kernel.shape[0] == sum(SIZES)
    scaled = np.concatenate([np.sqrt(n) * part for n, part in zip(SIZES, np.split(condition.identity, [5], axis=1))], 1)
    raw = scaled @ kernel + params["identity_tokens"]["projection"]["bias"]
    raw = raw.reshape(4, -1, 12)
    normed = (raw - raw.mean(-1, keepdims=True)) / np.sqrt(raw.var(-1, keepdims=True) + 1e-6)
    tokens = denoiser_of(unet_config, SIZES).apply({"params": params}, condition, method="tokens")
    np.testing.assert_allclose(tokens[:, :-1], normed, atol=1e-4)


def test_the_second_reference_is_not_seen(params, condition, unet_config):
    network = denoiser_of(unet_config, SIZES)
    encode = lambda given: network.apply({"params": params}, given, method="encode")  # noqa: E731
    changed = [condition.replace(references=condition.references.at[:, i].add(1.0)) for i in (0, 1)]
    assert np.any(encode(changed[0]) != encode(condition))
    np.testing.assert_array_equal(encode(changed[1]), encode(condition))


def test_the_lr_face_reaches_the_network_through_no_token(params, unet_config, condition):
    gradient = jax.grad(
        lambda hidden: jnp.sum(
            denoiser_of(unet_config, SIZES).apply({"params": params}, condition.replace(hidden=hidden), method="tokens")
        )
    )(condition.hidden)
    assert not np.any(gradient)


def test_blocks_are_computed_anew_on_demand_only(unet_config, params, x_t, levels, condition):
    def traced(remat: bool) -> str:
        network = denoiser_of(replace(unet_config, model=replace(unet_config.model, remat=remat)), SIZES)
        leaves, structure = jax.tree.flatten((params, x_t, levels, condition))

        def run(*leaves):
            given, *rest = jax.tree.unflatten(structure, leaves)
            return network.apply({"params": given}, *rest)

        return str(jax.make_jaxpr(run)(*leaves))

    # Residual blocks: one at each of two resolutions, two in the middle, two at each again. Attention at four places.
    counts = [len(re.findall(r"= (?:remat2|checkpoint)\[", traced(remat))) for remat in (True, False)]
    assert counts == [8 + 4, 0]


def test_in_bfloat16_it_says_nearly_the_same(unet_config, params, x_t, levels, condition, run):
    network = denoiser_of(replace(unet_config, model=replace(unet_config.model, dtype="bfloat16")), SIZES)
    # Ours is strict; JAX itself promotes types when it lowers its attention in bfloat16.
    with jax.numpy_dtype_promotion("standard"):
        v = jax.jit(network.apply)({"params": params}, x_t, levels, condition)
    exact, _ = run(params, x_t, levels, condition)
    assert v.dtype == jnp.float32
    # The noisiest are magnified by 1 / alpha.
    error = np.abs(np.asarray(v - exact))[1:].mean() / np.asarray(exact)[1:].std()
    assert 0 < error < 0.05


@pytest.mark.parametrize("schedule", ["scaled_linear", "linear"])
def test_a_level_of_the_schedule_is_its_timestep(schedule):
    config = DiffusionConfig(schedule=schedule)
    timesteps = np.arange(1000)
    levels = log_snr(jnp.asarray((timesteps + 0.5) / 1000, jnp.float32), 64, config)
    found = np.asarray(timestep_of(levels, config))
    np.testing.assert_array_equal(found, timesteps)
    between = np.asarray(timestep_of(0.25 * levels[:-1] + 0.75 * levels[1:], config))
    np.testing.assert_allclose(between, timesteps[:-1] + 0.75, atol=2e-3)
    np.testing.assert_array_equal(timestep_of(jnp.asarray([99.0, -99.0]), config), [0.0, 999.0])


def test_without_a_folder_the_network_is_our_own():
    assert isinstance(denoiser_of(Config(), SIZES), Denoiser)
