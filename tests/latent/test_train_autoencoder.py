"""An autoencoder of one's own: its loss against PyTorch's, what it writes against diffusers' class, and complaints."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL as TorchAutoencoder

from idfsr_jax.config import AutoencoderConfig
from idfsr_jax.data.faces import load_faces
from idfsr_jax.latent.autoencoder import AutoencoderKL, Posterior, load_autoencoder, scale_latents
from idfsr_jax.latent.train_autoencoder import autoencoder_loss, divergence, main, pictures_of, with_statistics

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own

SMALL = AutoencoderConfig(block_out_channels=(8, 8), norm_num_groups=4, sample_size=16, scaling_factor=1.0)
CONFIG = """
from idfsr_jax.config import Config, DataConfig, ModelConfig, TrainConfig

model = ModelConfig(
    autoencoder={out!r}, latent_reduction=2, patch=1, channels=(8, 16), blocks=(1, 1), head_width=8, embedding=16,
    recognisers=("mobilefacenet",),
)
config = Config(data=DataConfig(dataset={data!r}, size=32), model=model, train=TrainConfig(identity_losses=(0.0,)))
"""
OPTIONS = ["--channels", "8", "8", "--groups", "4", "--steps", "30", "--batch", "4", "--log-every", "10"]


@pytest.fixture
def run(noise_faces, tmp_path):
    """Runs the command on a config of drawn faces; gives its exit code."""
    path, out = tmp_path / "config.py", tmp_path / "autoencoder"
    path.write_text(CONFIG.format(data=str(noise_faces), out=str(out)))
    return lambda *options: main([str(path), *OPTIONS, *options])


def test_the_divergence_is_pytorchs():
    rng = np.random.default_rng(0)
    mean, log_variance = rng.normal(size=(2, 2, 3, 3, 4)).astype(np.float32)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(torch.tensor(mean), torch.tensor(log_variance / 2).exp()),
        torch.distributions.Normal(0.0, 1.0),
    ).sum((1, 2, 3))
    ours = divergence(Posterior(jnp.asarray(mean), jnp.asarray(log_variance)))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_the_loss_adds_the_weighted_divergence_to_the_error():
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)
    params = jax.jit(AutoencoderKL(SMALL).init)(jax.random.key(0), images)["params"]
    parts = jax.jit(lambda params: autoencoder_loss(params, images, jax.random.key(1), SMALL, 0.5)[1])(params)
    assert parts["kl"] > 0 and 0 < parts["error"] < 2
    assert float(parts["loss"]) == pytest.approx(float(parts["error"] + 0.5 * parts["kl"]), rel=1e-6)
    found = with_statistics(params, SMALL, iter([images]))
    means = jax.jit(lambda x: AutoencoderKL(SMALL).apply({"params": params}, x, method="encode").mean)(images)
    scaled = np.asarray(scale_latents(means, found))
    assert scaled.mean() == pytest.approx(0.0, abs=1e-3) and scaled.std() == pytest.approx(1.0, abs=1e-3)


def test_diffusers_opens_what_the_command_writes(run, tmp_path, capsys):
    assert run("--learning-rate", "0.01") == 0
    out = tmp_path / "autoencoder"
    assert "dB on pictures of val" in capsys.readouterr().out
    errors = [json.loads(line)["error"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(errors) == 3 and errors[-1] < 0.9 * errors[0]

    theirs = TorchAutoencoder.from_pretrained(out, local_files_only=True)
    config, params = load_autoencoder(out)
    assert theirs.config.scaling_factor == config.scaling_factor != 1.0
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)

    @jax.jit
    def through(images):
        mean = AutoencoderKL(config).apply({"params": params}, images, method="encode").mean
        return mean, AutoencoderKL(config).apply({"params": params}, mean, method="decode")

    with torch.no_grad():
        mean = theirs.encode(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).latent_dist.mean
        decoded = theirs.decode(mean).sample
    for ours, expected in zip(through(images), (mean, decoded), strict=True):
        np.testing.assert_allclose(ours, expected.numpy().transpose(0, 2, 3, 1), atol=1e-4, rtol=1e-4)

    assert run() == 2
    assert "holds an autoencoder already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--channels", "8"], "reduce the picture 1 times, and model.latent_reduction is 2"),
        (["--groups", "3"], "groups=3: give a number that divides all channels"),
    ],
)
def test_a_network_that_cannot_be_is_refused(run, capsys, options, said, tmp_path):
    assert run(*options) == 2
    complaint = capsys.readouterr().err
    assert said in complaint and complaint.count("\n") == 1
    assert not (tmp_path / "autoencoder").exists()


def test_every_epoch_has_every_picture_once_in_an_order_of_its_own(noise_faces):
    faces = load_faces(noise_faces, "train", 32)
    first, second, third = (np.stack(list(itertools.islice(pictures_of(faces, seed, 6), 4))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert np.any(first != third) and np.any(first[:2] != first[2:])
    means = first.reshape(2, 12, -1).mean(2)
    np.testing.assert_array_equal(
        np.sort(means, axis=1), np.tile(np.sort(faces.images.reshape(12, -1).mean(1)), (2, 1))
    )


def test_a_config_of_pixels_names_no_place(capsys):
    config = Path(__file__).parents[2] / "configs" / "lfw128.py"
    assert main([str(config)]) == 2
    assert "diffuses pixels" in capsys.readouterr().err
