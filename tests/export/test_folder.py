"""What `idfsr export` writes, used by a process that has JAX and not this package."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export
from PIL import Image
from safetensors.numpy import load_file, save_file

from idfsr_jax import cli
from idfsr_jax.export.folder import write_person
from idfsr_jax.face import read_image, read_metadata, write_image
from idfsr_jax.restore.conditions import shown_photographs
from idfsr_jax.restore.identity import Identity

# Whatever a package of ours or Flax would be needed for fails.
_ALONE = """
import runpy, sys
for name in ("idfsr_jax", "flax", "optax", "dlib", "jaxtyping"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def crops(face_crop):
    """One more than the model takes; the first is the farthest in pose."""
    turned = face_crop.landmarks * np.float32([0.8, 1.0]) + np.float32([0.15, 0.0])
    wide = face_crop.landmarks * np.float32([1.05, 1.0])
    mirrored = np.array(face_crop.image[:, ::-1])
    return [
        replace(face_crop, image=255 - face_crop.image, landmarks=turned),
        replace(face_crop, image=mirrored, landmarks=wide),
        face_crop,
    ]


@pytest.fixture(scope="module")
def person(restorer, crops) -> Identity:
    fitted = restorer.fit(crops)
    moved = np.random.default_rng(2).normal(size=fitted.embedding.shape).astype(np.float32)
    return replace(fitted, embedding=fitted.embedding + 0.03 * moved)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, restorer, tiny_model, crops, person, _astronaut) -> Path:
    """What the command writes, and then a person with more photographs than are at hand as files."""
    folder = tmp_path_factory.mktemp("exported")
    out, identity, photo = folder / "model", folder / "me.safetensors", folder / "photo.png"
    person.save(identity)
    write_image(photo, _astronaut)
    given = ["--weights", tiny_model, "--identity", identity, "--photos", photo, "--out", out]
    assert cli.main(["export", *map(str, given)]) == 0
    assert load_file(out / "person.safetensors")["references"].shape == (1, 32, 32, 3)
    write_person(out / "person.safetensors", restorer.model, person, crops, restorer.units(crops))
    return out


