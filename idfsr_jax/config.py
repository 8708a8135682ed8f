"""Configuration: one frozen dataclass per concern, joined in `Config`.

A config file (`configs/*.py`) defines `config = Config(...)`; the command line overrides single fields
(`--train.steps 100`). Nothing here imports anything of the package, so every part may read it.
"""

import dataclasses
import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from idfsr_jax.errors import BadConfig

ARCFACE_PREFIX = "arcface:"


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
    workers: int = 2
    """Reading threads."""


@dataclass(frozen=True)
class ModelConfig:
    """The denoiser: a UNet on 2x2 patches, and the condition it sees."""

    patch: int = 2
    """Side of the squares of pixels that become one place of the UNet."""
    channels: tuple[int, ...] = (64, 128, 192)
    """Width of each resolution, finest first; each next one has half the side."""
    blocks: tuple[int, ...] = (2, 2, 2)
    """Residual blocks on the way down at each resolution (the way up has as many)."""
    attention_at: int = 16
    """Feature maps of this side or less get self-attention at the bottleneck and cross-attention to the identity
    tokens."""
    head_width: int = 32
    """Channels of an attention head."""
    embedding: int = 256
    """Width of the modulation vector made of log-SNR, scale and identity."""
    encoder: str = "dlib"
    """The face recogniser that identities come from: `dlib`, or `arcface:PATH` of an IResNet as .onnx or .safetensors.
    The data set must be prepared with the same (`idfsr prepare --encoder`)."""
    identity_dim: int = 128
    """Length of its descriptors: 128 for dlib, 512 for ArcFace."""
    identity_tokens: int = 4
    """Tokens that the identity becomes for cross-attention."""
    mask: Literal["full", "tone", "none"] = "full"
    """`full` hides the LR face (the paper); `tone` keeps its coarsest light; `none` is an ablation."""
    warp: Literal["tps", "similarity", "none"] = "tps"
    use_reference: bool = True
    """Without it the model is shown no reference, in training or after: an ablation."""
    use_identity: bool = True
    """Without it the model is given no identity, in training or after: an ablation."""
    prior_std: float = 0.35
    """Assumed error of the masked-and-pasted picture around which the denoiser is preconditioned; 1.0 with
    `use_prior=False`."""
    use_prior: bool = True
    """Without it the denoiser is preconditioned around zero, not around the pasted reference."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False
    """Computes each residual block anew on the way back instead of keeping what it made: less memory, a third more
    arithmetic, the same numbers."""
    autoencoder: str = ""
    """Folder of an `AutoencoderKL` in diffusers' layout, whose latents are diffused; without one, pixels are. Training
    reads it, and every model folder holds a copy."""
    latent_channels: int = 4
    """Of the autoencoder; not read without one."""
    latent_reduction: int = 8
    """Pixels per latent along a side, likewise."""

    @property
    def diffused_channels(self) -> int:
        """Channels of what is diffused, pixels or latents."""
        return self.latent_channels if self.autoencoder else 3

    def diffused_side(self, size: int) -> int:
        """Side of what is diffused, where the picture's is `size`."""
        return size // self.latent_reduction if self.autoencoder else size


@dataclass(frozen=True)
class AutoencoderConfig:
    """An image autoencoder whose latents are diffused; names and defaults are those of diffusers' `AutoencoderKL`."""

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (64,)
    """Width of each resolution, finest first; each next one has half the side."""
    layers_per_block: int = 1
    """Residual blocks of the encoder at each resolution; the decoder has one more."""
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int = 32
    """Side of the pictures that it was trained on, pixels."""
    scaling_factor: float = 0.18215
    """Latents are multiplied by it before they are diffused, for unit variance."""
    shift_factor: float | None = None
    """Subtracted before that."""
    latents_mean: tuple[float, ...] | None = None
    """Of each channel, in place of `shift_factor`."""
    latents_std: tuple[float, ...] | None = None
    """Of each channel, to be divided by as well."""
    force_upcast: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True


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
    identity_loss: float = 0.0
    """Weight of 1 - cos(identity of the x0 estimate, identity of the truth), times sqrt(alpha_bar); 0 turns it off."""
    identity_smoothing: bool = False
    """Show the recogniser a slightly smoothed estimate: the finest waves, in which a network can please a recogniser
    with speckle that no eye takes for the person, then earn nothing."""
    identity_loss_fraction: float = 0.25
    """Share of each batch on which the identity loss is taken (it costs a recogniser pass)."""
    rollout_fraction: float = 0.0
    """Share of each batch, at most one half, that is taken from the course of the present model's own sampler instead
    of the noised truth (`training.rollout`). Their estimates of x0 are judged as pictures: they bear `pixel_loss`,
    `perceptual_loss` and, they alone, the identity loss, and no loss of v."""
    pixel_loss: float = 0.1
    """Weight of the squared error of these estimates."""
    perceptual_loss: float = 0.2
    """Weight of their LPIPS by AlexNet, times sqrt(alpha_bar)."""
    accumulate: int = 1
    """Parts that each batch is computed in, one after the other: less memory, and the step of the whole batch."""
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

    @property
    def judged_every(self) -> int:
        """Every so many-th example of a batch, from the first on, has its estimate of x0 judged; 1 if none has."""
        share = self.rollout_fraction or (self.identity_loss_fraction if self.identity_loss > 0 else 1.0)
        return max(1, round(1 / share))


