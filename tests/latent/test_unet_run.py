"""A pretrained UNet through training, resuming, fitting and restoring; what is left of it opens in diffusers."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers import UNet2DConditionModel as TorchUNet
from PIL import Image

from benchmarks.small_run import newest_checkpoint, read_log
from idfsr_jax.config import UNetConfig
from idfsr_jax.io.errors import BadConfig, BadWeights
from idfsr_jax.latent.unet_weights import begun_with_unet, read_unet_of, require_same_unet
from idfsr_jax.method.denoiser import denoiser_of, empty_condition, init_denoiser
from idfsr_jax.method.model import load_model
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.training.run import train
from idfsr_jax.training.state import make_optimizer, state_on_host

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # diffusers' own
    pytest.mark.timeout(1200),
]
SIZES = (192,)


def with_folder(config, folder):
    return replace(config, model=replace(config.model, unet=replace(config.model.unet, folder=str(folder))))


def begun(config):
    return begun_with_unet(lambda: init_denoiser(jax.random.key(0), config, SIZES), config)


def test_a_run_begins_with_the_unet(unet_config):
    params = begun(unet_config)
    assert set(params) == {"identity_tokens", "null_identity", "scale_tokens", "unet"}
    jax.tree.map(np.testing.assert_array_equal, params["unet"], read_unet_of(unet_config))
    assert np.any(params["identity_tokens"]["projection"]["kernel"])
    state = state_on_host(params, make_optimizer(unet_config.train))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(state)) and state.step == 0
    for tree in (state.params, state.ema):
        jax.tree.map(np.testing.assert_array_equal, tree, params)


@pytest.fixture(scope="module")
def trained(unet_config, noise_faces, tmp_path_factory):
    """The configuration and the folder of a run: two steps on two devices that share the state, a stop between them."""
    root = tmp_path_factory.mktemp("run")
    shutil.copytree(unet_config.model.unet.folder, root / "pipeline")
    config = replace(
        with_folder(unet_config, root / "pipeline"),
        data=replace(unet_config.data, dataset=str(noise_faces)),
        train=replace(
            unet_config.train, out=str(root / "out"), steps=2, log_every=1, checkpoint_every=1, max_minutes=1e-9
        ),
        devices=replace(unet_config.devices, data=1, fsdp=2, fsdp_least=64),
        fit=replace(unet_config.fit, steps=1, batch=1),
    )
    assert train(config) == 0
    assert newest_checkpoint(root / "out") == 1
    # Where the UNet was in training does not matter any more.
    shutil.rmtree(root / "pipeline")
    config = replace(config, train=replace(config.train, max_minutes=0.0))
    assert train(config) == 0
    return config, root / "out"


def test_it_learns_and_goes_on_without_the_folder_that_it_began_with(trained, unet_config):
    config, out = trained
    lines = read_log(out)
    assert [line["step"] for line in lines] == [1, 2]
    assert all(np.isfinite(line["loss"]) and line["gradient_norm"] > 0 for line in lines)
    model, before = load_model(out / "model"), read_unet_of(unet_config)
    assert model.config.model.unet == config.model.unet
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), model.denoiser["unet"], before)
    # The learning rate is 0 at the first step, so that at the second the further channels alone are not what moves.
    assert min(jax.tree.leaves(moved)) > 0
    assert np.abs(model.denoiser["unet"]["conv_in"]["kernel"][:, :, 4:]).max() > 0


def test_diffusers_opens_the_model_and_predicts_the_same(trained):
    _, out = trained
    model = load_model(out / "model")
    names = {path.name for path in (out / "model").iterdir()}
    assert {"unet", "scheduler", "vae", "denoiser-1.safetensors", "model.json"} <= names
    theirs = TorchUNet.from_pretrained(out / "model", subfolder="unet", local_files_only=True).eval()
    assert theirs.config["in_channels"] == 14 and theirs.config["sample_size"] == 16
    scheduler = DDIMScheduler.from_pretrained(out / "model", subfolder="scheduler")
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    empty = empty_condition(2, 32, 2, model.config.model, SIZES, diffused=True)
    condition = empty.replace(
        hidden=draw(2, 16, 16, 4), references=draw(2, 2, 16, 16, 4), identity=draw(2, 192), scale=8 * jnp.ones(2)
    )
    x_t, timesteps = draw(2, 16, 16, 4), torch.tensor([900, 20])
    alpha_bar = scheduler.alphas_cumprod[timesteps]
    level = jnp.asarray(torch.log(alpha_bar / (1 - alpha_bar)).numpy())
    network, variables = denoiser_of(model.config, SIZES), {"params": model.denoiser}

    @jax.jit
    def run(*given):
        v = network.apply(variables, *given)
        seen = jnp.concatenate([given[0], network.apply(variables, given[2], method="encode")], axis=-1)
        return v, seen, network.apply(variables, given[2], method="tokens")

    v, seen, tokens = run(x_t, level, condition)
    with torch.no_grad():
        channels = torch.from_numpy(np.array(seen).transpose(0, 3, 1, 2).copy())
        noise = theirs(channels, timesteps, torch.from_numpy(np.array(tokens))).sample
    alpha, sigma = (part.sqrt()[:, None, None, None] for part in (alpha_bar, 1 - alpha_bar))
    expected = (noise - sigma * channels[:, :4]) / alpha
    np.testing.assert_allclose(v, expected.numpy().transpose(0, 2, 3, 1), atol=1e-3, rtol=1e-3)


def test_a_person_is_fitted_and_a_picture_restored(trained, face_crop):
    _, out = trained
    restorer = Restorer.load(out / "model")
    person = restorer.fit([face_crop])
    assert 0 < np.linalg.norm(person.embedding - person.start) <= restorer.config.fit.max_distance + 1e-5
    small = np.array(Image.fromarray(face_crop.image).resize((8, 8), Image.Resampling.BOX))
    result = restorer.restore(small, person, [face_crop])
    assert result.images[0].shape == (32, 32, 3) and result.images[0].std() > 1


def test_another_run_may_begin_with_the_model_of_this_one(trained):
    config, out = trained
    params = begun(with_folder(config, out / "model"))
    jax.tree.map(np.testing.assert_array_equal, params["unet"], load_model(out / "model").denoiser["unet"])


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("unet", {"prediction_type": "v_prediction"}, r"another UNet.*give model\.unet\.prediction_type='epsilon'\.$"),
        ("unet", {"attention_head_dim": (2, 4)}, r"give model\.unet\.attention_head_dim=\(2, 2\)\.$"),
        ("diffusion", {"beta_end": 0.02}, r"give diffusion\.beta_end=0\.012\.$"),
    ],
)
def test_a_model_whose_unet_means_something_else_is_not_started_from(section, changes, said, unet_config):
    require_same_unet(unet_config, unet_config, "the model")
    if section == "unet":
        unet = replace(unet_config.model.unet, **changes)
        other = replace(unet_config, model=replace(unet_config.model, unet=unet))
    else:
        other = replace(unet_config, diffusion=replace(unet_config.diffusion, **changes))
    with pytest.raises(BadConfig, match=said):
        require_same_unet(unet_config, other, "the model")
    own = replace(unet_config, model=replace(unet_config.model, unet=UNetConfig()))
    for pair in ((unet_config, own), (own, unet_config)):
        with pytest.raises(BadConfig, match=r"is another network.* give the model\.unet"):
            require_same_unet(*pair, "the model")


@pytest.mark.parametrize("name", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"])
def test_another_unet_in_a_model_is_noticed(name, trained, tmp_path):
    shutil.copytree(trained[1] / "model", tmp_path / "model")
    path = tmp_path / "model" / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    with pytest.raises(BadWeights, match=f"{name}: its SHA-256"):
        load_model(tmp_path / "model")


def test_a_run_with_another_unet_does_not_go_on(trained):
    config, _ = trained
    unet = replace(config.model.unet, prediction_type="v_prediction")
    other = replace(config, model=replace(config.model, unet=unet))
    with pytest.raises(BadConfig, match=r"model\.unet\.prediction_type = 'epsilon', not 'v_prediction'"):
        train(other)


def test_a_run_that_cannot_begin_claims_no_folder(unet_config, trained, tmp_path):
    config = replace(trained[0], train=replace(trained[0].train, out=str(tmp_path / "out")))
    with pytest.raises(BadWeights, match=r"pipeline.*cannot be read"):
        train(config)
    assert not (tmp_path / "out").exists()
    settings = json.loads((trained[1] / "config.json").read_text())
    assert settings["model"]["unet"]["block_out_channels"] == [8, 16]
