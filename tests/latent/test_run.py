"""Training, fitting and restoring in latents, from the data set to the picture, with networks of random weights."""

import hashlib
import re
import shutil
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL as TorchAutoencoder
from PIL import Image

from idfsr_jax.errors import BadConfig
from idfsr_jax.face import resize_crop
from idfsr_jax.latent.space import Autoencoder, autoencoder_of
from idfsr_jax.restorer import Restorer
from idfsr_jax.training.fit import Album, fit_identity
from idfsr_jax.training.folder import claim_folder
from idfsr_jax.training.mesh import abstract_state, born_sharded, global_batch, make_mesh, placed, replicated
from idfsr_jax.training.run import train
from idfsr_jax.training.start import initial_state, started_from
from idfsr_jax.training.state import make_optimizer
from idfsr_jax.training.step import Frozen, draw_examples, mean_gradients, train_step
from idfsr_jax.weights import load_model, save_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own


def sum_of(tree) -> str:
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))).hexdigest()


@pytest.fixture(scope="module")
def autoencoder(latent_config) -> Autoencoder:
    found = autoencoder_of(latent_config.model)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def frozen(tiny_weights, autoencoder) -> Frozen:
    return Frozen(tiny_weights[1], None, jnp.zeros(128), autoencoder)


@pytest.fixture(scope="module")
def batch(face_crop) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
    landmarks = np.stack([face_crop.landmarks] * 4)
    descriptors = rng.normal(size=(2, 4, 128)).astype(np.float32)
    return {
        "target": images[0],
        "target_landmarks": landmarks,
        "reference": images[1],
        "reference_landmarks": landmarks,
        "embedding": descriptors[0],
        "target_embedding": descriptors[1],
        "scale": np.array([0, 1, 0, 1], np.int32),
    }


