"""Degradations that are made on the host, by Pillow's JPEG and resizing and SciPy's convolution.

A picture in 8 bits goes in and its LR picture comes out. What is random is drawn from the generator that is given, so
that a picture's own seed decides it.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from skimage.draw import line_aa
from skimage.transform import resize

Picture = UInt8[np.ndarray, "_ _ 3"]
Range = tuple[float, float]

MESSENGER_WIDTH, MESSENGER_QUALITY = (1.0, 2.0), (40, 85)
"""Ranges of the first sending's width, in widths of the LR picture, and of the quality of either JPEG."""
MOTION_LR_PIXELS, SURVEILLANCE_NOISE_STD_LEVELS = (0.5, 3.0), (5.0, 25.0)
"""Ranges of the length of the motion, in LR pixels, and of the noise, in levels of 0..255."""
FFHQ_REF_SIDE, FFHQ_REF_RADIUS = 512, 20
"""Side of the crops, and radius of the blur's kernel in their pixels, for which the following ranges are published."""
FFHQ_REF: Mapping[str, tuple[Range, Range, Range, tuple[int, int]]] = {
    "moderate": ((0.0, 8.0), (1.0, 8.0), (0.0, 15.0), (60, 100)),
    "severe": ((8.0, 16.0), (8.0, 32.0), (0.0, 20.0), (30, 100)),
}
"""Ranges of FFHQ-Ref's test pictures (Hsiao et al. 2024, ReF-LDM): the blur's standard deviation in pixels, the
reduction, the noise's standard deviation in levels, the quality of JPEG."""


def messenger(image: Picture, n: int, rng: np.random.Generator) -> Picture:
    """A picture that was sent and sent on: reduced and compressed, reduced to n pixels and compressed again.

    Either reduction is bicubic, either JPEG halves the chroma's width and height (4:2:0).

    Args:
      image: the crop.
      n: width of the LR picture.
      rng: source of the first width and of the two qualities.
    """
    first = min(round(n * rng.uniform(*MESSENGER_WIDTH)), len(image))
    for width, quality in zip((first, n), rng.integers(*MESSENGER_QUALITY, 2, endpoint=True), strict=True):
        image = _jpeg(_reduced(image, width, Image.Resampling.BICUBIC), int(quality))
    return image


def surveillance(image: Picture, n: int, rng: np.random.Generator) -> Picture:
    """A face that moves before a camera in poor light: motion blur in any direction, means of blocks, white noise.

    Args:
      image: the crop.
      n: width of the LR picture.
      rng: source of length and direction of the motion, and of the noise and its strength.
    """
    length, angle = rng.uniform(*MOTION_LR_PIXELS) * len(image) / n, rng.uniform(0.0, np.pi)
    y = _reduced(_to_levels(_convolved(image, motion_kernel(length, angle))), n, Image.Resampling.BOX)
    return _to_levels(y + rng.normal(0.0, rng.uniform(*SURVEILLANCE_NOISE_STD_LEVELS), y.shape))


def motion_kernel(length: float, angle: float) -> Float[np.ndarray, "k k"]:
    """Equal weights along a line through the centre, which sum to 1; to whole pixels.

    Args:
      length: of the line, pixels.
      angle: of the line from the rows' direction, radians.
    """
    down, right = round(length / 2 * np.sin(angle)), round(length / 2 * np.cos(angle))
    reach = max(abs(down), abs(right))
    rows, columns, weights = line_aa(reach - down, reach - right, reach + down, reach + right)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    kernel[rows, columns] = weights
    return kernel / kernel.sum()


def ffhq_ref(image: Picture, setting: str, rng: np.random.Generator) -> Picture:
    """An LR picture as those of FFHQ-Ref's test pictures are made before they are enlarged again.

    Blur is isotropic or not, by half a chance each, and reduction bilinear, as in the code of ReF-LDM. Lengths scale
    with the crop: one of 128 px gives the LR picture that it would give at 512 px. But it cannot have more pixels than
    the crop, and what has more than half as many is reduced to that by means of areas, as the product reduces it.

    Args:
      image: the crop.
      setting: of `FFHQ_REF`.
      rng: source of all strengths and of the noise.
    """
    blur, reduction, noise, quality = FFHQ_REF[setting]
    size = len(image)
    stds = rng.uniform(*blur, 2) * size / FFHQ_REF_SIDE
    if rng.random() < 0.5:
        stds[1] = stds[0]
    kernel = gaussian_kernel(stds, rng.uniform(-np.pi, np.pi), round(FFHQ_REF_RADIUS * size / FFHQ_REF_SIDE))
    n = min(int(FFHQ_REF_SIDE // rng.uniform(*reduction)), size)
    # Bilinear between the pixels' centres and of two pixels only, however far apart the results lie.
    y = resize(_convolved(image, kernel), (n, n), order=1, mode="edge", anti_aliasing=False, preserve_range=True)
    y = _jpeg(_to_levels(y + rng.normal(0.0, rng.uniform(*noise), y.shape)), int(rng.integers(*quality, endpoint=True)))
    return _reduced(y, min(n, size // 2), Image.Resampling.BOX)


def gaussian_kernel(stds: Float[np.ndarray, "2"], angle: float, radius: int) -> Float[np.ndarray, "k k"]:
    """A Gaussian, cut off beyond a square, with weights that sum to 1.

    Args:
      stds: standard deviations along and across its axis, pixels.
      angle: of that axis from the rows' direction, radians.
      radius: of the square, pixels; the kernel is 2 radius + 1 wide.
    """
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    kernel = np.exp(-0.5 * ((along / stds[0]) ** 2 + (across / stds[1]) ** 2))
    return kernel / kernel.sum()


BY_WIDTH: Mapping[str, Callable[[Picture, int, np.random.Generator], Picture]] = {
    "messenger": messenger,
    "surveillance": surveillance,
}
"""Those that make an LR picture of a given width."""


def _convolved(image: Picture, kernel: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "s s 3"]:
    """Convolution; past its edge the picture is mirrored, the edge itself not repeated."""
    from scipy.signal import oaconvolve  # Only here: it takes a moment to load, and looks for PyTorch.

    reach = len(kernel) // 2
    padded = np.pad(image.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return oaconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1))


def _reduced(image: Picture, n: int, kind: Image.Resampling) -> Picture:
    return np.array(Image.fromarray(image).resize((n, n), kind))


def _jpeg(image: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file))


def _to_levels(image: Float[np.ndarray, "n n 3"]) -> Picture:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