@dataclass(frozen=True)
class DeviceConfig:
    """What training is spread over: a mesh of `data` x `fsdp` devices. No other mesh makes it another run."""

    data: int = 0
    """Groups of devices, each with a copy of the state and a share of the batch; 0 means as many as there are."""
    fsdp: int = 1
    """Devices in a group, which share the state among them (parameters, averages, moments) and the group's examples."""
    fsdp_least: int = 16_384
    """Arrays of fewer elements are not shared: every device of the group has them whole."""


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


@dataclass(frozen=True)
class SampleConfig:
    """Sampling at use time."""

    sampler: Literal["dpm++2m", "ddim", "ancestral"] = "dpm++2m"
    steps: int = 20
    """Calls of the denoiser for a picture."""
    temperature: float = 1.0
    """Scale of the starting noise. Below 1 a deterministic sampler stays nearer to the most likely picture, which suits
    a model with little training; 1 is the model's own distribution."""
    guidance: float = 1.0
    """Classifier-free guidance weight w: out = null + w (conditioned - null); 1 is no guidance and one pass a step."""
    consistency: float = 0.0
    """Strength of the projection onto pictures that down-sample to the input (DDNM), 0 to 1; 0 is the paper."""


@dataclass(frozen=True)
class FitConfig:
    """Fitting the identity embedding of one person, all weights frozen."""

    steps: int = 200
    """Steps of Adam on the embedding."""
    batch: int = 4
    """Examples of a step: photographs at random scales and noise levels."""
    learning_rate: float = 5e-3
    """Of Adam."""
    identity_loss: float = 0.0
    """Weight of 1 - cos(identity of the x0 estimate, identity of the photograph), times sqrt(alpha_bar)."""
    max_distance: float = 0.5
    """Bound on the Euclidean distance of the unit embedding from its start."""
    scales: tuple[int, ...] = (8, 16)
    """Down-sampling factors that the photographs are degraded by."""
    seed: int = 0
    """Of everything that is random in a fit."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What `idfsr evaluate` measures, and with what."""

    protocol: str = ""
    """File of `configs/protocols/`; without one a protocol is drawn from `data.val_split`."""
    weights: str = ""
    """Model folder; without one that of the run, `train.out`/model, or, where it has none, the shipped model."""
    out: str = ""
    """Folder of the report; `train.out`/report by default. It will hold pictures of people."""
    methods: Literal["core", "standard", "all"] = "standard"
    """`core`: baselines, unfitted, fitted, consistent, oracle. `standard`: also without reference or identity, and
    other numbers of photographs. `all`: also other numbers of sampling steps, and the course of fitting."""
    ablations: tuple[str, ...] = ()
    """Further models, as NAME=FOLDER (`no_mask=runs/no_mask/model`)."""
    judges: tuple[str, ...] = ("dlib",)
    """Who judges identity: `dlib`, `encoder` for the model's own encoder whichever it is, or the path of a face
    recogniser in ONNX (ArcFace, AdaFace)."""
    inception: str = ""
    """ONNX file of an Inception network for FID: [batch, 3, 299, 299] in [-1, 1] to its features."""
    scales: tuple[int, ...] = ()
    """Of the protocol's scales these only; all if empty."""
    degradations: tuple[str, ...] = ()
    """Of the protocol's degradations these only; all if empty."""
    people: int = 0
    """The first so many of the protocol's people only; 0 means all."""
    batch: int = 16
    """Pictures at once."""


@dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str = "default"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    landmarks: LandmarkConfig = field(default_factory=LandmarkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    devices: DeviceConfig = field(default_factory=DeviceConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


def load_config(path: str | Path) -> Config:
    """Reads `config` from a Python file.

    Raises:
      BadConfig: the file is missing or defines no `config`.
    """
    path = Path(path)
    if not path.is_file():
        raise BadConfig(f"{path}: no such config file; the shipped ones are in configs/.")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise BadConfig(f"{path}: defines no `config = Config(...)`.")
    return config


def to_json(config: Any) -> str:
    """A dataclass as sorted, indented JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True)


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Rebuilds a (nested) config dataclass from `dataclasses.asdict` or its JSON.

    Raises:
      BadConfig: a field is unknown.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise BadConfig(f"{cls.__name__} has no field {', '.join(unknown)}; the file was written by another version.")
    kwargs = {}
    for name, value in values.items():
        kind = fields[name].type
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            value = from_dict(kind, value)  # type: ignore[arg-type]
        kwargs[name] = tuple(value) if isinstance(value, list) else value
    return cls(**kwargs)
