"""A restored crop back into its photograph without a seam: its colours and its grain are made the photograph's own."""

import math

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image, ImageFilter

from idfsr_jax.face.align import apply_transform, crop_side
from idfsr_jax.face.window import sample_affine, to_bytes

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_COARSE = 48
_MOST_CORRECTION = 48.0
_LIGHT = 0.12
"""Standard deviation of the mean that light is, as a share of the crop's side: about a fifth of the face."""
_BORDER = 1 / 16  # Share of the crop's side over which the mask fades to nothing at the crop's edge.
_MONOCHROME = 4.0
"""Colours within so many grey levels of a tint of their lightness are no colours."""


def blend_face(
    photo: UInt8[np.ndarray, "h w 3"],
    crop: UInt8[np.ndarray, "s s 3"],
    transform: Float64[np.ndarray, "3 3"],
    mask: Float[np.ndarray, "m m"],
    *,
    enlarged: float = 1.0,
    seed: int = 0,
) -> UInt8[np.ndarray, "h w 3"]:
    """Pastes a canonical crop into the photo, and hides that it came from elsewhere.

    In a photograph without colours (black and white, sepia) the crop takes its tint. The light on a small face is
    known, though its features are not; so the crop's differences to the photo, averaged over a fifth of the face, are
    taken off. What remains of them where the mask fades is spread smoothly over the crop and taken off too (seamless
    cloning: Perez et al. 2003, "Poisson Image Editing"; here by inverse squared distances instead of an equation).
    Then the grain that the photo has and the crop lacks is added.

    Args:
      photo: uint8 RGB, already enlarged.
      crop: the restored crop, uint8 RGB, of any side.
      transform: from unit coordinates of the crop to continuous pixels of `photo`.
      mask: weights in 0..1 over the crop, of any side.
      enlarged: how many times `photo` was enlarged, since its grain was enlarged with it.
      seed: of the grain.

    Returns:
      A new photo; pixels whose weight is 0 are exactly those of the old one.
    """
    warped = warp_crop(photo.shape[:2], crop, transform, mask)
    result = photo.copy()
    if warped is None or not np.any(warped[2] > 0):
        return result
    window, face, weight = warped
    old = photo[window].astype(np.float32)
    face = tinted_like(face, old, _MONOCHROME)
    face = face + _correction(face, old, weight)
    rng = np.random.default_rng(seed)
    # Mixing photo and crop halves the photo's grain where the weight is a half; what is lost is added too.
    missing = np.sqrt(1.0 - (1.0 - weight) ** 2)
    grain = missing * _grain(rng, old, face, enlarged)
    result[window] = to_bytes(np.where(weight > 0, old + weight * (face - old) + grain, old))
    return result


def paste_mask(mask: Float[np.ndarray, "s s"], scale: float) -> Float32[np.ndarray, "s s"]:
    """The weights for pasting a crop whose face is `mask`: 1 on the face, falling to 0 beside it, and at the border.

    Beside the face the model had the surroundings at the input's resolution only, which a photograph that is little
    enlarged shows as well. Beside a blurred head, though, a sharp face that ends at the cheek looks cut out; so the
    zone grows with the size of an input pixel, and hair and neck become blurred little by little.

    Args:
      mask: of the face, 0..1.
      scale: the mask's side over the LR crop's, that is, how wide an input pixel is.
    """
    # Only here, as it takes long to load and an aligned crop is not put back anywhere.
    from scipy.ndimage import maximum_filter

    side = mask.shape[0]
    reach = max(1, round(side * 0.04 + 0.6 * scale))
    # In each direction by itself, unlike Pillow's filter, which takes seconds where pictures are large.
    wide = maximum_filter((np.clip(mask, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8), 2 * reach + 1, mode="nearest")
    grown = Image.fromarray(wide).filter(ImageFilter.GaussianBlur(side * 0.03 + scale / 2))
    # What lies beyond the crop is the photograph's.
    inward = (np.arange(side, dtype=np.float32) + 0.5) / side
    rise = np.clip(np.minimum(inward, 1.0 - inward) / 0.12, 0.0, 1.0)
    border = rise * rise * (3.0 - 2.0 * rise)
    return np.asarray(grown).astype(np.float32) / 255.0 * border[:, None] * border


def grain_of(image: Float32[np.ndarray, "h w 3"], enlarged: float = 1.0) -> tuple[float, Float[np.ndarray, " 3"]]:
    """Standard deviation of the grain in lightness, and of each colour's difference to it.

    The second difference that no plane and no straight edge along an axis survives (Immerkaer 1996), its median taken
    instead of the mean, so that texture, which covers less than half of most pictures, does not count.

    Args:
      image: 0..255.
      enlarged: looked at after reducing by this factor.
    """
    pixels = _resized(image, 1.0 / enlarged)
    grey = pixels @ _GREY
    return _deviation(grey), np.array([_deviation(pixels[..., i] - grey) for i in range(3)])


def _deviation(plane: Float32[np.ndarray, "h w"]) -> float:
    if min(plane.shape) < 4:
        return 0.0
    rows = plane[:-2] - 2.0 * plane[1:-1] + plane[2:]
    second = rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.median(np.abs(second)) / (0.6745 * 6.0))


