"""Every mistake in a config is refused by one sentence that names the field, before anything is loaded."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.config import Config, DiffusionConfig
from idfsr_jax.config.checks import check_config, read_config
from idfsr_jax.io.errors import BadConfig

MISTAKES = [
    ("data", "size", 60, "data.scales"),
    ("data", "size", 64.0, "data.size is 64.0; give a whole number"),
    ("data", "scales", (), "data.scales"),
    ("data", "scale_weights", (1.0,), "data.scale_weights"),
    ("data", "scale_weights", (0.0, 0.0, 0.0, 0.0), "data.scale_weights"),
    ("data", "own_embedding", 1.5, "data.own_embedding is 1.5; give a share from 0 to 1"),
    ("data", "degradation", "jpeg", "data.degradation"),
    ("model", "blocks", (1,), "model.blocks"),
    ("model", "channels", (64, 128, 100), "model.channels"),
    ("model", "prior_std", 0.0, "model.prior_std"),
    ("model", "prior_detail_std", -0.1, "model.prior_detail_std"),
    ("model", "encoder", "arcface", "model.encoder is 'arcface'; give 'mobilefacenet', 'dlib' or 'arcface:PATH'"),
    ("model", "encoder", "arcface:", "model.encoder"),
    ("model", "identity_dim", 512, "model.identity_dim is 512; give 128, as model.encoder is 'dlib'"),
    ("model", "latent_reduction", 0, "model.latent_reduction is 0; give a whole number of at least 1"),
    ("diffusion", "log_snr_min", 20.0, "diffusion.log_snr_min"),
    ("diffusion", "log_snr_max", float("nan"), "diffusion.log_snr_min"),
    ("diffusion", "schedule", "squaredcos", "give 'cosine' or 'scaled_linear' or 'linear'"),
    ("diffusion", "num_train_timesteps", 0, "diffusion.num_train_timesteps is 0; give a whole number of at least 1"),
    ("diffusion", "beta_start", 0.0, "diffusion.beta_start is 0.0; give a number above 0 and up to beta_end, 0.012"),
    ("diffusion", "beta_start", 0.02, "diffusion.beta_start is 0.02; give a number above 0 and up to beta_end, 0.012"),
    ("diffusion", "beta_end", 1.0, "diffusion.beta_end is 1.0; give a number above 0 and below 1"),
    ("diffusion", "timestep_spacing", "even", "diffusion.timestep_spacing is 'even'; give 'trailing' or 'leading' or"),
    ("diffusion", "steps_offset", -1, "diffusion.steps_offset is -1; give 0 or more"),
    ("train", "steps", 0, "train.steps is 0; give a whole number of at least 1"),
    ("train", "batch", True, "train.batch"),
    ("train", "batch", -1, "train.batch"),
    ("train", "learning_rate", float("nan"), "train.learning_rate"),
    ("train", "identity_loss", -0.1, "train.identity_loss"),
    ("train", "seed", 2**32, "train.seed"),
    ("train", "accumulate", 0, "train.accumulate is 0; give a whole number of at least 1"),
    ("train", "accumulate", 3, "train.batch is 16; give a multiple of devices.data (1) x devices.fsdp (1) x train.acc"),
    ("devices", "data", -1, "devices.data is -1; give 0 or more"),
    ("devices", "data", 3, "train.batch is 16; give a multiple of devices.data (3)"),
    ("devices", "fsdp", 0, "devices.fsdp is 0; give a whole number of at least 1"),
    ("landmarks", "size", 63, "landmarks"),
    ("landmarks", "low_resolution_widths", (3,), "landmarks.low_resolution_widths"),
    ("sample", "steps", 0, "sample.steps"),
    ("sample", "temperature", float("inf"), "sample.temperature"),
    ("sample", "consistency", 2.0, "sample.consistency"),
    ("fit", "scales", (7,), "fit.scales"),
    ("fit", "max_distance", -1.0, "fit.max_distance"),
    ("evaluate", "batch", 0, "evaluate.batch"),
    ("evaluate", "people", -1, "evaluate.people"),
]


@pytest.mark.parametrize(("section", "field", "value", "said"), MISTAKES)
def test_a_mistake_is_named(section: str, field: str, value: object, said: str):
    config = Config()
    check_config(config)
    wrong = dataclasses.replace(getattr(config, section))
    # Past the constructor, which the tests let check types: at use time it does not.
    object.__setattr__(wrong, field, value)
    with pytest.raises(BadConfig) as caught:
        check_config(dataclasses.replace(config, **{section: wrong}))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("schedule", "steps", "said"),
    [
        ({}, 1001, r"sample\.steps is 1001; give at most diffusion\.num_train_timesteps, 1000"),
        ({"timestep_spacing": "leading"}, 1000, "steps_offset is 1; give at most 0, as there are 1000 leading"),
    ],
)
def test_sampling_takes_no_more_steps_than_the_schedule_has(schedule: dict, steps: int, said: str):
    config = dataclasses.replace(Config(), sample=dataclasses.replace(Config().sample, steps=steps))
    check_config(dataclasses.replace(config, diffusion=DiffusionConfig(**schedule)))
    with pytest.raises(BadConfig, match=said):
        check_config(dataclasses.replace(config, diffusion=DiffusionConfig(schedule="linear", **schedule)))


def test_an_odd_side_has_no_means_of_two_by_two():
    model = dataclasses.replace(Config().model, patch=3, channels=(8,), blocks=(1,), head_width=8)
    odd = dataclasses.replace(Config().data, size=33, scales=(3,), scale_weights=(1.0,))
    config = dataclasses.replace(Config(), data=odd, model=model, fit=dataclasses.replace(Config().fit, scales=(3,)))
    check_config(config)
    with pytest.raises(BadConfig, match=r"data\.size is 33; give a multiple of 2"):
        check_config(dataclasses.replace(config, model=dataclasses.replace(model, prior_detail_std=0.1)))


def test_examples_that_bear_the_identity_loss_are_the_same_number_in_every_part():
    train = dataclasses.replace(Config().train, identity_loss=0.1, identity_loss_fraction=0.25, batch=32)
    check_config(dataclasses.replace(Config(), train=dataclasses.replace(train, accumulate=8)))
    parted = dataclasses.replace(Config(), train=dataclasses.replace(train, accumulate=16))
    with pytest.raises(BadConfig, match=r"multiple of train\.accumulate \(16\) x 4, as every 4th example bears"):
        check_config(parted)
    check_config(dataclasses.replace(parted, train=dataclasses.replace(parted.train, identity_loss=0.0)))
    none = dataclasses.replace(train, identity_loss_fraction=0.0)
    with pytest.raises(BadConfig, match=r"identity_loss_fraction is 0\.0; give a share above 0"):
        check_config(dataclasses.replace(Config(), train=none))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('no\\nluck')", "RuntimeError: no luck"),
        ("exit()", "SystemExit"),
        ("config = (", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("config = 3", "defines no"),
        ("from idfsr_jax.config import *\nconfig = Config(train=TrainConfig(steps=0))", "train.steps is 0"),
    ],
)
def test_a_file_that_is_no_config_costs_one_sentence(text: str, said: str, tmp_path: Path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert cli.main(["train", str(path)]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint and "mine.py" in complaint and complaint.count("\n") == 1
    assert list(tmp_path.glob("[!_]*")) == [path]


def test_a_good_file_is_read(tmp_path: Path):
    path = tmp_path / "good.py"
    path.write_text("from idfsr_jax.config import *\nconfig = Config(name='good')")
    assert read_config(path).name == "good"


def test_a_missing_data_set_leaves_the_run_folder_alone(tmp_path: Path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from idfsr_jax.config import *\n"
        f"config = Config(data=DataConfig(dataset={str(tmp_path / 'nowhere')!r}), "
        f"train=TrainConfig(out={str(tmp_path / 'run')!r}))"
    )
    assert cli.main(["train", str(path)]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


def test_embeddings_of_another_encoder_are_refused(tmp_path: Path, small_embeddings, tiny_arcface, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from idfsr_jax.config import *\n"
        f"config = Config(data=DataConfig(dataset={str(small_embeddings)!r}), "
        f"model=ModelConfig(encoder={'arcface:' + str(tiny_arcface)!r}, identity_dim=16), "
        f"train=TrainConfig(out={str(tmp_path / 'run')!r}))"
    )
    assert cli.main(["train", str(path)]) == 2
    complaint = capsys.readouterr().err
    assert "holds embeddings of the encoder dlib-resnet-v1" in complaint and complaint.count("\n") == 1
    assert f"idfsr prepare --encoder arcface:{tiny_arcface}" in complaint
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.fixture
def small_embeddings(tmp_path_factory):
    """A data set of one face, described by dlib."""
    from idfsr_jax.data.identity_faces import IdentityFaces
    from idfsr_jax.data.parts import FaceRecord

    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    face = FaceRecord(
        "A/1.jpg",
        file.getvalue(),
        np.zeros((68, 2), np.float32),
        np.ones(128, np.float32),
        np.eye(3, dtype=np.float32)[:2],
        "0",
    )
    folder = tmp_path_factory.mktemp("one")
    records = {split: lambda: iter([("A", face)]) for split in ("train", "val")}
    IdentityFaces(data_dir=folder, records=records, encoder="dlib-resnet-v1").download_and_prepare()
    return folder


def test_a_size_that_latents_do_not_divide_is_refused():
    config, model = Config(), dataclasses.replace(Config().model, autoencoder="vae", latent_reduction=8)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, size=96))
    check_config(config)
    with pytest.raises(BadConfig, match=r"data\.size is 96; give a multiple of 64, .* and 8 pixels to a latent"):
        check_config(dataclasses.replace(config, model=model))


UNET_MISTAKES = [
    ("model", "autoencoder", "", "model.autoencoder is ''; give the autoencoder whose latents"),
    ("diffusion", "schedule", "cosine", "diffusion.schedule is 'cosine'; give the schedule of timesteps that"),
    ("model", "embedding", 512, "model.embedding is 512; give 768, the width of model.unet's tokens"),
    ("data", "size", 96, "data.size is 96; give a multiple of 64, as there are 4 model.unet.block_out_channels"),
    ("unet", "up_block_types", ("UpBlock2D",), "model.unet.up_block_types is ('UpBlock2D',); give one for each of"),
    ("unet", "down_block_types", ("DownBlock3D",), "each element 'CrossAttnDownBlock2D' or 'DownBlock2D'"),
    ("unet", "attention_head_dim", (5, 10), "model.unet.attention_head_dim is (5, 10); give one for all or one for"),
    ("unet", "attention_head_dim", (7,), "model.unet.block_out_channels is (320, 640, 1280, 1280); give multiples of"),
    ("unet", "norm_num_groups", 48, "model.unet.block_out_channels is"),
    ("unet", "block_out_channels", (), "model.unet.block_out_channels is (); give whole numbers of at least 1"),
    ("unet", "cross_attention_dim", 0, "model.unet.cross_attention_dim is 0; give a whole number of at least 1"),
    ("unet", "norm_eps", 0.0, "model.unet.norm_eps is 0.0; give a number above 0"),
    ("unet", "freq_shift", 160, "model.unet.freq_shift is 160; give a whole number from 0 to 159"),
    ("unet", "freq_shift", -1, "model.unet.freq_shift is -1; give a whole number from 0 to 159"),
    ("unet", "prediction_type", "sample", "model.unet.prediction_type is 'sample'; give 'epsilon' or 'v_prediction'"),
]


@pytest.mark.parametrize(("section", "field", "value", "said"), UNET_MISTAKES)
def test_a_mistake_about_a_pretrained_unet_is_named(section: str, field: str, value: object, said: str):
    config = Config()
    unet, model = dataclasses.replace(config.model.unet, folder="sd"), dataclasses.replace(config.model)
    parts = {"data": dataclasses.replace(config.data), "diffusion": DiffusionConfig(schedule="scaled_linear")}
    object.__setattr__(model, "unet", unet)
    object.__setattr__(model, "autoencoder", "sd")
    object.__setattr__(model, "embedding", unet.cross_attention_dim)
    check_config(dataclasses.replace(config, model=model, **parts))
    object.__setattr__({"unet": unet, "model": model, **parts}[section], field, value)
    with pytest.raises(BadConfig) as caught:
        check_config(dataclasses.replace(config, model=model, **parts))
    assert said in str(caught.value) and "\n" not in str(caught.value)
