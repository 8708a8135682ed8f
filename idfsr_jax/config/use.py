"""Sampling, fitting and evaluation."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SampleConfig:
    """Sampling at use time."""

    sampler: Literal["dpm++2m", "ddim"] = "dpm++2m"
    steps: int = 2
    """Calls of the denoiser for a picture; 2 or more."""
    temperature: float = 0.3
    """Scale of the starting noise. Below 1 a deterministic sampler stays nearer to the most likely picture, which suits
    a model with little training; 1 is the model's own distribution."""
    reveal: float = 0.5
    """How much of the LR face the denoiser is shown, 0 (nothing, as in the paper) to 1 (all that its pixels hold)."""
    guidance: int = 0
    """Steps by which a face recogniser pulls the last state towards the ID embedding (`method.guidance`); 0 is none."""
    consistency: float = 0.0
    """Strength of the projection onto pictures that down-sample to the input (DDNM), 0 to 1; 0 is the paper. It is less
    where the input is noisy, blurred or compressed (`method.cleaning`), and more past 16 px (`method.sample`)."""


@dataclass(frozen=True)
class FitConfig:
    """Fitting the identity embedding of one person, all weights frozen."""

    steps: int = 8
    """Steps that the ID embedding takes."""
    batch: int = 4
    """Examples of a step: photographs at random scales, on the sampler's course."""
    learning_rate: float = 0.03
    """Length of the first step of each recogniser's part, Euclidean; the last has a tenth of it."""
    max_distance: float = 0.5
    """Bound on the Euclidean distance of the unit embedding from its start."""
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
    """`core`: baselines, unfitted, fitted, oracle. `standard`: also without references or identity, with
    another's, and other numbers of photographs. `all`: also other numbers of sampling and of fitting steps."""
    ablations: tuple[str, ...] = ()
    """Further models, as NAME=FOLDER (`longer=runs/longer/model`)."""
    inputs: str = ""
    """Folder to write the protocol's LR pictures, photographs and truths to, so that other systems can be run on them;
    nothing is measured then. It will hold pictures of people."""
    outputs: tuple[str, ...] = ()
    """What other systems made of these LR pictures, as NAME=FOLDER (`peer=peers/peer`); see docs/evaluation.md."""
    judges: tuple[str, ...] = ("dlib",)
    """Who judges identity: those of the model's own recognisers (`dlib`, `mobilefacenet`), whom it was trained to
    please, or the path of another in ONNX (ArcFace, AdaFace)."""
    scales: tuple[int | float, ...] = ()
    """Down-sampling factors in place of the protocol's, whole or not."""
    degradations: tuple[str, ...] = ()
    """Degradations in place of the protocol's."""
    people: int = 0
    """The first so many of the protocol's people only; 0 means all."""
    batch: int = 16
    """Pictures at once."""
