"""A training run of the method: its networks, its data, its loop, and the model folder at its end."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.data.examples import load_people, mean_identities, training_examples
from idfsr_jax.data.faces import load_faces
from idfsr_jax.errors import BadConfig
from idfsr_jax.face import write_image
from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.method.degrade import resampling_tables
from idfsr_jax.method.denoiser import init_denoiser
from idfsr_jax.method.growth import grown
from idfsr_jax.method.landmarks import init_landmark_net
from idfsr_jax.method.loss import Frozen, step_inputs, training_loss
from idfsr_jax.networks.recognisers import dimensions, load_recognisers, recognisers_name
from idfsr_jax.parameter_files import load_tree
from idfsr_jax.pictures import grid
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.checkpoint import any_saved
from idfsr_jax.training.distributed import is_main, wait_for_all
from idfsr_jax.training.folder import claim_folder
from idfsr_jax.training.full_disk import full_disk_explained
from idfsr_jax.training.loop import train_denoiser
from idfsr_jax.training.mesh import make_mesh, whole
from idfsr_jax.training.sole_use import sole_use
from idfsr_jax.training.state import (
    TrainState,
    apply_gradients,
    create_state,
    ema_decay,
    make_optimizer,
    state_on_host,
)
from idfsr_jax.training.val import measure
from idfsr_jax.weights import Model, load_model, save_model


def train(config: Config) -> int:
    """Runs or continues the training that `config` describes, in the folder `config.train.out`.

    Returns:
      The number of the signal that stopped it, or 0.

    Raises:
      BadConfig: the folder belongs to a run of another configuration, or of another autoencoder; the data set is of
        other recognisers; or `train.start_from` or `model.unet.folder` is another network.
      InputError: the data set is missing or damaged, or the loss is not finite.
    """
    out, data = Path(config.train.out), config.data
    make_mesh(config)
    recognisers = load_recognisers(config.model.recognisers)
    sizes, name = dimensions(recognisers), recognisers_name(recognisers)
    faces = load_faces(data.dataset, data.train_split, data.size)
    if faces.index.encoder != name:
        raise BadConfig(
            f"{data.dataset}: holds descriptors of {faces.index.encoder}, and model.recognisers are {name}; prepare it "
            f"with `idfsr prepare --encoder {'+'.join(config.model.recognisers)}`."
        )
    center = np.asarray(faces.index.embeddings, np.float32).mean(0)
    people = load_people(faces, center, sizes, config.model.references)
    autoencoder = _autoencoder_of(config)
    start, landmark_net = _beginning(config, sizes, autoencoder)
    frozen = Frozen(
        landmark_net=jax.tree.map(jnp.asarray, landmark_net),
        recognisers=recognisers,
        center=jnp.asarray(center),
        people=jnp.asarray(mean_identities(people)),
        perceptual=jax.tree.map(jnp.asarray, read_lpips("alexnet")),
        tables=jax.tree.map(jnp.asarray, resampling_tables(data.size)),
        autoencoder=autoencoder,
    )
    with sole_use(out), full_disk_explained(out):
        claim_folder(out, config, autoencoder)
        place = {"shard": jax.process_index(), "shards": jax.process_count()}
        batches = iter(training_examples(people, config.train.seed, config.train.batch, threads=data.workers, **place))
        make = partial(_initial_state, config, sizes)
        look = _looker(out, config, frozen, center)
        state, signal_number = train_denoiser(
            config,
            frozen,
            batches,
            look,
            step_function=train_step,
            make=make,
            start=start,
            name_of=faces.index.photos.__getitem__,
        )
        steps, averaged = int(state.step), whole(state.ema)
        if is_main():
            save_model(
                out / "model",
                config,
                averaged,
                landmark_net,
                center,
                steps,
                facts={"images_seen": steps * config.train.batch},
                encoder=name,
                autoencoder=autoencoder,
            )
    wait_for_all("the model is written")
    return signal_number


def train_step(
    state: TrainState,
    batch: Mapping[str, Array],
    frozen: Frozen,
    *,
    config: Config,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One step; jit it with `config` and `optimizer` closed over and the state donated."""
    keys = (step_key(config.train.seed, "train", state.step), step_key(config.train.seed, "course", state.step))
    inputs = step_inputs(state.params, batch, frozen, config, keys)
    gradients, metrics = jax.grad(training_loss, has_aux=True)(state.params, *inputs, frozen, config)
    metrics["gradient_norm"] = optax.tree.norm(gradients)
    train = config.train
    decay = ema_decay(state.step, batch["target"].shape[0], train.ema_halflife_images, not train.start_from)
    return apply_gradients(state, gradients, optimizer, decay), metrics