def _grain(
    rng: np.random.Generator, old: Float32[np.ndarray, "h w 3"], face: Float32[np.ndarray, "h w 3"], enlarged: float
) -> Float32[np.ndarray, "h w 3"]:
    """Grain of the photograph's own size and strength, less what the crop has already."""
    (there, there_colours), (has, has_colours) = grain_of(old, enlarged), grain_of(face, enlarged)
    height, width = old.shape[:2]
    small = (max(1, round(height / enlarged)), max(1, round(width / enlarged)))
    lightness = np.sqrt(max(there**2 - has**2, 0.0)) * rng.standard_normal((*small, 1))
    colours = np.sqrt(np.maximum(there_colours**2 - has_colours**2, 0.0)) * rng.standard_normal((*small, 3))
    colours -= (colours @ _GREY)[..., None]
    return _resized((lightness + colours).astype(np.float32), size=(width, height))


def _correction(
    face: Float32[np.ndarray, "h w 3"], old: Float32[np.ndarray, "h w 3"], weight: Float32[np.ndarray, "h w 1"]
) -> Float32[np.ndarray, "h w 3"]:
    """What gives the crop the photo's light, and takes it to the photo's very colours along the rim of the mask."""
    height, width = old.shape[:2]
    factor = min(1.0, _COARSE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    difference = _resized(old - face, size=size)
    level = _resized(weight, size=size).clip(0.0, 1.0)
    light = _smoothed(difference, level)
    correction = (light + _from_rim(difference - light, level[..., 0])).clip(-_MOST_CORRECTION, _MOST_CORRECTION)
    return _resized(correction.astype(np.float32), size=(width, height), kind=Image.Resampling.BICUBIC)


def _smoothed(
    difference: Float32[np.ndarray, "h w 3"], level: Float32[np.ndarray, "h w 1"]
) -> Float32[np.ndarray, "h w 3"]:
    """Gaussian means, within the mask, so wide that no feature of a face is left."""
    rows, columns = (_gaussian(length, _LIGHT * max(level.shape)) for length in level.shape[:2])
    blur = lambda values: np.einsum("ij,jkc,lk->ilc", rows, values, columns)  # noqa: E731
    return (blur(difference * level) / np.maximum(blur(level), 1e-3)).astype(np.float32)


def _gaussian(length: int, deviation: float) -> Float[np.ndarray, "n n"]:
    place = np.arange(length)
    return np.exp(-0.5 * ((place[:, None] - place[None, :]) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))


def _from_rim(
    difference: Float32[np.ndarray, "h w 3"], level: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """A difference along the rim of the mask, continued smoothly: means by inverse squared distance."""
    rim = (level > 0.02) & (level < 0.5)
    if not rim.any():
        return np.zeros_like(difference)
    grid = np.argwhere(np.ones_like(rim)).astype(np.float32)
    at = np.argwhere(rim).astype(np.float32)
    nearness = 1.0 / (((grid[:, None] - at[None]) ** 2).sum(-1) + 1.0)
    spread = (nearness @ difference[rim]) / nearness.sum(1, keepdims=True)
    return spread.reshape(difference.shape).astype(np.float32)


def tinted_like(
    face: Float32[np.ndarray, "h w 3"], old: Float32[np.ndarray, "rows columns 3"], within: float
) -> Float32[np.ndarray, "h w 3"]:
    """A crop in the tint of a picture that has no other colours; else as it is.

    Args:
      face: the crop, 0 to 255.
      old: the picture, 0 to 255.
      within: so many grey levels, root mean square, its colours may lie from a tint of their lightness.
    """
    grey = (old @ _GREY).ravel()
    design = np.stack([grey, np.ones_like(grey)], -1)
    tint: np.ndarray = np.linalg.lstsq(design, old.reshape(-1, 3), rcond=None)[0]
    apart = np.sqrt(np.mean((design @ tint - old.reshape(-1, 3)) ** 2, axis=0))
    if apart.max() > within:
        return face
    return ((face @ _GREY)[..., None] * tint[0] + tint[1]).astype(np.float32)


def _resized(
    image: Float32[np.ndarray, "h w c"],
    factor: float = 1.0,
    *,
    size: tuple[int, int] | None = None,
    kind: Image.Resampling = Image.Resampling.LANCZOS,
) -> Float32[np.ndarray, "rows columns c"]:
    """Resizes floating-point planes, antialiased, by a factor or to (width, height)."""
    height, width = image.shape[:2]
    size = size or (max(1, round(width * factor)), max(1, round(height * factor)))
    planes = [Image.fromarray(np.ascontiguousarray(image[..., i])).resize(size, kind) for i in range(image.shape[2])]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def warp_crop(
    shape: tuple[int, ...],
    crop: UInt8[np.ndarray, "s s 3"],
    transform: Float64[np.ndarray, "3 3"],
    mask: Float[np.ndarray, "m m"],
) -> tuple[tuple[slice, slice], Float32[np.ndarray, "rows columns 3"], Float32[np.ndarray, "rows columns 1"]] | None:
    """A canonical crop as it lies in a photo.

    Args:
      shape: height and width of the photo.
      crop: uint8 RGB, of any side; it is reduced first where it is finer than the photo.
      transform: from unit coordinates to continuous photo pixels, as in `FaceCrop`.
      mask: weights in 0..1 over the crop, of any side; they additionally fade out towards the crop's edge.

    Returns:
      The window of the photo that the crop touches, the crop's colours there (0..255, not rounded), and its weights
      (0..1); None if it lies outside the photo.
    """
    height, width = shape
    corners = apply_transform(transform, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    left, top = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(0)), (width, height)).astype(int)
    if left >= right or top >= bottom:
        return None
    to_unit = np.linalg.inv(transform) @ np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
    size = (int(right - left), int(bottom - top))
    side = max(1, math.ceil(crop_side(transform)))
    face = _sample(Image.fromarray(np.ascontiguousarray(crop)), side, to_unit, size, Image.Resampling.BICUBIC)
    weight = _sample(Image.fromarray(_faded(mask)), side, to_unit, size, Image.Resampling.BILINEAR).clip(0.0, 1.0)
    return (slice(top, bottom), slice(left, right)), face, weight


def _sample(
    image: Image.Image,
    side: int,
    to_unit: Float64[np.ndarray, "3 3"],
    size: tuple[int, int],
    filter: Image.Resampling,
) -> Float32[np.ndarray, "h w c"]:
    """Samples a square image, reduced to at most `side` pixels, where `to_unit` takes the output's pixels."""
    if image.width > side:
        # The mask has no use for Lanczos's overshoot.
        kind = Image.Resampling.BOX if image.mode == "F" else Image.Resampling.LANCZOS
        image = image.resize((side, side), kind)
    return sample_affine(image, np.diag([image.width, image.height, 1.0]) @ to_unit, size, filter)


def _faded(mask: Float[np.ndarray, "m m"]) -> Float32[np.ndarray, "m m"]:
    """The mask times a smoothstep that falls to 0 at the edge."""
    position = (np.arange(mask.shape[0]) + 0.5) / mask.shape[0]
    ramp = np.clip(np.minimum(position, 1.0 - position) / _BORDER, 0.0, 1.0)
    ramp = ramp * ramp * (3.0 - 2.0 * ramp)
    return (mask * ramp[:, None] * ramp[None, :]).astype(np.float32)
