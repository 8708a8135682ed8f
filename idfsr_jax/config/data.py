"""What is read, how examples are drawn from it, and the landmark network that is trained on it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataConfig:
    """What is read and how examples are drawn from it."""

    dataset: str = "data/faces"
    """Folder that `idfsr prepare` wrote."""
    train_split: str = "train"
    """Split that is trained on."""
    val_split: str = "val"
    """Split that previews and evaluation take; never trained on."""
    size: int = 128
    """Side S of the canonical crop, pixels."""
    clean: float = 0.5
    """Share of the examples that are only down-sampled; the others are blurred, noisy,
    sharpened and compressed as well."""
    covered: float = 0.1
    """Share of the targets, together with their inputs, and of the nearest references alone, in front of which a mask,
    glasses, a hand or a microphone is drawn."""
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
    max_shift: float = 0.08
    """Jitter of the crop: shift as a share of its side."""
    max_log_scale: float = 0.15
    """Jitter of the crop: natural logarithm of its scale."""
    max_degrees: float = 15.0
    """Jitter of the crop: rotation."""
