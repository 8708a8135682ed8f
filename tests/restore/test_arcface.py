"""A model that was trained with ArcFace, and not with the encoder that ships."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from idfsr_jax.cli import main
from idfsr_jax.face import read_image
from idfsr_jax.interop.arcface_weights import read_arcface
from idfsr_jax.io.errors import BadWeights, InputError
from idfsr_jax.method.denoiser import init_denoiser
from idfsr_jax.method.model import save_model
from idfsr_jax.networks.id_encoder import load_id_encoder
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.restorer import Restorer


@pytest.fixture(scope="module")
def arcface_weights(tiny_config, tiny_weights, random_weights):
    """Networks of a model whose identity is ArcFace's 16 numbers."""
    return random_weights(lambda: init_denoiser(jax.random.key(0), tiny_config, (16,)), 0.07), tiny_weights[1]


@pytest.fixture
def arcface_model(tiny_config, arcface_weights, tiny_arcface, tmp_path_factory):
    """A model folder that was trained with ArcFace, and the recogniser's place of then."""
    place = tmp_path_factory.mktemp("then") / "arcface.safetensors"
    shutil.copy(tiny_arcface, place)
    config = replace(tiny_config, model=replace(tiny_config.model, recognisers=(f"arcface:{place}",)))
    folder = tmp_path_factory.mktemp("arcface") / "model"
    name = load_id_encoder(f"arcface:{place}").name
    save_model(folder, config, *arcface_weights, np.zeros(16, np.float32), steps=1, encoder=name)
    return folder, place


def test_an_arcface_model_fits_and_restores(arcface_model, tiny_arcface, restorer, small, crops, tmp_path):
    folder, place = arcface_model
    arcface = Restorer.load(folder)
    person = arcface.fit(crops)
    assert person.embedding.shape == (16,) and person.encoder == load_id_encoder(f"arcface:{place}").name
    vectors = arcface.units(crops)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    person.save(tmp_path / "me.safetensors")
    assert Identity.load(tmp_path / "me.safetensors").encoder == person.encoder
    with pytest.raises(InputError, match="another model"):
        restorer.restore(small, person, crops)
    size = arcface.config.data.size
    assert arcface.restore(small, person, crops).images[0].shape == (size, size, 3)
    # It is told where the recogniser has moved, and takes no other one.
    place.rename(place.with_suffix(".moved"))
    load_id_encoder.cache_clear()
    read_arcface.cache_clear()
    with pytest.raises(BadWeights, match=r"arcface\.safetensors: cannot be read"):
        Restorer.load(folder).fit(crops)
    np.testing.assert_array_equal(Restorer.load(folder, f"arcface:{tiny_arcface}").units(crops), vectors)
    other = tmp_path / "other.safetensors"
    state = load_file(tiny_arcface)
    save_file({**state, "fc.bias": state["fc.bias"] + 1}, other)
    with pytest.raises(InputError, match=r"holds embeddings of the encoder arcface-\w+, and arcface-\w+ is asked for"):
        Restorer.load(folder, f"arcface:{other}").units(crops)
    with pytest.raises(InputError, match=r"holds embeddings of the encoder arcface-\w+, and dlib"):
        Restorer.load(folder, "dlib").units(crops)


def test_the_command_is_told_where_the_recogniser_has_moved(arcface_model, tiny_arcface, crops, place, capsys):
    folder, then = arcface_model
    Restorer.load(folder, f"arcface:{tiny_arcface}").fit(crops).save(place / "me.safetensors")
    then.unlink()
    for cached in (load_id_encoder, read_arcface):
        cached.cache_clear()
    given = ["--weights", folder, "--identity", place / "me.safetensors", "--photos", place / "photo.jpg"]
    command = [str(each) for each in ["restore", place / "small.png", *given, "--out", place / "out.png"]]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "cannot be read" in said and "--encoder" in said
    assert main([*command, "--encoder", f"arcface:{tiny_arcface}"]) == 0
    assert read_image(place / "out.png").shape == (32, 32, 3)
