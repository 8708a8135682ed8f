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
    ("data", "size", 60, "data.size is 60; give a multiple of 16, as there are 3 model.channels"),
    ("data", "size", 64.0, "data.size is 64.0; give a whole number"),
    ("data", "clean", 1.5, "data.clean is 1.5; give a share from 0 to 1"),
    ("data", "workers", 0, "data.workers is 0; give a whole number of at least 1"),
    ("model", "blocks", (1,), "model.blocks"),
    ("model", "channels", (64,), "model.channels is (64,); give two widths or more, as references have two"),
    ("model", "channels", (64, 128, 100), "model.channels"),
    ("model", "prior_std", 0.0, "model.prior_std"),
    ("model", "prior_detail_std", -0.1, "model.prior_detail_std"),
    ("model", "recognisers", ("dlib",), "train.identity_losses is (0.1, 0.5, 0.0, 0.0); give 1 numbers of 0"),
    ("model", "references", 0, "model.references is 0; give 1 or more"),
    ("model", "mouth", 1.5, "model.mouth is 1.5; give a share from 0 to 1"),
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
    ("train", "identity_losses", (0.1, -0.1), "train.identity_losses"),
    ("train", "contrastive_temperature", 0.0, "train.contrastive_temperature is 0.0; give a number above 0"),
    ("train", "rollout_fraction", 0.0, "a share of a batch of 16 that leaves one example and more on the course and"),
    ("train", "rollout_fraction", 1.0, "train.rollout_fraction is 1.0; give a share of a batch of 16"),
    ("train", "seed", 2**32, "train.seed"),
    ("devices", "data", -1, "devices.data is -1; give 0 or more"),
    ("devices", "data", 3, "train.batch is 16; give a multiple of devices.data (3)"),
    ("devices", "fsdp", 0, "devices.fsdp is 0; give a whole number of at least 1"),
    ("landmarks", "size", 63, "landmarks.size is 63; give a multiple of 4"),
    ("sample", "steps", 0, "sample.steps"),
    ("sample", "steps", 1, "sample.steps is 1; give 2 or more, as the states between them are trained at"),
    ("sample", "sampler", "ancestral", "sample.sampler is 'ancestral'; give 'dpm++2m' or 'ddim'."),
    ("sample", "reveal", -0.5, "sample.reveal is -0.5; give a share from 0 to 1"),
    ("sample", "temperature", float("inf"), "sample.temperature"),
    ("sample", "consistency", 2.0, "sample.consistency"),
    ("fit", "steps", 0, "fit.steps is 0; give a whole number of at least 1"),
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


def test_pictures_too_small_for_the_perceptual_loss_are_refused():
    config = dataclasses.replace(Config(), data=dataclasses.replace(Config().data, size=16))
    with pytest.raises(BadConfig, match=r"data\.size is 16; give 32 or more, or a train\.perceptual_loss of 0"):
        check_config(config)
    check_config(dataclasses.replace(config, train=dataclasses.replace(config.train, perceptual_loss=0.0)))


def test_references_are_attended_to_by_whole_places():
    model = dataclasses.replace(Config().model, channels=(64, 64), blocks=(1, 1))
    config = dataclasses.replace(Config(), data=dataclasses.replace(Config().data, size=40), model=model)
    with pytest.raises(BadConfig, match=r"data\.size is 40; give a multiple of 16, as references are attended to"):
        check_config(config)
    check_config(dataclasses.replace(config, data=dataclasses.replace(config.data, size=48)))


def test_latents_alone_need_no_state_on_the_course():
    config = dataclasses.replace(Config(), train=dataclasses.replace(Config().train, rollout_fraction=0.0))
    check_config(dataclasses.replace(config, model=dataclasses.replace(config.model, autoencoder="vae")))
    with pytest.raises(BadConfig, match=r"train\.rollout_fraction is 0\.0; give a share"):
        check_config(config)


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


@pytest.mark.parametrize(
    ("recognisers", "said"),
    [
        (("mobilefacenet",), "holds embeddings of the encoder dlib-resnet-v1, and mobilefacenet-ms1m-v1 is asked for"),
        (("arcface",), "'arcface' is no encoder; give 'mobilefacenet', 'mobilefacenet-relu6', 'mobileface', 'dlib' or"),
        (("dlib", "dlib"), "name one or more, each once"),
        ((), "name one or more, each once"),
    ],
)
def test_recognisers_that_are_none_or_not_the_data_sets_are_refused(recognisers, said, dlib_faces, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from idfsr_jax.config import *\n"
        f"config = Config(data=DataConfig(dataset={str(dlib_faces)!r}), "
        f"model=ModelConfig(recognisers={recognisers!r}), "
        f"train=TrainConfig(out={str(tmp_path / 'run')!r}, identity_losses={(0.5,) * len(recognisers)!r}))"
    )
    assert cli.main(["train", str(path)]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint and complaint.count("\n") == 1
    assert recognisers != ("mobilefacenet",) or "`idfsr prepare --encoder mobilefacenet`" in complaint
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.fixture(scope="module")
def dlib_faces(tmp_path_factory):
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
    model = dataclasses.replace(Config().model, autoencoder="vae", latent_reduction=8)
    config = dataclasses.replace(Config(), data=dataclasses.replace(Config().data, size=64))
    check_config(config)
    with pytest.raises(BadConfig, match=r"data\.size is 64; give a multiple of 128, .* and 8 pixels to a latent"):
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
