"""The autoencoder against diffusers' PyTorch class with random weights, to 1e-4; its files against diffusers' own."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL as TorchAutoencoder
from safetensors.torch import load_file, save_file

from idfsr_jax.config import AutoencoderConfig
from idfsr_jax.interop.diffusers_vae import write_autoencoder
from idfsr_jax.io.errors import BadWeights
from idfsr_jax.latent.autoencoder import (
    AutoencoderKL,
    Posterior,
    load_autoencoder,
    reduction,
    scale_latents,
    unscale_latents,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own

# Small in width, whole in structure.
CONFIGS = {
    "sd15": {
        "block_out_channels": (8, 16, 24, 24), "layers_per_block": 2, "norm_num_groups": 4, "sample_size": 512,
    },
    "sdxl": {
        "block_out_channels": (8, 16, 24, 24), "layers_per_block": 2, "norm_num_groups": 4, "sample_size": 1024,
        "scaling_factor": 0.13025, "force_upcast": True,
    },
    "sd3": {
        "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 16,
        "scaling_factor": 1.5305, "shift_factor": 0.0609, "use_quant_conv": False, "use_post_quant_conv": False,
    },
    "tiny": {"block_out_channels": (8,), "norm_num_groups": 2, "mid_block_add_attention": False},
}  # fmt: skip


def make(name: str) -> TorchAutoencoder:
    """diffusers' network with weights that are all random, norms' too."""
    values = dict(CONFIGS[name])
    levels = len(values["block_out_channels"])
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TorchAutoencoder(**values, **blocks).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Each network and the folder that diffusers saved it to."""

    def build(name: str):
        folder = tmp_path_factory.mktemp(name)
        network = make(name)
        network.save_pretrained(folder)
        return network, folder

    built = {name: build(name) for name in CONFIGS}
    return built


def as_torch(x) -> torch.Tensor:
    return torch.from_numpy(np.array(x, np.float32).transpose(0, 3, 1, 2).copy())


def as_numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("name", CONFIGS)
def test_encodes_and_decodes_as_diffusers_does(name, saved):
    network, folder = saved[name]
    config, params = load_autoencoder(folder)
    side = 4 * reduction(config)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, side, side + reduction(config), 3)).astype(np.float32)

    @jax.jit
    def run(params, images, noise):
        model = AutoencoderKL(config)
        posterior = model.apply({"params": params}, images, method="encode")
        z = posterior.mean + jnp.exp(0.5 * posterior.log_variance) * noise
        return posterior, z, model.apply({"params": params}, z, method="decode")

    shape = (2, side // reduction(config), side // reduction(config) + 1, config.latent_channels)
    noise = rng.standard_normal(shape).astype(np.float32)
    posterior, z, decoded = run(params, images, noise)
    with torch.no_grad():
        theirs = network.encode(as_torch(images)).latent_dist
        their_z = theirs.mean + theirs.std * as_torch(noise)
        their_decoded = network.decode(their_z).sample
    for ours, expected in [
        (posterior.mean, theirs.mean), (posterior.log_variance, theirs.logvar), (z, their_z), (decoded, their_decoded),
    ]:  # fmt: skip
        np.testing.assert_allclose(ours, as_numpy(expected), atol=1e-4, rtol=1e-4)
    assert float(jnp.std(decoded)) > 0.05


def test_the_posterior_samples_its_gaussian():
    posterior = Posterior(jnp.full((1, 64, 64, 4), 2.0), jnp.full((1, 64, 64, 4), np.log(0.25), jnp.float32))
    drawn = posterior.sample(jax.random.key(0))
    assert float(drawn.mean()) == pytest.approx(2.0, abs=0.02)
    assert float(drawn.std()) == pytest.approx(0.5, abs=0.02)


def test_latents_are_scaled_as_the_pipelines_do():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 2, 4)), jnp.float32)
    plain = AutoencoderConfig(scaling_factor=0.5, shift_factor=0.1)
    np.testing.assert_allclose(scale_latents(z, plain), (z - 0.1) * 0.5, atol=1e-6)
    # Stable Diffusion XL's pipeline with statistics: latents * std / scaling_factor + mean on the way back.
    mean, std = (1.0, -1.0, 0.5, 0.0), (2.0, 3.0, 4.0, 5.0)
    whole = AutoencoderConfig(scaling_factor=0.5, latents_mean=mean, latents_std=std)
    np.testing.assert_allclose(unscale_latents(z, whole), z * np.float32(std) / 0.5 + np.float32(mean), atol=1e-5)
    np.testing.assert_allclose(unscale_latents(scale_latents(z, whole), whole), z, atol=1e-5)


def test_diffusers_opens_what_is_written(saved, tmp_path):
    network, folder = saved["sd3"]
    config, params = load_autoencoder(folder)
    write_autoencoder(tmp_path / "out", config, params)
    again = TorchAutoencoder.from_pretrained(tmp_path / "out", local_files_only=True)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    public = lambda opened: {name: value for name, value in opened.config.items() if name[0] != "_"}  # noqa: E731
    assert public(again) == public(TorchAutoencoder.from_pretrained(folder, local_files_only=True))
    once_more, same = load_autoencoder(tmp_path / "out")
    assert once_more == config
    jax.tree.map(np.testing.assert_array_equal, same, params)


def test_old_names_half_precision_and_pipelines_are_read(saved, tmp_path):
    """Stable Diffusion 1.5's file is from before the attention's layers were renamed; it has no scaling factor."""
    _, folder = saved["sd15"]
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in load_file(folder / "diffusion_pytorch_model.safetensors").items():
        for new, old in renamed.items():
            if new in name:
                name, value = name.replace(new, old), value[:, :, None, None] if value.ndim == 2 else value
        state[name] = value.to(torch.bfloat16).contiguous()
    (tmp_path / "vae").mkdir()
    save_file(state, tmp_path / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    values = json.loads((folder / "config.json").read_text())
    del values["scaling_factor"]
    (tmp_path / "vae" / "config.json").write_text(json.dumps(values))
    config, params = load_autoencoder(tmp_path)
    assert config.scaling_factor == 0.18215
    expected = load_autoencoder(folder)[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.01, atol=1e-6), params, expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"block_out_channels": [8, 32]}, "should have"),
        ({"layers_per_block": 2}, "None"),
        ({"_class_name": "VQModel"}, "VQModel"),
        ({"down_block_types": ["AttnDownEncoderBlock2D", "DownEncoderBlock2D"]}, "AttnDownEncoderBlock2D"),
        ({"act_fn": "relu"}, "relu"),
    ],
)
def test_another_network_is_refused(change, said, saved, tmp_path):
    shutil.copytree(saved["sd3"][1], tmp_path / "vae")
    path = tmp_path / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadWeights) as caught:
        load_autoencoder(tmp_path / "vae")
    assert said in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_missing_or_damaged_is_named(saved, tmp_path):
    with pytest.raises(BadWeights, match=r"nowhere.*cannot be read"):
        load_autoencoder(tmp_path / "nowhere")
    shutil.copytree(saved["tiny"][1], tmp_path / "vae")
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadWeights, match="is damaged"):
        load_autoencoder(tmp_path)
    (tmp_path / "vae" / "config.json").write_text("[]")
    with pytest.raises(BadWeights, match="no JSON of a model"):
        load_autoencoder(tmp_path)
