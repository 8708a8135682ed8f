"""Trains an autoencoder for a config's latents: `python -m idfsr_jax.latent.train_autoencoder CONFIG`.

A small one, on the pictures that the config's own data set holds, where no large one suits or none is at hand. What it
writes is diffusers' layout. A run that is stopped writes what it has, and is not gone on with.
"""

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from idfsr_jax.config import AutoencoderConfig, Config
from idfsr_jax.config.checks import read_config
from idfsr_jax.data.faces import Faces, load_faces
from idfsr_jax.interop.diffusers_layout import FILES
from idfsr_jax.interop.diffusers_vae import write_autoencoder
from idfsr_jax.io.arguments import require_between
from idfsr_jax.io.errors import BadConfig, InputError
from idfsr_jax.io.images import to_float
from idfsr_jax.latent.autoencoder import AutoencoderKL, Posterior
from idfsr_jax.runtime.compile_cache import use_compile_cache
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.log import progress_bar, run_log, stop_signal
from idfsr_jax.training.soundness import NonFiniteLoss
from idfsr_jax.training.state import update_in_optax

_MEASURED_BATCHES = 16


@dataclasses.dataclass(frozen=True)
class AutoencoderTraining:
    """The network's size, and how it is trained."""

    channels: tuple[int, ...] = (32, 64, 64)
    """Width of each resolution, finest first; the latents have the side of the last."""
    layers: int = 1
    """Residual blocks of the encoder at each resolution."""
    groups: int = 8
    """Of the norms; they divide the widths."""
    steps: int = 2_000
    batch: int = 32
    """Pictures of a step."""
    learning_rate: float = 1e-3
    kl: float = 1e-4
    """Weight of the posterior's divergence from a standard normal, beside the mean absolute error."""
    seed: int = 0
    log_every: int = 20


def network_config(config: Config, training: AutoencoderTraining) -> AutoencoderConfig:
    """The network that makes the latents that a config asks for.

    Raises:
      BadConfig: its widths do not reduce the picture as much, or cannot be normed in such groups.
    """
    levels = len(training.channels)
    if levels < 1 or 2 ** (levels - 1) != config.model.latent_reduction:
        raise BadConfig(
            f"channels={training.channels}: reduce the picture {2 ** max(levels - 1, 0)} times, and "
            f"model.latent_reduction is {config.model.latent_reduction}; give one width more than it has factors of 2."
        )
    if training.groups < 1 or any(width < 1 or width % training.groups for width in training.channels):
        raise BadConfig(f"groups={training.groups}: give a number that divides all channels, {training.channels}.")
    return AutoencoderConfig(
        block_out_channels=training.channels,
        layers_per_block=training.layers,
        latent_channels=config.model.latent_channels,
        norm_num_groups=training.groups,
        sample_size=config.data.size,
        scaling_factor=1.0,
    )


def divergence(posterior: Posterior) -> Float[Array, " b"]:
    """KL(q(z | x) || N(0, 1)) of each picture, summed over its latents (Kingma and Welling 2014, appendix B)."""
    variance = jnp.exp(posterior.log_variance)
    return 0.5 * jnp.sum(jnp.square(posterior.mean) + variance - 1.0 - posterior.log_variance, axis=(1, 2, 3))