def test_a_step_changes_the_denoiser_and_nothing_else_on_any_number_of_devices(latent_config, batch, frozen):
    before = sum_of(frozen)

    def stepped(devices: int):
        config = replace(latent_config, devices=replace(latent_config.devices, data=devices))
        mesh, make = make_mesh(config), partial(initial_state, config)
        like = abstract_state(make, mesh, config.devices)
        arguments = (born_sharded(make, like), global_batch(batch, mesh), placed(frozen, replicated(mesh)))
        # Leaves alone, as JAX's descriptions of arguments are no arrays to our types.
        leaves, structure = jax.tree.flatten(arguments)
        step = partial(train_step, config=config, optimizer=make_optimizer(config.train))
        compiled = jax.jit(lambda *leaves: step(*jax.tree.unflatten(structure, leaves))).lower(*leaves).compile()
        state, metrics = compiled(*leaves)
        # The learning rate is 0 at the first step.
        again, _ = compiled(*jax.tree.leaves((state, *arguments[1:])))
        assert sum_of(again.params) != sum_of(arguments[0].params)
        return again, metrics, compiled.as_text()

    state, metrics, _ = stepped(1)
    assert sum_of(frozen) == before
    assert all(np.isfinite(value) for value in metrics.values()) and metrics["gradient_norm"] > 0
    assert state.params["unet"]["out"]["kernel"].shape[-1] == 4  # latent channels
    _, shared, text = stepped(2)
    assert float(shared["loss"]) == pytest.approx(float(metrics["loss"]), abs=1e-6)
    found = set(re.findall(r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", text))
    assert found == {"all-reduce"}  # no picture leaves its device to be encoded


def test_parts_one_by_one_give_the_gradients_of_the_whole(latent_config, latent_denoiser, batch, frozen):
    examples = jax.jit(partial(draw_examples, config=latent_config))(batch, frozen, key=jax.random.key(0))
    assert examples.noise.shape == (4, 16, 16, 4) and examples.x0.shape == (4, 32, 32, 3)

    def gradients(accumulate: int):
        config = replace(latent_config, train=replace(latent_config.train, accumulate=accumulate))
        leaves, structure = jax.tree.flatten((latent_denoiser, examples, frozen))
        run = jax.jit(lambda *leaves: mean_gradients(*jax.tree.unflatten(structure, leaves), config))
        return run(*leaves)[0]

    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6)
    jax.tree.map(close, gradients(2), gradients(1))


def test_the_identity_loss_sees_decoded_estimates(latent_config, latent_denoiser, batch, frozen, monkeypatch):
    seen = []

    def loss(x0, truth, landmarks, frozen, log_snr):
        seen.append(x0.shape)
        return jnp.abs(x0).mean((1, 2, 3))

    monkeypatch.setattr("idfsr_jax.training.step.identity_loss", loss)
    settings = replace(latent_config.train, identity_loss=1.0, identity_loss_fraction=0.5)
    config = replace(latent_config, train=settings)

    # Leaves alone, as JAX's descriptions of arguments are no arrays to our types.
    leaves, structure = jax.tree.flatten((latent_denoiser, batch, frozen))

    def run(*leaves):
        params, batch, frozen = jax.tree.unflatten(structure, leaves)
        return mean_gradients(params, draw_examples(batch, frozen, config, jax.random.key(0)), frozen, config)

    _, parts = jax.eval_shape(run, *leaves)
    assert seen == [(2, 32, 32, 3)] and "identity_loss" in parts


def test_fitting_moves_the_identity_and_no_weight(latent_config, latent_denoiser, face_crop, frozen):
    picture = resize_crop(face_crop.image, 32).astype(np.float32) / 127.5 - 1.0
    images = jnp.asarray(np.stack([picture, 0.7 * picture]))
    identities = jax.random.normal(jax.random.key(1), (2, 128))
    identities /= jnp.linalg.norm(identities, axis=1, keepdims=True)
    album = Album(images, jnp.stack([jnp.asarray(face_crop.landmarks)] * 2), identities)
    before = sum_of(frozen), sum_of(latent_denoiser)
    fitted, losses = fit_identity(identities[0], album, latent_denoiser, frozen, latent_config)
    assert (sum_of(frozen), sum_of(latent_denoiser)) == before
    assert 1e-3 < np.linalg.norm(fitted - identities[0]) <= latent_config.fit.max_distance + 1e-5
    assert np.all(np.isfinite(losses))


def test_from_the_data_set_to_a_restored_picture(latent_config, noise_faces, face_crop, autoencoder, tmp_path):
    out, place = tmp_path / "run", tmp_path / "autoencoder"
    shutil.copytree(latent_config.model.autoencoder, place)
    config = replace(
        latent_config,
        model=replace(latent_config.model, autoencoder=str(place)),
        data=replace(latent_config.data, dataset=str(noise_faces)),
        train=replace(latent_config.train, out=str(out), steps=2, samples_every=2, log_every=1),
    )
    assert train(config) == 0
    assert (out / "samples" / "0000002.png").exists()
    model = load_model(out / "model")
    assert model.autoencoder is not None and model.autoencoder.name == autoencoder.name
    jax.tree.map(np.testing.assert_array_equal, model.autoencoder, autoencoder)
    theirs = TorchAutoencoder.from_pretrained(out / "model", subfolder="vae", local_files_only=True)
    original = TorchAutoencoder.from_pretrained(place, local_files_only=True)
    for name, value in original.state_dict().items():
        torch.testing.assert_close(theirs.state_dict()[name], value, rtol=0, atol=0)

    # Where the autoencoder was in training does not matter any more.
    shutil.rmtree(place)
    restorer = Restorer.load(out / "model")
    person = restorer.fit([face_crop])
    small = np.array(Image.fromarray(face_crop.image).resize((8, 8), Image.Resampling.BOX))
    result = restorer.restore(small, person, [face_crop])
    assert result.images[0].shape == (32, 32, 3) and result.images[0].std() > 1


def test_a_run_does_not_go_on_with_another_autoencoder(latent_config, autoencoder, tmp_path):
    claim_folder(tmp_path, latent_config, autoencoder)
    claim_folder(tmp_path, latent_config, autoencoder)
    with pytest.raises(BadConfig, match="is not the autoencoder that the run in"):
        claim_folder(tmp_path, latent_config, autoencoder.replace(name="vae-other"))


def test_a_run_does_not_start_from_a_model_of_other_latents(
    latent_config, latent_denoiser, tiny_weights, autoencoder, tmp_path
):
    save_model(
        tmp_path, latent_config, latent_denoiser, tiny_weights[1], np.zeros(128, np.float32), 1, autoencoder=autoencoder
    )
    config = replace(latent_config, train=replace(latent_config.train, start_from=str(tmp_path)))
    state, _ = started_from(config, autoencoder=autoencoder)
    jax.tree.map(np.testing.assert_array_equal, state.params, latent_denoiser)
    with pytest.raises(BadConfig, match=r"start_from=.* was trained with the autoencoder vae-\w+, not vae-other"):
        started_from(config, autoencoder=autoencoder.replace(name="vae-other"))
