"""The UNet against diffusers' PyTorch class with random weights, to 1e-4; its files against diffusers' own."""

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
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.torch import load_file, save_file

from idfsr_jax.config import DiffusionConfig
from idfsr_jax.interop.diffusers_unet import read_unet, write_unet
from idfsr_jax.io.errors import BadConfig, BadWeights
from idfsr_jax.latent.unet_2d_condition import UNet2DCondition, timestep_features
from idfsr_jax.latent.unet_weights import read_unet_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own

# Small in width, whole in structure.
SHAPES = {
    "sd15": {"levels": 3, "layers_per_block": 2, "attention_head_dim": 2},
    "sd21": {
        "levels": 4, "attention_head_dim": (1, 2, 4, 4), "use_linear_projection": True, "cross_attention_dim": 20,
        "upcast_attention": True, "only_cross_attention": False, "dual_cross_attention": False,
    },
}  # fmt: skip
# In what no Stable Diffusion has.
ODD = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-3, "in_channels": 5, "out_channels": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory, write_unet_of):
    """The folder of a pipeline for each shape, as diffusers saved it."""
    folder = tmp_path_factory.mktemp("pipelines")
    for name, values in {**SHAPES, "odd": ODD}.items():
        write_unet_of(folder / name, schedule={"prediction_type": "v_prediction"}, **values)
    return folder


def opened(folder, **options) -> TorchUNet:
    return TorchUNet.from_pretrained(folder, subfolder="unet", local_files_only=True, **options).eval()


@pytest.mark.parametrize("name", [*SHAPES, "odd"])
def test_predicts_what_diffusers_does(name, saved):
    files = read_unet(saved / name)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 16, 24, files.in_channels)).astype(np.float32)
    timestep = np.array([741.5, 3.0], np.float32)
    tokens = rng.normal(size=(2, 5, files.config.cross_attention_dim)).astype(np.float32)
    ours = jax.jit(UNet2DCondition(files.config, files.out_channels).apply)(
        {"params": files.params}, x, timestep, tokens
    )
    given = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(timestep), torch.from_numpy(tokens)
    with torch.no_grad():
        theirs = opened(saved / name)(*given).sample.numpy().transpose(0, 2, 3, 1)
    assert theirs.std() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("flip", "shift"), [(True, 0), (False, 1)])
def test_features_of_timesteps_are_diffusers_own(flip, shift):
    timesteps = np.array([0.0, 0.5, 17.0, 999.0], np.float32)
    theirs = get_timestep_embedding(torch.from_numpy(timesteps), 32, flip_sin_to_cos=flip, downscale_freq_shift=shift)
    np.testing.assert_allclose(timestep_features(jnp.asarray(timesteps), 32, flip=flip, shift=shift), theirs, atol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_diffusers_opens_what_is_written(name, saved, tmp_path):
    files, schedule = read_unet(saved / name), DiffusionConfig(schedule="scaled_linear")
    assert files.schedule == {
        "prediction_type": "v_prediction", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
        "num_train_timesteps": 1000,
    }  # fmt: skip
    write_unet(tmp_path, replace(files.config, prediction_type="v_prediction"), schedule, files.params, side=16)
    original, again = opened(saved / name), opened(tmp_path)
    assert list(again.state_dict()) == list(original.state_dict())
    for key, value in original.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)
    unread = ("upcast_attention",)
    public = lambda network: {k: v for k, v in network.config.items() if k[0] != "_" and k not in unread}  # noqa: E731
    assert public(again) == public(original)
    scheduler = DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    theirs = DDIMScheduler.from_pretrained(saved / name, subfolder="scheduler")
    torch.testing.assert_close(scheduler.alphas_cumprod, theirs.alphas_cumprod)
    assert scheduler.config["prediction_type"] == "v_prediction"
    once_more = read_unet(tmp_path)
    assert (once_more.config, once_more.schedule) == (files.config, files.schedule)
    jax.tree.map(np.testing.assert_array_equal, once_more.params, files.params)


def test_half_precision_and_bare_folders_are_read_and_written(saved, tmp_path):
    files = read_unet(saved / "sd15")
    state = load_file(saved / "sd15" / "unet" / "diffusion_pytorch_model.safetensors")
    half = {name: value.to(torch.float16) for name, value in state.items()}
    save_file(half, tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(saved / "sd15" / "unet" / "config.json", tmp_path)
    read = read_unet(tmp_path)
    assert read.schedule == {}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), read.params, files.params)
    schedule = DiffusionConfig(schedule="scaled_linear")
    write_unet(tmp_path / "out", files.config, schedule, files.params, side=16, dtype="bfloat16")
    theirs = opened(tmp_path / "out")
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(value.float(), state[name], rtol=0.01 if value.ndim > 1 else 0, atol=1e-6)


