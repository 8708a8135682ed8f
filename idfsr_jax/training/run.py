"""A whole training run: LandmarkNet first, then the denoiser, then the model folder."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from idfsr_jax.config import Config
from idfsr_jax.data.pipeline import load_index, training_examples
from idfsr_jax.networks.id_encoder import encoder_name, encoder_of, require_encoder, require_kind
from idfsr_jax.training.distributed import is_main, wait_for_all
from idfsr_jax.training.folder import claim_folder, landmark_net, previewer
from idfsr_jax.training.full_disk import full_disk_explained
from idfsr_jax.training.loop import train_denoiser
from idfsr_jax.training.mesh import make_mesh, whole
from idfsr_jax.training.rollout import load_perceptual
from idfsr_jax.training.sole_use import sole_use
from idfsr_jax.training.start import beginning, bring_landmark_net
from idfsr_jax.training.step import Frozen
from idfsr_jax.weights import save_model


def train(config: Config) -> int:
    """Runs or continues the training that `config` describes, in the folder `config.train.out`.

    Writes there: `config.json`, `landmark_net.safetensors` and its sum, `checkpoints/`, `log.jsonl`, `tensorboard/`,
    `samples/`, and `model/`, which `Restorer.load` reads.

    Of several processes (`distributed.start_processes`) each calls this; the folder and the data set must be ones that
    all of them see.

    Returns:
      The number of the signal that stopped it, or 0.

    Raises:
      BadConfig: the folder belongs to a run of another configuration, the sentence names the first field. Or
        `train.start_from` is another network.
      FolderInUse: another run is at work in the folder.
      FullDisk: there is no room to write.
      BadWeights: LandmarkNet, every checkpoint, the model of `train.start_from`, or the UNet, is damaged.
      InputError: the data set is missing or damaged, or the loss is not finite.
    """
    out, data, seed = Path(config.train.out), config.data, config.train.seed
    # Devices and data first: a folder must not be claimed by a run that cannot begin.
    make_mesh(config)
    index = load_index(data.dataset, data.train_split)
    remedy = f"prepare it with `idfsr prepare --encoder {config.model.encoder}`, or change model.encoder"
    require_encoder(index.encoder, encoder_name(config.model.encoder), data.dataset, remedy)
    require_kind(index.encoder, index.embeddings.shape[1], config.model, data.dataset)
    shown = next(iter(training_examples(data, 0, 8, data.val_split)))
    start, landmark_params = beginning(config, index.encoder)
    with sole_use(out), full_disk_explained(out):
        claim_folder(out, config)
        if landmark_params is not None:
            bring_landmark_net(out, landmark_params)
        center = np.asarray(index.embeddings, np.float32).mean(0)
        frozen = Frozen(
            # Its own batch size and stream of examples, of the same crops.
            landmark_net=landmark_net(
                out, config, lambda: iter(training_examples(data, seed, config.landmarks.batch, data.train_split))
            ),
            encoder=encoder_of(config.model) if config.train.identity_loss > 0 else None,
            center=jnp.asarray(center),
            perceptual=load_perceptual(config.train),
        )
        place = {"shard": jax.process_index(), "shards": jax.process_count()}
        batches = iter(training_examples(data, seed, config.train.batch, data.train_split, **place))
        preview, name_of = previewer(out, config, frozen, shown), index.photos.__getitem__
        state, signal_number = train_denoiser(config, frozen, batches, preview, start=start, name_of=name_of)
        steps = int(state.step)
        averaged, facts = whole(state.ema), {"images_seen": steps * config.train.batch}
        if is_main():
            save_model(
                out / "model",
                config,
                averaged,
                frozen.landmark_net,
                center,
                steps,
                facts=facts,
                encoder=index.encoder,
            )
    wait_for_all("the model is written")
    return signal_number