def autoencoder_loss(
    params: Any, images: Float[Array, "b s s 3"], key: PRNGKeyArray, config: AutoencoderConfig, kl: float
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Mean absolute error of what sampled latents decode to, and `kl` times the divergence per value of the picture.

    The loss of latent diffusion's autoencoder (Rombach et al. 2022, appendix G), less its perceptual and adversarial
    parts; so details that cannot be foretold come out as their median, which is blurred.
    """
    apply = partial(AutoencoderKL(config).apply, {"params": params})
    posterior: Any = apply(images, method="encode")
    error = jnp.abs(apply(posterior.sample(key), method="decode") - images).mean()
    parts = {"error": error, "kl": divergence(posterior).mean() / math.prod(images.shape[1:])}
    loss = error + kl * parts["kl"]
    return loss, parts | {"loss": loss}


def pictures_of(faces: Faces, seed: int, batch: int) -> Iterator[UInt8[np.ndarray, "b s s 3"]]:
    """An endless stream of pictures, every epoch all of them in another order; a function of the seed."""
    orders = (np.random.default_rng([seed, epoch]).permutation(len(faces.images)) for epoch in itertools.count())
    records = itertools.chain.from_iterable(orders)
    while True:
        yield faces.images[list(itertools.islice(records, batch))]


def fit_autoencoder(
    batches: Iterator[UInt8[np.ndarray, "b s s 3"]],
    config: AutoencoderConfig,
    training: AutoencoderTraining,
    report: Callable[[int, dict[str, float]], None] = lambda step, values: None,
    stopped: Callable[[], int] = lambda: 0,
) -> Any:
    """Trains from random weights.

    Args:
      batches: of `pictures_of`.
      config: the network.
      training: how.
      report: called every `log_every` steps with (step, mean metrics since the last time).
      stopped: asked after every step whether to end here.

    Returns:
      The parameters.

    Raises:
      NonFiniteLoss: with the step.
    """
    warmup = min(100, training.steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(0.0, training.learning_rate, warmup, max(training.steps, warmup + 1))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.99))
    picture = jnp.zeros((1, config.sample_size, config.sample_size, 3))
    params = jax.jit(AutoencoderKL(config).init)(step_key(training.seed, "autoencoder-weights", 0), picture)["params"]

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, opt_state: Any, images: Array, index: Array) -> tuple[Any, Any, dict[str, Array]]:
        key = step_key(training.seed, "autoencoder", index)
        gradients, metrics = jax.grad(autoencoder_loss, has_aux=True)(params, images, key, config, training.kl)
        updates, opt_state = update_in_optax(optimizer, gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, metrics

    opt_state, window = optimizer.init(params), []
    for index in range(training.steps):
        params, opt_state, metrics = step(params, opt_state, to_float(next(batches)), jnp.asarray(index, jnp.int32))
        window.append(metrics)
        end = index + 1 == training.steps or stopped() > 0
        if end or (index + 1) % training.log_every == 0:
            fetched = jax.device_get(window)
            values = {name: float(np.mean([each[name] for each in fetched])) for name in fetched[0]}
            if not math.isfinite(values["loss"]):
                raise NonFiniteLoss(f"The loss is {values['loss']} by step {index + 1}; give a lower learning_rate.")
            report(index + 1, values)
            window = []
        if end:
            break
    return params


def with_statistics(
    params: Any, config: AutoencoderConfig, batches: Iterator[Float[Array, "b s s 3"]]
) -> AutoencoderConfig:
    """The config with the shift and scaling that give the latents of some pictures mean 0 and deviation 1 over all."""
    encode = jax.jit(lambda images: AutoencoderKL(config).apply({"params": params}, images, method="encode").mean)  # type: ignore[union-attr]
    latents = np.concatenate([np.asarray(encode(images), np.float64).ravel() for images in batches])
    shift, factor = float(latents.mean()), float(1.0 / max(latents.std(), 1e-6))
    return dataclasses.replace(config, shift_factor=shift, scaling_factor=factor)


def reconstruction(params: Any, config: AutoencoderConfig, images: Float[Array, "b s s 3"]) -> float:
    """Peak signal-to-noise ratio of pictures that went through their latents, dB."""
    decoded = jax.jit(lambda x: AutoencoderKL(config).apply({"params": params}, x))(images)
    error = float(jnp.mean(jnp.square(jnp.clip(decoded, -1.0, 1.0) - images)))  # type: ignore[arg-type]
    return 10.0 * math.log10(4.0 / max(error, 1e-12))


def train_autoencoder(
    config: tyro.conf.Positional[Path],
    out: Path | None = None,
    training: tyro.conf.OmitArgPrefixes[AutoencoderTraining] = AutoencoderTraining(),
) -> int:
    """Trains an autoencoder for a config's latents.

    Args:
      config: A config file that names one, such as configs/lfw64_latent_tiny.py.
      out: Folder to write to, instead of the config's model.autoencoder.
      training: How.
    """
    require_between(1, 10**9, steps=training.steps, batch=training.batch, log_every=training.log_every)
    require_between(1, 16, layers=training.layers)
    run = read_config(config)
    place = out or Path(run.model.autoencoder)
    if out is None and not run.model.autoencoder:
        raise BadConfig(f"{config}: diffuses pixels, so it names no place for an autoencoder; give --out.")
    if any((place / name).exists() for name in FILES):
        raise InputError(f"{place}: holds an autoencoder already; choose another --out, or remove it.")
    network = network_config(run, training)
    use_compile_cache()
    faces, shown = (
        load_faces(run.data.dataset, split, run.data.size) for split in (run.data.train_split, run.data.val_split)
    )
    batches = partial(pictures_of, faces, training.seed, training.batch)
    with run_log(place) as log, stop_signal() as stopped, progress_bar("autoencoder", training.steps) as progress:

        def report(step: int, values: dict[str, float]) -> None:
            log(step, values)
            progress(step, f"error {values['error']:.4f}")

        params = fit_autoencoder(batches(), network, training, report, stopped)
        seen = map(to_float, itertools.islice(batches(), _MEASURED_BATCHES))
        network = with_statistics(params, network, seen)
        write_autoencoder(place, network, jax.device_get(params))
        number = stopped()
    quality = reconstruction(params, network, to_float(shown.images[: training.batch]))
    print(f"{place}: scaling_factor {network.scaling_factor:.4f}; {quality:.1f} dB on pictures of val.")
    return 128 + number if number else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 2 after a user's mistake, 128 + N after signal N."""
    try:
        return tyro.cli(train_autoencoder, prog="python -m idfsr_jax.latent.train_autoencoder", args=arguments)
    except InputError as error:
        print(f"idfsr: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
