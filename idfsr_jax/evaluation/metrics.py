"""What a restoration is measured by: pure functions of arrays, one number per picture, and the statistics over people.

Pictures are batches in [-1, 1], as the models have them; round to 8 bit first what will be saved as 8 bit. `weights`
picks a region, a soft face mask for instance; without it the whole crop counts.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped
from skimage.metrics import structural_similarity

from idfsr_jax.method.degrade import KINDS, resampling_tables


def psnr(
    images: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"], weights: Float[Array, "b h w 1"] | None = None
) -> Float[Array, "b"]:
    """Peak signal-to-noise ratio, dB: 10 log10(2^2 / mean squared error); infinite for equal pictures.

    Args:
      images: in [-1, 1].
      truth: in [-1, 1].
      weights: not negative, with a positive sum; weights of the squared error's mean.
    """
    return 10.0 * jnp.log10(4.0 / _mean((images - truth) ** 2, weights))


def ssim(
    images: Float[np.ndarray, "b h w 3"], truth: Float[np.ndarray, "b h w 3"], weights: Float[np.ndarray, "b h w 1"]
) -> tuple[Float[np.ndarray, "b"], Float[np.ndarray, "b"]]:
    """Structural similarity (Wang et al. 2004), the mean over channels: of whole pictures, and of a region.

    A Gaussian window of 11 px, averaged where the window lies wholly inside.

    Args:
      images: in [-1, 1], of 11 px and more.
      truth: in [-1, 1].
      weights: of the windows, by their centres; not negative, with a positive sum further than 5 px from the border.
    """
    compared = partial(
        structural_similarity,
        data_range=2.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    pairs = zip(images.astype(np.float64), truth.astype(np.float64), strict=True)
    inside = np.s_[:, 5:-5, 5:-5]
    similarity = np.stack([compared(*pair)[1] for pair in pairs])[inside]
    return _mean(similarity, None), _mean(similarity, weights[inside])


def kernel_distance(first: Float[np.ndarray, "n f"], second: Float[np.ndarray, "m f"]) -> float:
    """KID (Binkowski et al. 2018): the unbiased squared MMD under the kernel (x.y / f + 1)^3; may be negative.

    Args:
      first: features of one set of pictures, two or more.
      second: of the other.
    """
    n, m, f = len(first), len(second), first.shape[1]
    kernel = lambda x, y: (x.astype(np.float64) @ y.T.astype(np.float64) / f + 1.0) ** 3  # noqa: E731
    own, other = kernel(first, first), kernel(second, second)
    within = (own.sum() - np.trace(own)) / (n * (n - 1)) + (other.sum() - np.trace(other)) / (m * (m - 1))
    return float(within - 2.0 * kernel(first, second).mean())


def inside_only(
    images: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"], weights: Float[Array, "b h w 1"]
) -> Float[Array, "b h w 3"]:
    """The truth, with the picture in place of it where `weights` are 1: they differ inside the region only."""
    return truth + weights * (images - truth)


def identity_cosine(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n"]:
    """Cosines between identity vectors, pair by pair, of any length.

    Descriptors with a large common part, dlib's for instance, must be centred first (`id_encoder.identity_of`).
    """
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.sum(first * second, axis=1) / lengths


def copy_paste(
    result: Float[np.ndarray, "d"], truth: Float[np.ndarray, "d"], photographs: Float[np.ndarray, "k d"]
) -> float:
    """Whether a result is a photograph over again: 1 where it has that one's face, -1 where it has the truth's.

    (angle(result, truth) - angle(result, r)) / angle(truth, r), after Xu et al. 2025 (arXiv 2510.14975), who have one
    reference; r is the photograph that the result is nearest to. 0 where r is the truth itself, as in their code.

    Args:
      result: identity vector of any length.
      truth: its truth's.
      photographs: those that were given, one or more.
    """
    result, truth, photographs = (each.astype(np.float64) for each in (result, truth, photographs))
    to_truth, *to_each = _angles(result, np.stack([truth, *photographs]))
    nearest = int(np.argmin(to_each))
    (apart,) = _angles(truth, photographs[[nearest]])
    return float((to_truth - to_each[nearest]) / apart) if apart > 1e-6 else 0.0


def acceptance_threshold(different_person_cosines: Float[np.ndarray, "n"], far: float) -> float:
    """The lowest threshold at which at most a share `far` of different people is taken for the same person.

    A pair is accepted if its cosine is at least the threshold.

    Args:
      different_person_cosines: of pairs of photographs of different people.
      far: false acceptance rate, in (0, 1).

    Raises:
      ValueError: too few pairs to measure that rate (fewer than 1 / far).
    """
    allowed = int(far * len(different_person_cosines) + 1e-9)
    if allowed < 1:
        pairs = len(different_person_cosines)
        raise ValueError(f"{pairs} pairs of different people cannot tell a false acceptance rate of {far:g}.")
    ordered = np.sort(different_person_cosines)[::-1]
    if allowed >= len(ordered):
        return float(ordered[-1])
    # Just above the first pair that must be refused, so that ties with it are refused as well.
    return float(np.nextafter(ordered[allowed], np.inf))


def acceptance_rate(cosines: Float[np.ndarray, "n"], threshold: float) -> float:
    """The share of pairs that are accepted: whose cosine is at least the threshold."""
    return float(np.mean(cosines >= threshold))


def bootstrap_interval(
    values: Float[np.ndarray, "n"],
    people: Shaped[np.ndarray, "n"],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, people being drawn and not pictures (Efron and Tibshirani 1993).

    Pictures of one person resemble each other; drawing pictures would make the interval too narrow. To compare two
    methods give the differences of their values on the same pictures.

    Args:
      values: one number per picture.
      people: whose picture it is: names or numbers.
      level: coverage, in (0, 1).
      resamples: how many times people are drawn, with replacement.
      seed: the interval is a function of it.

    Returns:
      The lower and the upper end.
    """
    _, owner = np.unique(people, return_inverse=True)
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    n = len(counts)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=resamples)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def landmark_nme(landmarks: Float[np.ndarray, "n 68 2"], truth: Float[np.ndarray, "n 68 2"]) -> Float[np.ndarray, "n"]:
    """Mean distance of the 68 points from the true ones, in inter-ocular distances.

    That distance is between the outer corners of the true eyes, as for 300-W (Sagonas et al. 2013).
    """
    between_eyes = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=-1)
    return np.linalg.norm(landmarks - truth, axis=-1).mean(axis=-1) / between_eyes


def lr_consistency_psnr(images: Float[Array, "b S S 3"], y: Float[Array, "b n n 3"]) -> Float[Array, "b"]:
    """PSNR in dB between what restorations down-sample to (block means) and the LR pictures they came from.

    An LR picture of 8 bit limits it to about 59 dB.

    Args:
      images: restorations in [-1, 1].
      y: LR pictures in [-1, 1].
    """
    n = y.shape[1]
    down = jnp.asarray(resampling_tables(images.shape[1], n, n).down[KINDS.index("area"), 0])
    return psnr(jnp.einsum("nh,bhwc,mw->bnmc", down, images, down, precision="highest"), y)


def _angles(vector: Float[np.ndarray, "d"], others: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k"]:
    """Radians between a vector and others."""
    return np.arccos(np.clip(identity_cosine(np.broadcast_to(vector, others.shape), others), -1.0, 1.0))


def _mean(values: Any, weights: Any) -> Any:
    if weights is None:
        return values.mean(axis=(1, 2, 3))
    return (values.mean(axis=3, keepdims=True) * weights).sum(axis=(1, 2, 3)) / weights.sum(axis=(1, 2, 3))