def alone(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-I", "-c", _ALONE, str(folder / "run.py"), *map(str, arguments)]
    cache = str(folder.parent / "cache")  # one program serves all that is asked of it
    environment = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache, "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize(("n", "seed", "consistency", "reveal"), [(9, 0, 0.0, 0.5), (40, 3_000_000_000, 1.0, 0.9)])
def test_a_process_without_this_package_draws_the_same_picture(
    exported, restorer, reduced, crops, person, tmp_path, n, seed, consistency, reveal
):
    write_image(tmp_path / "small.png", reduced(n))
    options = ("--seed", str(seed), "--consistency", str(consistency), "--reveal", str(reveal))
    done = alone(exported, tmp_path / "small.png", "--out", tmp_path / "out.png", *options)
    assert done.returncode == 0, done.stderr
    # What is larger than half of the result is made smaller.
    small = reduced(n) if n <= 16 else np.array(Image.fromarray(reduced(n)).resize((16, 16), Image.Resampling.BOX))
    ours = restorer.restore(small, person, crops, seed=seed, consistency=consistency, reveal=reveal).images[0]
    theirs = read_image(tmp_path / "out.png")
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    said = read_metadata(tmp_path / "out.png")
    assert "synthesised" in said["Description"] and said["idfsr:model"] == restorer.model.digest


def test_a_picture_is_turned_as_its_file_says(exported, reduced, tmp_path):
    upright = Image.fromarray(reduced(9))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned clockwise by a quarter.
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    for name in ("upright", "lying"):
        done = alone(exported, tmp_path / f"{name}.png", "--out", tmp_path / f"{name}-out.PNG")
        assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(*(read_image(tmp_path / f"{name}-out.PNG") for name in ("upright", "lying")))


def test_faces_of_any_width_with_any_photographs_are_restored_together(exported, restorer, reduced, crops, person):
    sampler = jax.jit(export.deserialize(bytearray((exported / "sampler.jax").read_bytes())).call)
    whole = load_file(exported / "person.safetensors")
    # Of the second only the other photograph is there, of the third none; what else is said is not read.
    shown, _ = shown_photographs(person, crops, restorer.units(crops))
    assert len(shown) == 2
    present = np.array([[1, 1], [0, 1], [0, 0]], np.float32)
    inputs = {name: np.stack([array] * 3) for name, array in whole.items()} | {"present": present}
    inputs["landmarks"] = np.where(present[..., None, None] > 0, inputs["landmarks"], np.float32(np.nan))
    widths = (4, 9, 16)
    y = np.full((3, 16, 16, 3), 77, np.uint8)
    for row, n in zip(y, widths, strict=True):
        row[:n, :n] = reduced(n)
    inputs |= {"y": y, "n": np.array(widths, np.int32), "seed": np.uint32(7)}
    inputs |= {"reveal": np.float32(0.7), "consistency": np.float32(1.0)}
    manifest = json.loads((exported / "manifest.json").read_text())
    order = [each["name"] for each in manifest["sampler.jax"]["inputs"]]
    images = np.asarray(sampler(load_file(exported / "sampler.safetensors"), *(inputs[name] for name in order)))
    assert images.shape == (3, 32, 32, 3) and images.dtype == np.uint8
    for image, n, photographs in zip(images, widths, (crops, shown[1:], []), strict=True):
        ours = restorer.restore(reduced(n), person, photographs, seed=7, consistency=1.0, reveal=0.7).images[0]
        assert np.abs(ours.astype(int) - image).max() <= 1


def test_the_manifest_says_what_goes_in(exported, restorer):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["sampler.jax"]["platforms"] == ["cpu", "cuda", "tpu"]
    shapes = {each["name"]: each["shape"] for each in manifest["sampler.jax"]["inputs"]}
    assert shapes["y"] == ["b", 16, 16, 3] and shapes["references"] == ["b", "k", 32, 32, 3] and shapes["seed"] == []
    assert shapes["identity"] == ["b", 320]
    assert set(manifest["sha256"]) == {"sampler.jax", "sampler.safetensors", "run.py"}
    assert manifest["model"] == restorer.model.digest and manifest["steps"] == restorer.config.sample.steps
    assert manifest["widths"] == [4, 16] and manifest["reveal"] == restorer.config.sample.reveal


def test_a_folder_is_described_whole_or_not_added_to(exported, tiny_model, tmp_path, monkeypatch, capsys):
    """An earlier export in the other format."""
    monkeypatch.setattr("idfsr_jax.export.denoiser.export_denoiser", lambda *_: b"a network")
    monkeypatch.setattr("idfsr_jax.export.denoiser.largest_difference", lambda *_: 0.0)
    out = shutil.copytree(exported, tmp_path / "model")
    before = json.loads((out / "manifest.json").read_text())
    command = ["export", "--weights", str(tiny_model), "--out", str(out), "--formats", "onnx"]

    def refused() -> str:
        held = {path: path.read_bytes() for path in out.iterdir()}
        capsys.readouterr()
        assert cli.main([*command, "--steps", "1"]) == 2
        assert {path: path.read_bytes() for path in out.iterdir()} == held
        return capsys.readouterr().err

    assert "holds sampler.jax of another model, version or settings; give --formats jax onnx" in refused()
    assert cli.main(command) == 0
    after = json.loads((out / "manifest.json").read_text())
    assert after["sampler.jax"] == before["sampler.jax"] and "table" in after["denoiser.onnx"]
    assert after["sha256"] == before["sha256"] | {"denoiser.onnx": hashlib.sha256(b"a network").hexdigest()}
    (out / "manifest.json").write_text("{}")
    assert "manifest.json: is damaged, or none that `idfsr export` wrote; give another folder." in refused()


def test_a_run_py_of_somebody_else_stays(tiny_model, tmp_path, capsys):
    (tmp_path / "run.py").write_text("mine")
    assert cli.main(["export", "--weights", str(tiny_model), "--out", str(tmp_path), "--formats", "jax"]) == 2
    assert "run.py: is none that `idfsr export` wrote; give another folder." in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_damage_and_strangers_are_refused_in_a_sentence(exported, reduced, tmp_path):
    write_image(tmp_path / "small.png", reduced(8))
    write_image(tmp_path / "tiny.png", reduced(3))
    write_image(tmp_path / "oblong.png", reduced(8)[:6])
    save_file(load_file(exported / "person.safetensors"), tmp_path / "other.safetensors", {"model": "another"})
    save_file({"embedding": np.ones(3, np.float32)}, tmp_path / "me.safetensors", {"format": "idfsr-identity-4"})
    told = {
        ("small.png", "--person", tmp_path / "other.safetensors"): "exported for another model",
        ("small.png", "--person", tmp_path / "me.safetensors"): "me.safetensors: is an identity; give what",
        ("none.png",): "none.png: No such file or directory.",
        ("small.png", "--out", tmp_path / "none" / "o.png"): "o.png: its folder is not there; make it, or give",
        ("small.png", "--reveal", "-1"): "--reveal -1.0: give a number from 0 to 1",
        ("small.png", "--consistency", "nan"): "--consistency nan: give a number from 0 to 1",
        ("tiny.png",): "tiny.png: is 3 px wide; give a crop of 4 px or more",
        ("oblong.png",): "oblong.png: is 8 x 6 px; give a square crop",
        ("small.png", "--out", tmp_path / "o.jpg"): "o.jpg: a PNG is written; give --out a name that ends in .png.",
        ("small.png", "--out", tmp_path / "link.png"): "link.png: is the picture to restore; give --out another name.",
    }
    (tmp_path / "link.png").symlink_to(tmp_path / "small.png")
    given = (tmp_path / "small.png").read_bytes()
    for (picture, *options), sentence in told.items():
        done = alone(exported, tmp_path / picture, "--out", tmp_path / "o.png", *options)
        assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr
    weights = exported / "sampler.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        done = alone(exported, tmp_path / "small.png", "--out", tmp_path / "o.png")
    finally:
        weights.write_bytes(whole)
    assert done.returncode == 2 and "is damaged" in done.stderr
    assert not (tmp_path / "o.png").exists() and (tmp_path / "small.png").read_bytes() == given
