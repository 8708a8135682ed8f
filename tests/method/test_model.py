import hashlib
import json
import shutil
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from idfsr_jax.io.errors import BadWeights
from idfsr_jax.io.files import write_summed_json
from idfsr_jax.latent.space import autoencoder_of
from idfsr_jax.method.model import load_model, read_description, save_model, shipped_model

FILES = ("denoiser-1.safetensors", "landmark_net.safetensors", "center.safetensors")


@pytest.fixture
def folder(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "model")


def flip_bit(path, byte, bit=0):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def complaint(folder) -> str:
    with pytest.raises(BadWeights) as caught:
        load_model(folder)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and ". " not in text
    return text


def test_a_model_comes_back_as_it_was_saved(tiny_model, tiny_config, tiny_weights):
    model = load_model(tiny_model)
    assert model.config == tiny_config
    assert model.steps == 3
    assert model.center.shape == (320,) and np.any(model.center)
    jax.tree.map(np.testing.assert_array_equal, (model.denoiser, model.landmark_net), tiny_weights)


def test_the_digest_covers_every_file(tiny_model):
    sums = [hashlib.sha256((tiny_model / name).read_bytes()).hexdigest() for name in sorted(FILES)]
    assert load_model(tiny_model).digest == hashlib.sha256("".join(sums).encode()).hexdigest()


def test_a_finish_is_part_of_its_model(tiny_model, tiny_config, tiny_weights, tmp_path):
    model, finish = load_model(tiny_model), {"told": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    assert model.finish is None
    folder = tmp_path / "finished"
    save_model(folder, tiny_config, *tiny_weights, model.center, steps=3, encoder=model.encoder, finish=finish)
    with_it = load_model(folder)
    jax.tree.map(np.testing.assert_array_equal, with_it.finish, finish)
    assert with_it.digest != model.digest
    flip_bit(folder / "finish.safetensors", -1)
    assert str(folder / "finish.safetensors") in complaint(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_flipped_bit_in_the_weights_is_noticed(folder, name, place):
    path = folder / name
    flip_bit(path, round(place * (path.stat().st_size - 1)), bit=3)
    assert str(path) in complaint(folder)


def test_every_flipped_bit_in_the_description_is_noticed_or_says_the_same(folder):
    path = folder / "model.json"
    data, said = path.read_bytes(), read_description(folder)
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.choice(len(data), 300, replace=False):
        flip_bit(path, place, rng.integers(8))
        try:
            assert read_description(folder) == said  # a space instead of a line's end
        except BadWeights as error:
            assert str(folder) in str(error)
            refused += 1
        path.write_bytes(data)
    assert refused > 150


def test_a_description_laid_out_anew_says_the_same(folder):
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(description))
    assert load_model(folder).steps == 3


def test_the_shipped_model_loads_and_its_description_is_guarded():
    assert load_model().steps == read_description(shipped_model())["steps"] > 0


def test_the_weight_of_classifier_free_guidance_that_models_once_had_guides_nobody(folder, tiny_config):
    description = read_description(folder)
    description["config"]["sample"]["guidance"] = 1.0
    write_summed_json(folder / "model.json", description)
    assert load_model(folder).config == tiny_config


def test_a_flipped_bit_in_a_recorded_sum_is_noticed(folder):
    text = (folder / "model.json").read_text()
    recorded = json.loads(text)["sha256"]["denoiser-1.safetensors"]
    other = ("0" if recorded[0] != "0" else "1") + recorded[1:]
    (folder / "model.json").write_text(text.replace(recorded, other))
    assert "model.json: is damaged" in complaint(folder)
    changed = json.loads(text.replace(recorded, other))
    del changed["self_sha256"]
    write_summed_json(folder / "model.json", changed)
    assert "denoiser-1.safetensors: its SHA-256 sum" in complaint(folder)


@pytest.mark.parametrize("name", [*FILES, "model.json"])
def test_a_file_that_is_cut_short_or_missing_is_named(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    assert name in complaint(folder)
    (folder / name).unlink()
    assert name in complaint(folder)


@pytest.mark.parametrize(
    "description",
    [[], "text", {}, {"sha256": {}, "steps": 1}, {"config": {"colour": 1}}, {"config": 3}, {"sha256": []}],
    ids=str,
)
def test_a_description_that_is_none_is_refused(folder, description):
    (folder / "model.json").write_text(json.dumps(description))
    assert "model.json" in complaint(folder)
    if isinstance(description, dict):
        write_summed_json(folder / "model.json", {"sha256": {}, "steps": 1, "config": {}} | description)
        assert "model.json" in complaint(folder)


def test_an_empty_folder_holds_no_model(tmp_path):
    assert "model.json" in complaint(tmp_path / "nothing")


def test_an_interrupted_write_never_passes_for_a_model(tmp_path, tiny_config, tiny_weights, monkeypatch):
    monkeypatch.setattr("idfsr_jax.method.model.write_summed_json", Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_model(tmp_path, tiny_config, *tiny_weights, np.zeros(128, np.float32), steps=1)
    assert (tmp_path / "denoiser-1.safetensors").exists()
    complaint(tmp_path)


def test_an_environment_variable_names_the_model_that_is_loaded_by_default(tiny_model, monkeypatch):
    monkeypatch.setenv("IDFSR_MODEL", str(tiny_model))
    assert shipped_model() == tiny_model
    assert load_model().steps == 3


LATENT_FILES = ("vae/config.json", "vae/diffusion_pytorch_model.safetensors")


@pytest.fixture
def latent_folder(latent_config, latent_denoiser, tiny_weights, tmp_path):
    center = np.zeros(128, np.float32)
    autoencoder = autoencoder_of(latent_config.model)
    folder = tmp_path / "latent"
    save_model(folder, latent_config, latent_denoiser, tiny_weights[1], center, steps=1, autoencoder=autoencoder)
    return folder


def test_a_model_of_latents_carries_its_autoencoder(latent_folder, latent_config, latent_denoiser):
    model = load_model(latent_folder)
    autoencoder = autoencoder_of(latent_config.model)
    jax.tree.map(np.testing.assert_array_equal, model.denoiser, latent_denoiser)
    jax.tree.map(np.testing.assert_array_equal, model.autoencoder, autoencoder)
    names = sorted((*FILES, *LATENT_FILES))
    sums = [hashlib.sha256((latent_folder / name).read_bytes()).hexdigest() for name in names]
    assert model.digest == hashlib.sha256("".join(sums).encode()).hexdigest()


@pytest.mark.parametrize("name", LATENT_FILES)
def test_another_autoencoder_in_a_model_is_noticed(latent_folder, name):
    flip_bit(latent_folder / name, -3, bit=2)
    assert f"{name}: its SHA-256" in complaint(latent_folder)
    (latent_folder / name).unlink()
    assert f"{name}: cannot be read" in complaint(latent_folder)


def test_an_autoencoder_belongs_to_a_model_of_latents_only(tmp_path, tiny_config, tiny_weights, latent_config):
    rest = (tmp_path, tiny_config, *tiny_weights, np.zeros(128, np.float32), 1)
    with pytest.raises(ValueError, match="belongs to a model of latents"):
        save_model(*rest, autoencoder=autoencoder_of(latent_config.model))
    with pytest.raises(ValueError, match="belongs to a model of latents"):
        save_model(tmp_path, latent_config, *tiny_weights, np.zeros(128, np.float32), 1)
    assert not list(tmp_path.iterdir())