UNSUPPORTED = [
    {"addition_embed_type": "text_time"},
    {"class_embed_type": "timestep"},
    {"num_class_embeds": 10},
    {"encoder_hid_dim": 16},
    {"time_cond_proj_dim": 256},
    {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"},
    {"down_block_types": ["CrossAttnDownBlock2D", "AttnDownBlock2D"]},
    {"transformer_layers_per_block": [1, 2]},
    {"layers_per_block": [1, 2]},
    {"cross_attention_dim": [12, 20]},
    {"only_cross_attention": True},
    {"dual_cross_attention": True},
    {"act_fn": "gelu"},
    {"_class_name": "UNet3DConditionModel"},
    {"resnet_time_scale_shift": "scale_shift"},
    {"something_of_the_future": "on"},
    {"down_block_types": [["CrossAttnDownBlock2D"], "DownBlock2D"]},
    {"attention_head_dim": [2, 4, 8]},
    {"in_channels": None},
    {"out_channels": "four"},
]


@pytest.mark.parametrize("change", UNSUPPORTED, ids=lambda change: next(iter(change)))
def test_what_is_not_supported_is_refused_by_its_field(change, unet_config, tmp_path):
    path = change_config(unet_config, tmp_path, change)
    ((field, value),) = change.items()
    with pytest.raises(BadWeights) as caught:
        read_unet(tmp_path)
    assert str(path) in str(caught.value) and f": {field} is {value!r}, which is not supported" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prediction_type": "sample"}, "prediction_type is 'sample'"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule is 'squaredcos_cap_v2'"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is True"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas is"),
    ],
)
def test_a_schedule_that_is_not_supported_is_refused_by_its_field(change, said, unet_config, tmp_path):
    shutil.copytree(unet_config.model.unet.folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadWeights) as caught:
        read_unet(tmp_path)
    assert f"{path}: {said}" in str(caught.value)


def test_a_scheduler_of_old_says_nothing_of_what_is_predicted(unet_config, tmp_path):
    shutil.copytree(unet_config.model.unet.folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "PNDMScheduler", "beta_start": 0.00085}))
    assert read_unet(tmp_path).schedule == {"prediction_type": "epsilon", "beta_start": 0.00085}


def change_config(unet_config, folder, change):
    """A copy of a UNet whose config says something else."""
    shutil.copytree(unet_config.model.unet.folder, folder, dirs_exist_ok=True)
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return path


def test_the_configuration_must_say_what_the_files_do(unet_config, write_unet_of, tmp_path):
    write_unet_of(tmp_path, schedule={"prediction_type": "v_prediction", "beta_end": 0.02}, cross_attention_dim=20,
                  attention_head_dim=(1, 2), seed=1)  # fmt: skip
    model = replace(unet_config.model, unet=replace(unet_config.model.unet, folder=str(tmp_path)))
    with pytest.raises(BadConfig) as caught:
        read_unet_of(replace(unet_config, model=model))
    assert str(caught.value) == (
        f"{tmp_path}: is another UNet than the configuration says; give model.unet.attention_head_dim=(1, 2), "
        "model.unet.cross_attention_dim=20, model.unet.prediction_type='v_prediction', diffusion.beta_end=0.02."
    )
    given = {"attention_head_dim": (1, 2), "cross_attention_dim": 20, "prediction_type": "v_prediction"}
    model, diffusion = replace(model, unet=replace(model.unet, **given)), replace(unet_config.diffusion, beta_end=0.02)
    assert read_unet_of(replace(unet_config, model=model, diffusion=diffusion))["conv_in"]["kernel"].shape[2] == 14


def test_as_many_heads_everywhere_may_be_written_either_way(unet_config):
    model = replace(unet_config.model, unet=replace(unet_config.model.unet, attention_head_dim=(2, 2)))
    assert read_unet_of(replace(unet_config, model=model))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers_per_block": "two"}, "layers_per_block is 'two'; give a whole number"),
        ({"norm_eps": None}, "norm_eps is None; give a number"),
        ({"attention_head_dim": [[2], 4]}, "attention_head_dim is .*; give a tuple, each element a whole number"),
        ({"block_out_channels": None}, "block_out_channels is .*; give a tuple, each element a whole number"),
    ],
)
def test_a_value_of_another_type_is_named(change, said, unet_config, tmp_path):
    path = change_config(unet_config, tmp_path, change)
    with pytest.raises(BadWeights, match=f"{path}: is not a config of diffusers, as {said}"):
        read_unet(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"in_channels": 9}, "9 channels in and 4 out; give a UNet of 4 in and out, or one of 14 in"),
        ({"in_channels": 14}, r"conv_in/kernel has the shape \(3, 3, 4, 8\), and by config.json should have"),
    ],
)
def test_channels_must_be_those_of_the_latents(change, said, unet_config, tmp_path):
    change_config(unet_config, tmp_path, change)
    model = replace(unet_config.model, unet=replace(unet_config.model.unet, folder=str(tmp_path)))
    with pytest.raises((BadConfig, BadWeights), match=said):
        read_unet_of(replace(unet_config, model=model))


def test_what_is_missing_or_damaged_is_named(unet_config, tmp_path):
    with pytest.raises(BadWeights, match=r"nowhere.*cannot be read"):
        read_unet(tmp_path / "nowhere")
    path = change_config(unet_config, tmp_path, {})
    weights = path.with_name("diffusion_pytorch_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadWeights, match="is damaged"):
        read_unet(tmp_path)
    (tmp_path / "scheduler" / "scheduler_config.json").write_text("[]")
    with pytest.raises(BadWeights, match="no JSON of a model"):
        read_unet(tmp_path)
