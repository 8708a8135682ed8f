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

from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.latent.space import Autoencoder, autoencoder_of, to_model_space, to_pixels
from idfsr_jax.method.degrade import resampling_tables
from idfsr_jax.method.denoiser import init_denoiser
from idfsr_jax.method.examples import Frozen, as_diffused, draw_examples, step_inputs
from idfsr_jax.method.landmarks import MEAN_SHAPE, init_landmark_net
from idfsr_jax.method.loss import picture_loss, training_loss
from idfsr_jax.method.model import load_model
from idfsr_jax.networks.recognisers import load_recognisers
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.training.folder import claim_folder
from idfsr_jax.training.mesh import abstract_state, born_sharded, global_batch, make_mesh, placed, replicated
from idfsr_jax.training.run import train
from idfsr_jax.training.state import create_state, make_optimizer
from idfsr_jax.training.step import train_step

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # diffusers' own
    pytest.mark.timeout(1200),
]
B, K, SIZE, SIZES = 4, 2, 32, (192,)


def sum_of(tree) -> str:
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))).hexdigest()


@pytest.fixture(scope="module")
def autoencoder(latent_config) -> Autoencoder:
    return autoencoder_of(latent_config.model)


@pytest.fixture(scope="module")
def frozen(latent_config, autoencoder) -> Frozen:
    return Frozen(
        landmark_net=init_landmark_net(jax.random.key(0), latent_config.landmarks),
        recognisers=load_recognisers(latent_config.model.recognisers),
        center=jnp.zeros(192),
        people=jnp.eye(B, 192),
        perceptual=jax.tree.map(jnp.asarray, read_lpips("alexnet")),
        tables=jax.tree.map(jnp.asarray, resampling_tables(SIZE)),
        autoencoder=autoencoder,
    )


@pytest.fixture(scope="module")
def batch(face_crop) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (B, 1 + K, SIZE, SIZE, 3), np.uint8)
    units = rng.normal(size=(3 + K, B, 192)).astype(np.float32)
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    points = np.tile(face_crop.landmarks.astype(np.float32), (B, 1 + K, 1, 1))
    frames = np.tile(np.eye(3, dtype=np.float32)[:2], (B, 1 + K, 1, 1))
    ones = np.ones(B, np.float32)
    return {
        "target": images[:, 0], "references": images[:, 1:],
        "target_landmarks": points[:, 0], "reference_landmarks": points[:, 1:],
        "target_frame": frames[:, 0], "reference_frames": frames[:, 1:],
        "present": np.array([[1, 1], [1, 0], [0, 0], [1, 1]], np.float32),
        "reference_identities": units[3:].swapaxes(0, 1), "identity": units[0], "truth": units[1], "others": units[2],
        "several": ones, "known": ones, "shape": np.tile(MEAN_SHAPE, (B, 1, 1)), "person": np.arange(B, dtype=np.int32),
    }  # fmt: skip