def _initial_state(config: Config, sizes: tuple[int, ...]) -> TrainState:
    return create_state(_random_weights(config, sizes), make_optimizer(config.train))


def _random_weights(config: Config, sizes: tuple[int, ...]) -> dict[str, Any]:
    return init_denoiser(step_key(config.train.seed, "weights", 0), config, sizes)


def _autoencoder_of(config: Config) -> Any:
    """The autoencoder of the latents that a run diffuses, None of pixels; see `latent.space.autoencoder_of`."""
    if not config.model.autoencoder:
        return None
    from idfsr_jax.latent.space import autoencoder_of

    return autoencoder_of(config.model)


def _beginning(config: Config, sizes: tuple[int, ...], autoencoder: Any) -> tuple[TrainState | None, Any]:
    """The state at step 0, None where that is `_initial_state`, and LandmarkNet.

    The state is grown from `train.start_from` where that is given, or else has the weights of a pretrained UNet.
    """
    optimizer = make_optimizer(config.train)
    state, net = None, init_landmark_net(step_key(config.train.seed, "landmark-weights", 0), config.landmarks)
    if config.train.start_from:
        model = load_model(Path(config.train.start_from))
        _require_same_latents(model, config, autoencoder)
        state = state_on_host(grown(model.denoiser, _random_weights(config, sizes)), optimizer)
        net = grown(model.landmark_net, net)
    # A run that goes on has these weights no more.
    elif config.model.unet.folder and not any_saved(config.train):
        from idfsr_jax.latent.unet_weights import begun_with_unet

        state = state_on_host(begun_with_unet(partial(_random_weights, config, sizes), config), optimizer)
    if config.train.landmark_net:
        given = load_tree(Path(config.train.landmark_net))
        if jax.tree.map(np.shape, given) != jax.tree.map(np.shape, net):
            raise BadConfig(f"train.landmark_net={config.train.landmark_net}: is another net than config.landmarks.")
        net = given
    return state, jax.device_get(net)


def _require_same_latents(model: Model, config: Config, autoencoder: Any) -> None:
    """Refuses to start from a model of other latents, or of a UNet that means something else."""
    what = f"train.start_from={config.train.start_from}"
    if model.autoencoder is not None or autoencoder is not None:
        from idfsr_jax.latent.space import require_autoencoder

        require_autoencoder(model.autoencoder, autoencoder, what)
    if model.config.model.unet.folder or config.model.unet.folder:
        from idfsr_jax.latent.unet_weights import require_same_unet

        require_same_unet(model.config, config, what)


def _looker(out: Path, config: Config, frozen: Frozen, center: Float[np.ndarray, " d"]) -> Callable[[int, Any], None]:
    """A function of (step, averaged parameters) that restores a few people of val.

    It adds a line to `val.jsonl`, and writes a grid of pictures to `samples/`. One process does; all call it, as each
    may have a part of the parameters.
    """
    if not is_main():
        return _gather_only
    sizes = dimensions(frozen.recognisers)
    faces = load_faces(config.data.dataset, config.data.val_split, config.data.size)
    people = load_people(faces, center, sizes, config.model.references)

    def look(step: int, ema: Any) -> None:
        values, rows = measure(whole(ema), people, frozen, config)
        with (out / "val.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "images": step * config.train.batch} | values) + "\n")
        write_image(out / "samples" / f"{step:07d}.png", grid(rows), {})

    return look


def _gather_only(step: int, ema: Any) -> None:
    whole(ema)
