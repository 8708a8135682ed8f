"""What is read, how examples are drawn from it, and the landmark network that is trained on it."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class ReferenceMixture:
    """Where the style reference of a training example comes from; probabilities, normalised on use."""

    same: float = 0.7
    """Another photograph of the same person (falls back to `own` for people with one photograph)."""
    other: float = 0.2
    """Somebody else's photograph in a similar pose: style without identity, so that identity must come from e."""
    own: float = 0.1
    """The target itself, flipped and recoloured."""


@dataclass(frozen=True)
class DataConfig:
    """What is read and how examples are drawn from it."""

    dataset: str = "data/lfw"
    """Folder that `idfsr prepare` wrote."""
    train_split: str = "train"
    """Split that is trained on."""
    val_split: str = "val"
    """Split that previews and evaluation take; never trained on."""
    size: int = 64
    """Side S of the canonical crop, pixels."""
    scales: tuple[int, ...] = (4, 8, 16, 32)
    """Down-sampling factors s drawn in training; the LR picture is S/s pixels wide."""
    scale_weights: tuple[float, ...] = (1.0, 2.0, 2.0, 0.5)
    """Relative probability of each of `scales`."""
    reference: ReferenceMixture = field(default_factory=ReferenceMixture)
    own_embedding: float = 0.5
    """Probability that e comes from the target itself; else from other photographs of the person, if there are any."""
    embedding_noise: float = 0.0
    """Standard deviation of Gaussian noise added to the unit identity vector, times 1/sqrt(D) per element."""
    flip: float = 0.5
    """Probability of mirroring target and reference together."""
    degradation: Literal["area", "classical"] = "area"
    """`area`: clean area down-sampling. `classical`: blur, noise and JPEG-like loss as well."""
    clean: float = 0.5
    """Share of the examples of a model with `recognisers` that are only down-sampled; the others are blurred, noisy,
    sharpened and compressed as well."""
    covered: float = 0.1
    """Share of the targets, together with their inputs, and of the nearest references alone, in front of which a mask,
    glasses, a hand or a microphone is drawn; of a model with `recognisers`."""
    workers: int = 2
    """Reading threads."""
    on_device: bool = False
    """Whether all training pictures lie on every device, so that a fast one does not wait for the host; the batches are
    the same."""


@dataclass(frozen=True)
class LandmarkConfig:
    """LandmarkNet: 68 points from an enlarged LR crop."""

    size: int = 64
    """Side of the enlarged picture that it sees."""
    channels: tuple[int, ...] = (48, 96, 160)
    """Width of each resolution, finest first."""
    steps: int = 5_000
    """Steps that it is trained for, before the denoiser."""
    batch: int = 32
    """Examples of a step."""
    learning_rate: float = 1e-3
    """Of Adam, at its peak."""
    low_resolution_widths: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Widths of the LR crops that it is shown, pixels; each divides `size`."""
    max_shift: float = 0.08
    """Jitter of the crop: shift as a share of its side."""
    max_log_scale: float = 0.15
    """Jitter of the crop: natural logarithm of its scale."""
    max_degrees: float = 15.0
    """Jitter of the crop: rotation."""
