"""Photographs of one person in other light: exposure, contrast and colour of crops, on the device.

A target and its input are the same picture and change alike; references are photographs of their own and are drawn
apart. So the network learns to take the light from the input and the person from the references.
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

EXPOSURE = (0.25, 2.0)
"""Range of the factor by which light is multiplied; drawn log-uniformly."""
CONTRAST = (0.7, 1.4)
"""Range of the factor by which values differ more from their mean; drawn log-uniformly."""
SATURATION = (0.7, 1.2)
"""Range of the factor by which colours differ more from grey."""
WARMTH_STD, TINT_STD = 0.15, 0.04
"""Standard deviations of the logarithmic gain of red over green (and green over blue), and of green over both."""
MILD = 0.25
"""What mild light keeps of the logarithms drawn."""
MILD_SHARE = 0.5
"""How much of the light is mild."""
GREY_SHARE, SEPIA_SHARE = 0.06, 0.03
"""How many pictures are without colour, and how many toned like an old print."""
SEPIA = (1.08, 0.98, 0.8)
"""Colour of a grey picture that was toned, as gains."""


@flax.struct.dataclass
class Light:
    """The light of each picture of a batch; ones throughout change nothing.

    Attributes:
      exposure: factor of linear light.
      cast: factor of the linear light of each channel.
      contrast: factor of the difference from the picture's mean, in sRGB values.
      saturation: factor of the difference from grey, in sRGB values; 0 is a grey picture.
      tone: factor of each channel's sRGB values in the end.
    """

    exposure: Float32[Array, "b"]
    cast: Float32[Array, "b 3"]
    contrast: Float32[Array, "b"]
    saturation: Float32[Array, "b"]
    tone: Float32[Array, "b 3"]


def draw_light(key: PRNGKeyArray, batch: int) -> Light:
    """Draws light from the ranges at the top of this module.

    Args:
      key: source of randomness.
      batch: number of pictures.
    """
    mild_key, exposure_key, contrast_key, saturation_key, cast_key, tone_key = jax.random.split(key, 6)
    keep = jnp.where(jax.random.bernoulli(mild_key, MILD_SHARE, (batch,)), MILD, 1.0)

    def factor(key: PRNGKeyArray, bounds: tuple[float, float]) -> Float[Array, "b"]:
        return jnp.exp(keep * jax.random.uniform(key, (batch,), minval=np.log(bounds[0]), maxval=np.log(bounds[1])))

    warmth, tint = jax.random.normal(cast_key, (2, batch)) * jnp.array([[WARMTH_STD], [TINT_STD]])
    cast = jnp.exp(keep[:, None] * jnp.stack([warmth, tint, -warmth], axis=-1))
    # A cast moves no brightness: that is the exposure's part.
    cast = cast / (cast @ jnp.array(_LUMINANCE))[:, None]
    tone = jax.random.uniform(tone_key, (batch,))
    colourless, sepia = tone < GREY_SHARE + SEPIA_SHARE, tone < SEPIA_SHARE
    return Light(
        exposure=factor(exposure_key, EXPOSURE),
        cast=cast,
        contrast=factor(contrast_key, CONTRAST),
        saturation=jnp.where(colourless, 0.0, factor(saturation_key, SATURATION)),
        tone=jnp.where(sepia[:, None], jnp.array(SEPIA), 1.0),
    )


def relight(images: Float[Array, "b S S 3"], light: Light) -> Float[Array, "b S S 3"]:
    """The pictures in another light, clipped to [-1, 1] as they are; not rounded to levels."""
    gains = light.exposure[:, None] * light.cast
    values = _encode(jnp.minimum(_decode(0.5 * images + 0.5) * gains[:, None, None, :], 1.0))
    mean = values.mean(axis=(1, 2, 3), keepdims=True)
    values = mean + light.contrast[:, None, None, None] * (values - mean)
    grey = grey_of(values)
    values = grey + light.saturation[:, None, None, None] * (values - grey)
    return jnp.clip(2.0 * values * light.tone[:, None, None, :] - 1.0, -1.0, 1.0)


def grey_of(values: Float[Array, "*b 3"]) -> Float[Array, "*b 1"]:
    """The luma of sRGB values, as Pillow makes pictures grey (ITU-R BT.601)."""
    return jnp.einsum("...c,c->...", values, jnp.array(_LUMA), precision="highest")[..., None]


def _decode(values: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """From sRGB values in [0, 1] to linear light (IEC 61966-2-1)."""
    return jnp.where(values <= 0.04045, values / 12.92, jnp.power((jnp.maximum(values, 0.0) + 0.055) / 1.055, 2.4))


def _encode(light: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The inverse of `_decode`."""
    # The power's slope is infinite at zero, where it is not taken.
    power = jnp.power(jnp.maximum(light, 0.003), 1.0 / 2.4)
    return jnp.where(light <= 0.0031308, 12.92 * light, 1.055 * power - 0.055)


_LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Of linear light (ITU-R BT.709)."""
_LUMA = (0.299, 0.587, 0.114)
