"""Noise schedule, optimisation, and what it is spread over."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule and loss weighting."""

    schedule: Literal["cosine", "scaled_linear", "linear"] = "cosine"
    """`cosine` is continuous. The others are diffusers' `beta_schedule`s of a fixed number of timesteps, the same at
    every resolution: `scaled_linear` is Stable Diffusion's, `linear` that of Ho et al. (2020)."""
    log_snr_min: float = -10.0
    """Log-SNR at t = 1, the most noise; a bound of the cosine schedule."""
    log_snr_max: float = 10.0
    """Log-SNR at t = 0, the least noise; likewise."""
    shift_base: int = 64
    """Cosine schedule shifted by 2 log(shift_base / S) in log-SNR (Hoogeboom et al. 2023)."""
    beta_start: float = 0.00085
    """First beta of the other schedules. This and the next four have diffusers' names; defaults are Stable
    Diffusion's, but for the spacing, which Lin et al. (2024) advise."""
    beta_end: float = 0.012
    """Of the last timestep, likewise."""
    num_train_timesteps: int = 1000
    """Timesteps of the discrete schedules."""
    timestep_spacing: Literal["trailing", "leading", "linspace"] = "trailing"
    """Which timesteps are sampled at; as diffusers' DDIM has them, with any sampler."""
    steps_offset: int = 1
    """Added to those of `leading`."""
    min_snr_gamma: float = 5.0
    """Min-SNR weighting (Hang et al. 2023)."""
    condition_dropout: float = 0.1
    """Probability of the null identity, and apart from it of no reference, in training."""


@dataclass(frozen=True)
class TrainConfig:
    """The denoiser's optimisation."""

    out: str = "runs/default"
    """Folder of the run: checkpoints, log, samples, model."""
    start_from: str = ""
    """Model folder whose weights, LandmarkNet included, the run begins with; without one they are random."""
    seed: int = 0
    """Of everything that is random in a run."""
    steps: int = 10_000
    """Length of the run, over which the learning rate falls to a hundredth (cosine)."""
    batch: int = 16
    """Examples of a step, over all devices."""
    learning_rate: float = 5e-4
    """Of AdamW, at its peak."""
    warmup_steps: int = 500
    """Steps over which the learning rate rises to its peak."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    beta2: float = 0.99
    """Of AdamW."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; longer ones are shortened to it."""
    ema_halflife_images: float = 20_000.0
    """Images after which half of the averaged weights is forgotten; the average is what is used."""
    identity_smoothing: int = 0
    """How often the estimate is smoothed by (1, 2, 1) / 4 before the recogniser sees it: the finest waves, in which a
    network can please a recogniser with speckle that no eye takes for the person, then earn nothing. For waves as long
    in the face: four times as often where pictures are twice as large."""
    identity_movement: float = 0.0
    """Deviation by which chance moves (share of the side), turns (radians) and scales (logarithm) the face that the
    recogniser sees: what pleases it at one place only then earns little."""
    rollout_fraction: float = 2 / 3
    """Share of each batch that is states of the present model's own sampling run, whose estimates of x0 are judged as
    pictures, by all losses below; the rest is noised photographs, whose v is to be predicted. 0, of latents only, is
    that alone."""
    pixel_loss: float = 0.1
    """Weight of the squared error of these estimates."""
    perceptual_loss: float = 0.2
    """Weight of their LPIPS by AlexNet, times sqrt(alpha_bar); 0: it does not look."""
    identity_losses: tuple[float, ...] = (0.1, 0.5, 0.0, 0.0)
    """Weight of each recogniser's 1 - cosine to the identity that is asked for, on the sampler's course; 0: it does not
    look."""
    towards_others: float = 0.5
    """How far the identity that is asked for lies from the target's own (0) towards the mean of the person's other
    photographs (1)."""
    contrastive_loss: float = 0.0
    """Weight of InfoNCE against all other training people, by the last recogniser that looks."""
    contrastive_temperature: float = 0.1
    """Of its softmax over cosines."""
    landmark_net: str = ""
    """File of LandmarkNet's weights (safetensors) to begin with in place of that of `start_from`."""
    log_every: int = 50
    """Steps between lines of the log."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    keep_checkpoints: int = 3
    """How many of them are kept, the newest."""
    samples_every: int = 2_000
    """Steps between pictures of restored val faces."""
    max_minutes: float = 0.0
    """Stop cleanly after this many minutes (checkpoint written, to be continued); 0 means no limit."""


@dataclass(frozen=True)
class DeviceConfig:
    """What training is spread over: a mesh of `data` x `fsdp` devices. No other mesh makes it another run."""

    data: int = 0
    """Groups of devices, each with a copy of the state and a share of the batch; 0 means as many as there are."""
    fsdp: int = 1
    """Devices in a group, which share the state among them (parameters, averages, moments) and the group's examples."""
    fsdp_least: int = 16_384
    """Arrays of fewer elements are not shared: every device of the group has them whole."""