def test_a_step_changes_the_denoiser_and_nothing_else_on_any_number_of_devices(latent_config, batch, frozen):
    before = sum_of(frozen)

    def stepped(devices: int):
        config = replace(latent_config, devices=replace(latent_config.devices, data=devices))
        mesh, optimizer = make_mesh(config), make_optimizer(config.train)
        make = lambda: create_state(init_denoiser(jax.random.key(0), config, SIZES), optimizer)  # noqa: E731
        state = born_sharded(make, abstract_state(make, mesh, config.devices))
        arguments = (state, global_batch(batch, mesh), placed(frozen, replicated(mesh)))
        # Leaves alone, as JAX's descriptions of arguments are no arrays to our types.
        leaves, structure = jax.tree.flatten(arguments)
        step = partial(train_step, config=config, optimizer=optimizer)
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
    assert not {"detail", "head_in", "head_out"} & set(state.params["unet"])
    _, shared, text = stepped(2)
    assert float(shared["loss"]) == pytest.approx(float(metrics["loss"]), abs=1e-5)
    found = set(re.findall(r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", text))
    assert found == {"all-reduce"}  # no picture leaves its device to be encoded


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_estimates_on_the_course_are_judged_as_decoded_pictures(
    share, latent_config, latent_denoiser, batch, frozen, monkeypatch
):
    judged, decoded = [], []
    monkeypatch.setattr("idfsr_jax.method.loss.perceptual_distance", lambda _, a, b: judged.append(a.shape) or a.mean())
    monkeypatch.setattr("idfsr_jax.latent.space.to_pixels", lambda z, vae: decoded.append(z.shape) or to_pixels(z, vae))
    config = replace(latent_config, train=replace(latent_config.train, rollout_fraction=share))
    # Leaves alone, as JAX's descriptions of arguments are no arrays to our types.
    leaves, structure = jax.tree.flatten((latent_denoiser, batch, frozen, jax.random.split(jax.random.key(0))))

    def run(*leaves):
        params, batch, frozen, keys = jax.tree.unflatten(structure, leaves)
        inputs = step_inputs(params, batch, frozen, config, (keys[0], keys[1]))
        return training_loss(params, *inputs, frozen, config)

    _, parts = jax.eval_shape(run, *leaves)
    if share == 0:
        assert judged == decoded == [] and set(parts) == {"loss", "v_loss"}
    else:
        assert judged == [(2, SIZE, SIZE, 3)] and decoded == [(2, 16, 16, 4)]
        assert {"pixel_loss", "perceptual_loss", "contrastive_loss"} < set(parts)


def test_the_error_of_the_encoded_truth_is_what_the_autoencoder_loses(latent_config, batch, frozen, autoencoder):
    examples = jax.jit(partial(draw_examples, config=latent_config))(batch, frozen, key=jax.random.key(0))
    assert examples.noise.shape == (B, 16, 16, 4) and examples.x0.shape == (B, SIZE, SIZE, 3)
    assert as_diffused(examples, None) is examples
    diffused = jax.jit(as_diffused)(examples, autoencoder)
    np.testing.assert_allclose(diffused.x0, to_model_space(examples.x0, autoencoder), atol=1e-5)
    assert diffused.inside.shape == (B, 16, 16, 1) and diffused.condition.references.shape == (B, K, 16, 16, 4)
    level = jnp.zeros(B)
    loss = jax.jit(lambda estimate: picture_loss(estimate, examples, level, frozen, latent_config)[1]["pixel_loss"])
    expected = np.mean(np.square(to_pixels(diffused.x0, autoencoder) - examples.x0))
    assert float(loss(diffused.x0)) == pytest.approx(float(expected), rel=1e-4)


@pytest.fixture(scope="module")
def trained(latent_config, noise_faces, tmp_path_factory):
    """The configuration and the folder of a run of two steps, whose autoencoder is no longer where it was."""
    root = tmp_path_factory.mktemp("run")
    shutil.copytree(latent_config.model.autoencoder, root / "autoencoder")
    config = replace(
        latent_config,
        model=replace(latent_config.model, autoencoder=str(root / "autoencoder")),
        data=replace(latent_config.data, dataset=str(noise_faces)),
        train=replace(latent_config.train, out=str(root / "out"), steps=2, log_every=1),
        fit=replace(latent_config.fit, steps=1, batch=1, learning_rate=0.02),
    )
    assert train(config) == 0
    shutil.rmtree(root / "autoencoder")
    return config, root / "out"


def test_a_run_leaves_a_model_with_its_autoencoder(trained, latent_config, autoencoder):
    _, out = trained
    assert (out / "samples" / "0000002.png").exists() and (out / "val.jsonl").exists()
    model = load_model(out / "model")
    assert model.autoencoder.name == autoencoder.name == (out / "autoencoder.txt").read_text().strip()
    jax.tree.map(np.testing.assert_array_equal, model.autoencoder, autoencoder)
    theirs = TorchAutoencoder.from_pretrained(out / "model", subfolder="vae", local_files_only=True)
    original = TorchAutoencoder.from_pretrained(latent_config.model.autoencoder, local_files_only=True)
    for name, value in original.state_dict().items():
        torch.testing.assert_close(theirs.state_dict()[name], value, rtol=0, atol=0)


def test_a_person_is_fitted_and_a_picture_restored(trained, latent_denoiser, face_crop):
    # After two steps the identity has no say yet.
    restorer = Restorer(replace(load_model(trained[1] / "model"), denoiser=latent_denoiser))
    person = restorer.fit([face_crop])
    assert 1e-3 < np.linalg.norm(person.embedding - person.start) <= restorer.config.fit.max_distance + 1e-5
    assert np.all(np.isfinite(person.losses))
    small = np.array(Image.fromarray(face_crop.image).resize((8, 8), Image.Resampling.BOX))
    result = restorer.restore(small, person, [face_crop])
    assert result.images[0].shape == (SIZE, SIZE, 3) and result.images[0].std() > 1


def test_a_run_does_not_start_from_a_model_of_other_latents(trained, latent_config, write_autoencoder_of, tmp_path):
    config, out = trained
    write_autoencoder_of(tmp_path / "other", seed=1)
    more = {"start_from": str(out / "model"), "out": str(tmp_path / "out")}
    for folder, reduction, name in ((str(tmp_path / "other"), 2, r"vae-\w+"), ("", 8, r"none \(pixels\)")):
        model = replace(config.model, autoencoder=folder, latent_reduction=reduction, patch=1)
        with pytest.raises(BadConfig, match=rf"start_from=.* was trained with the autoencoder vae-\w+, not {name}"):
            train(replace(config, model=model, train=replace(config.train, **more)))
    assert not (tmp_path / "out").exists()


def test_a_run_does_not_go_on_with_another_autoencoder(latent_config, autoencoder, tmp_path):
    claim_folder(tmp_path, latent_config, autoencoder)
    claim_folder(tmp_path, latent_config, autoencoder)
    with pytest.raises(BadConfig, match="is not the autoencoder that the run in"):
        claim_folder(tmp_path, latent_config, autoencoder.replace(name="vae-other"))
