"""References of a person, moved onto the LR face -> what the denoiser's network takes from them."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.networks.blocks import GroupNorm, space_to_depth
from idfsr_jax.networks.convolution import Conv3x3

_KEY_WIDTH = 32
_COARSER = 4
"""How many places of the finest map make one of those that are attended to. What lies in place is fused at the finest
map already; twice as fine keys took a fifth of a training step's time."""
_UNSEEN = -30.0
"""Added to the logarithm of what attention gives to a place that no reference shows."""


@flax.struct.dataclass
class ReferenceFeatures:
    """What the network is told of the references; no noise is in it, so that it is computed once for all steps.

    Attributes:
      fused: at the finest level, of all references together.
      keys: what is attended to, each place of each reference at a quarter of that side.
      seen: logarithm of how much of each key's place a reference shows.
    """

    fused: Float[Array, "b h w c"]
    keys: Float[Array, "b k g g d"]
    seen: Float[Array, "b k g g"]


class ReferenceEncoder(nn.Module):
    """A small encoder shared by all references, and their fusion place by place.

    Fusion is a softmax over the references at each place of the finest feature map, beside an empty slot that stands
    for none of them. Its query knows the mask, what is revealed of the LR face, and the heat maps of its landmarks; so
    it can take a mouth from one photograph and eyes from another, and nothing from where a covering hides the face.

    Attributes:
      widths: channels of the finest feature map and of the next one.
      patch: side of the squares of pixels, or latents, that become one place of the finest map.
    """

    widths: tuple[int, int]
    patch: int

    @nn.compact
    def __call__(
        self,
        references: Float[Array, "b k s s c"],
        valid: Float[Array, "b k s s 1"],
        agreement: Float[Array, "b k a"],
        hidden: Float[Array, "b s s c"],
        mask: Float[Array, "b s s 1"],
        pose: Float[Array, "b h w p"],
    ) -> ReferenceFeatures:
        """Encodes and fuses.

        Args:
          references: moved onto the LR face, 0 where they show nothing; pictures or latents.
          valid: where they show something, 0 to 1; all 0 is no reference.
          agreement: how far each shows the person, `denoiser.agreements`.
          hidden: the LR picture with what is revealed of its face.
          mask: soft face region.
          pose: heat maps of the landmarks, at the finest feature map's side.
        """
        b, k, s, _, channels = references.shape
        fine, coarse = self.widths
        stack = jnp.concatenate([references, valid], axis=-1).reshape(b * k, s, s, channels + 1)
        # Matrix products where they will do: a strided convolution's gradient is slow on a CPU.
        h = nn.Dense(fine, name="stem")(space_to_depth(stack, self.patch))
        h = Conv3x3(fine, name="fine")(nn.silu(h))
        d = nn.Dense(coarse, name="down")(space_to_depth(nn.silu(h), _COARSER))
        d = d + Conv3x3(coarse, name="coarse")(nn.silu(GroupNorm(name="norm_coarse")(d)))
        agreement = agreement.reshape(b * k, 1, 1, agreement.shape[-1])
        d = d + nn.Dense(coarse, kernel_init=nn.initializers.zeros, name="agreement_coarse")(agreement)

        side = h.shape[1]
        seen = valid.reshape(b, k, side, self.patch, side, self.patch).mean((3, 5))
        h = GroupNorm(name="norm_fine")(h)
        h = h + nn.Dense(fine, kernel_init=nn.initializers.zeros, name="agreement_fine")(agreement)
        h = nn.silu(h).reshape(b, k, side, side, fine)
        place = jnp.concatenate([space_to_depth(jnp.concatenate([hidden, mask], axis=-1), self.patch), pose], axis=-1)
        query = Conv3x3(_KEY_WIDTH, name="query")(place)
        key, value = nn.Dense(_KEY_WIDTH, name="key")(h), nn.Dense(fine, name="value")(h)
        logits = jnp.einsum("bhwc,bkhwc->bkhw", query, key) * _KEY_WIDTH**-0.5 + _log_seen(seen)
        weights = jax.nn.softmax(jnp.concatenate([logits, jnp.zeros_like(logits[:, :1])], axis=1), axis=1)
        fused = jnp.einsum("bkhw,bkhwc->bhwc", weights[:, :k], value)

        less = side // _COARSER
        seen = seen.reshape(b, k, less, _COARSER, less, _COARSER).mean((3, 5))
        return ReferenceFeatures(fused, d.reshape(b, k, less, less, coarse), _log_seen(seen))


class ReferenceAttention(nn.Module):
    """Cross-attention to places of references, apart from all else that a feature map attends to.

    A softmax of its own, with an empty slot, so that it begins as nothing and takes nothing from the others. Places
    carry their position, as the references lie on the LR face already.

    Attributes:
      head_width: channels of a head.
    """

    head_width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], references: ReferenceFeatures) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        heads = c // self.head_width
        keys = references.keys
        normed = GroupNorm(name="norm")(x).reshape(b, h * w, c)
        query = nn.Dense(c, name="query")(_joined(normed, _positions(h, w)))
        there = jnp.tile(_positions(*keys.shape[2:4]), (keys.shape[1], 1))
        flat = keys.reshape(b, -1, keys.shape[-1])
        key, value = jnp.split(nn.Dense(2 * c, name="key_value")(_joined(flat, there)), 2, axis=-1)
        split = (b, -1, heads, self.head_width)
        logits = jnp.einsum("bqnd,bknd->bnqk", query.reshape(split), key.reshape(split)) * self.head_width**-0.5
        logits = logits + references.seen.reshape(b, 1, 1, -1)
        weights = jax.nn.softmax(jnp.concatenate([logits, jnp.zeros_like(logits[..., :1])], axis=-1), axis=-1)
        out = jnp.einsum("bnqk,bknd->bqnd", weights[..., :-1], value.reshape(split)).reshape(b, h, w, c)
        return x + nn.Dense(c, kernel_init=nn.initializers.zeros, name="out")(out)


def _log_seen(seen: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.maximum(jnp.log(jnp.maximum(seen, 1e-20)), _UNSEEN)


def _positions(height: int, width: int) -> Float[Array, "n 12"]:
    """Sines and cosines of each place's two coordinates, at three octaves."""
    rows, columns = (jnp.arange(n, dtype=jnp.float32) for n in (height, width))
    y, x = jnp.meshgrid((rows + 0.5) / height, (columns + 0.5) / width, indexing="ij")
    angles = jnp.pi * jnp.stack([y, x, 2.0 * y, 2.0 * x, 4.0 * y, 4.0 * x], axis=-1).reshape(-1, 6)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def _joined(features: Float[Array, "b n c"], positions: Float[Array, "n p"]) -> Float[Array, "b n e"]:
    return jnp.concatenate([features, jnp.broadcast_to(positions, (features.shape[0], *positions.shape))], axis=-1)
