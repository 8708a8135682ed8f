"""Tiled decoding against decoding at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import AutoencoderConfig
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.latent.autoencoder import AutoencoderKL, reduction
from idfsr_jax.latent.tiles import decode_tiled

FACTOR = 2


def local_decoder(latents):
    """Looks two latents far, and sees zeros beyond the border as any padded convolution does."""
    kernel = np.random.default_rng(0).normal(size=(5, 5, 3, 3)).astype(np.float32) / 8
    x = jax.lax.conv_general_dilated(latents, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.repeat(jnp.repeat(jnp.tanh(x), FACTOR, axis=1), FACTOR, axis=2)


@pytest.mark.parametrize("shape", [(40, 40), (16, 41), (57, 16), (9, 33), (17, 17)])
def test_of_a_local_decoder_it_is_the_whole(shape):
    latents = jnp.asarray(np.random.default_rng(1).normal(size=(2, *shape, 3)), jnp.float32)
    ours = jax.jit(lambda z: decode_tiled(local_decoder, z, FACTOR, tile=16, overlap=7, margin=2))(latents)
    np.testing.assert_allclose(ours, local_decoder(latents), atol=1e-6)
    # The margin is what does it.
    without = decode_tiled(local_decoder, latents, FACTOR, tile=16, overlap=7, margin=0)
    assert float(jnp.abs(without - local_decoder(latents)).max()) > 1e-3


def test_small_latents_are_decoded_at_once():
    traces = []
    decode_tiled(lambda z: traces.append(z.shape) or z, jnp.zeros((1, 16, 12, 3)), 1, tile=16, overlap=7, margin=2)
    assert traces == [(1, 16, 12, 3)]


def test_the_autoencoder_has_no_seams():
    """Its norms look at all positions, so tiles differ in tone; where they meet nothing jumps."""
    config = AutoencoderConfig(block_out_channels=(8, 16), norm_num_groups=4, latent_channels=3)
    model = AutoencoderKL(config)
    params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    decode = lambda z: model.apply(params, z, method="decode")  # noqa: E731
    latents = jnp.asarray(np.random.default_rng(0).normal(size=(1, 24, 40, 3)), jnp.float32)
    whole = np.asarray(jax.jit(decode)(latents))

    def tiled_error(overlap, margin):
        tiled = lambda z: decode_tiled(  # noqa: E731
            decode, z, reduction(config), tile=16, overlap=overlap, margin=margin
        )
        return np.asarray(jax.jit(tiled)(latents)) - whole

    def worst_line(error):
        """The largest mean jump from a row or column to the next, against the picture's own."""
        jumps = [np.abs(np.diff(x, axis=axis)).mean(axis=(0, 3 - axis, 3)) for x in (error, whole) for axis in (1, 2)]
        return max(jumps[0].max() / jumps[2].mean(), jumps[1].max() / jumps[3].mean())

    blended, abutting = tiled_error(8, 2), tiled_error(1, 0)
    assert np.abs(blended).mean() < 0.15 * whole.std()
    assert worst_line(blended) < 0.3 < worst_line(abutting)


@pytest.mark.parametrize(("tile", "overlap", "margin"), [(16, 4, 2), (8, 8, 2), (16, 8, -1)])
def test_tiles_without_room_are_refused(tile, overlap, margin):
    with pytest.raises(BadConfig, match="2 margin < overlap < tile"):
        decode_tiled(local_decoder, jnp.zeros((1, 32, 32, 3)), FACTOR, tile=tile, overlap=overlap, margin=margin)
