import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.networks.blocks import (
    Attention,
    GroupNorm,
    ResidualBlock,
    depth_to_space,
    fourier_features,
    space_to_depth,
    upsample_nearest,
)


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(1.5, 2.0, shape).astype(np.float32))


@pytest.mark.parametrize(("channels", "groups"), [(32, 16), (8, 8), (24, 4)])
def test_group_norm_equals_that_of_flax(channels, groups):
    x = normal((2, 6, 5, channels))
    params = {"scale": normal((channels,), 1), "bias": normal((channels,), 2)}
    expected = nn.GroupNorm(num_groups=groups, epsilon=1e-5).apply({"params": params}, x)
    np.testing.assert_allclose(GroupNorm(groups=groups).apply({"params": params}, x), expected, atol=1e-5)


def test_group_norm_takes_no_more_groups_than_channels():
    x = normal((2, 4, 4, 8))
    params = {"scale": jnp.ones(8), "bias": jnp.zeros(8)}
    expected = nn.GroupNorm(num_groups=8, epsilon=1e-5).apply({"params": params}, x)
    np.testing.assert_allclose(GroupNorm().init_with_output(jax.random.key(0), x)[0], expected, atol=1e-5)


def test_modulation_scales_and_shifts_what_is_normalised():
    x, modulation = normal((2, 4, 4, 8)), normal((2, 16), 1)
    plain, variables = GroupNorm(groups=4).init_with_output(jax.random.key(0), x)
    scale, shift = np.split(modulation, 2, axis=1)
    expected = plain * (1 + scale[:, None, None]) + shift[:, None, None]
    np.testing.assert_allclose(GroupNorm(groups=4).apply(variables, x, modulation), expected, atol=1e-5)


def test_a_flat_picture_stays_finite():
    out, _ = GroupNorm().init_with_output(jax.random.key(0), jnp.full((1, 4, 4, 16), 1000.0))
    assert np.all(np.isfinite(out)) and np.abs(out).max() < 1


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_depth_to_space_undoes_space_to_depth(patch):
    x = normal((2, 8, 4, 3))
    folded = space_to_depth(x, patch)
    assert folded.shape == (2, 8 // patch, 4 // patch, 3 * patch**2)
    np.testing.assert_array_equal(depth_to_space(folded, patch), x)


def test_space_to_depth_gathers_neighbours():
    x = jnp.arange(16, dtype=jnp.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(space_to_depth(x, 2)[0, 0, 1], [2, 3, 6, 7])


def test_upsample_nearest_repeats_pixels():
    x = normal((2, 3, 2, 4))
    np.testing.assert_array_equal(upsample_nearest(x), x.repeat(2, axis=1).repeat(2, axis=2))


def test_fourier_features_tell_noise_levels_apart():
    features = np.asarray(fourier_features(jnp.linspace(-10.0, 10.0, 201), 128))
    assert features.shape == (201, 128) and np.abs(features).max() <= 1.0
    distance = np.linalg.norm(features[:, None] - features[None], axis=-1) + 10 * np.eye(201)
    assert distance.min() > 0.5


def test_a_fresh_residual_block_is_the_identity_map():
    x, embedding = normal((2, 4, 4, 8)), normal((2, 6), 1)
    out, _ = ResidualBlock(8).init_with_output(jax.random.key(0), x, embedding)
    np.testing.assert_array_equal(out, x)


def test_attention_joins_picture_and_tokens_in_one_softmax():
    x, tokens = normal((2, 3, 3, 8)), normal((2, 5, 6), 1)
    variables = Attention(head_width=4).init(jax.random.key(0), x, tokens)
    p = jax.tree.map(lambda z: normal(z.shape, z.size) * 0.3, variables["params"])
    normed = np.asarray(GroupNorm().apply({"params": p["norm"]}, x)).reshape(2, 9, 8)
    dense = lambda z, name: z @ p[name]["kernel"] + p[name]["bias"]  # noqa: E731
    key_value = np.concatenate([dense(normed, "key_value"), dense(tokens, "token_key_value")], axis=1)
    query, key, value = dense(normed, "query"), key_value[..., :8], key_value[..., 8:]
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        logits = query[..., part] @ key[..., part].transpose(0, 2, 1) / np.sqrt(4)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ value[..., part])
    expected = x + dense(np.concatenate(heads, axis=-1), "out").reshape(x.shape)
    np.testing.assert_allclose(Attention(head_width=4).apply({"params": p}, x, tokens), expected, atol=2e-4)
