"""What `idfsr export` writes, used by a process that has JAX and not this package."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.export.folder import write_export, write_person
from idfsr_jax.face import read_image, read_metadata, write_image
from idfsr_jax.identity import Identity
from idfsr_jax.restorer import Restorer

# Whatever a package of ours or Flax would be needed for fails.
_ALONE = """
import runpy, sys
for name in ("idfsr_jax", "flax", "optax", "dlib", "jaxtyping"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def restorer(tiny_model) -> Restorer:
    return Restorer.load(tiny_model)


@pytest.fixture(scope="module")
def crops(face_crop):
    turned = face_crop.landmarks * np.float32([0.8, 1.0]) + np.float32([0.15, 0.0])
    return [replace(face_crop, image=255 - face_crop.image, landmarks=turned), face_crop]


@pytest.fixture(scope="module")
def person(restorer) -> Identity:
    rng = np.random.default_rng(2)
    embedding = rng.normal(size=128).astype(np.float32)
    embedding /= np.linalg.norm(embedding)
    return Identity(embedding, embedding, np.zeros(1, np.float32), 2, restorer.model.encoder, restorer.model.digest)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, restorer, crops, person) -> Path:
    out = tmp_path_factory.mktemp("exported") / "model"
    write_export(out, restorer.model, restorer.config, ["jax"])
    write_person(out / "person.safetensors", restorer.model, person, crops)
    return out


@pytest.fixture(scope="module")
def small(face_crop) -> np.ndarray:
    return np.array(Image.fromarray(face_crop.image).resize((8, 8), Image.Resampling.BOX))


def alone(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-I", "-c", _ALONE, str(folder / "run.py"), *map(str, arguments)]
    environment = {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize(("seed", "consistency"), [(0, 0.0), (3_000_000_000, 1.0)])
def test_a_process_without_this_package_draws_the_same_picture(
    exported, restorer, small, crops, person, tmp_path, seed, consistency
):
    write_image(tmp_path / "small.png", small)
    options = ("--seed", str(seed), "--consistency", str(consistency))
    done = alone(exported, tmp_path / "small.png", "--out", tmp_path / "out.png", *options)
    assert done.returncode == 0, done.stderr
    ours = restorer.restore(small, person, crops, seed=seed, consistency=consistency).images[0]
    theirs = read_image(tmp_path / "out.png")
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    said = read_metadata(tmp_path / "out.png")
    assert "synthesised" in said["Description"] and said["idfsr:model"] == restorer.model.digest


def test_the_manifest_says_what_goes_in(exported, restorer):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["sampler.jax"]["platforms"] == ["cpu", "cuda", "tpu"]
    shapes = {each["name"]: each["shape"] for each in manifest["sampler.jax"]["inputs"]}
    assert shapes["y"] == ["b", 8, 8, 3] and shapes["references"] == ["b", "k", 32, 32, 3] and shapes["seed"] == []
    assert set(manifest["sha256"]) == {"sampler.jax", "sampler.safetensors", "run.py"}
    assert manifest["model"] == restorer.model.digest and manifest["steps"] == restorer.config.sample.steps


def test_damage_and_strangers_are_refused_in_a_sentence(exported, small, tmp_path):
    from safetensors.numpy import load_file, save_file

    write_image(tmp_path / "small.png", small)
    save_file(load_file(exported / "person.safetensors"), tmp_path / "other.safetensors", {"model": "another"})
    told = {
        ("--person", tmp_path / "other.safetensors"): "exported for another model",
        ("--scale", "3"): "--scale 3: give one of 4, 8",
        ("--consistency", "2"): "--consistency 2.0",
    }
    for options, sentence in told.items():
        done = alone(exported, tmp_path / "small.png", "--out", tmp_path / "o.png", *options)
        assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr
    weights = exported / "sampler.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        done = alone(exported, tmp_path / "small.png", "--out", tmp_path / "o.png")
    finally:
        weights.write_bytes(whole)
    assert done.returncode == 2 and "is damaged" in done.stderr
    assert not (tmp_path / "o.png").exists()
