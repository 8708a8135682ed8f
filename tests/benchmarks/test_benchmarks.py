"""The benchmarks run, in their smallest form, and what they compare is equal."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs a benchmark's `main` with arguments; gives its exit code, what it printed and its JSON."""

    def ran(main, *arguments):
        out = tmp_path / "out.json"
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments), "--out", str(out)])
        code = main()
        return code, capsys.readouterr().out, json.loads(out.read_text())

    return ran


def test_the_unet_of_our_blocks_is_diffusers_unet():
    torch = pytest.importorskip("torch", reason="the peer is PyTorch")
    diffusers = pytest.importorskip("diffusers", reason="the peer is diffusers")
    from benchmarks.flax_unet2d import UNet2D, converted, diffusers_options

    channels, layers, size = (32, 64, 64), 1, 16
    torch.manual_seed(0)
    module = diffusers.UNet2DModel(**diffusers_options(channels, layers, size))
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = module(torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor([10.0, 700.0])).sample.numpy()
    network, times = UNet2D(channels, layers), jnp.array([10.0, 700.0])
    like = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(x), times)["params"]
    params = converted({name: value.numpy() for name, value in module.state_dict().items()}, like)
    ours = network.apply({"params": params}, jnp.asarray(x), times)
    np.testing.assert_allclose(ours, expected.transpose(0, 2, 3, 1), atol=1e-5)


def test_an_album_is_timed_together_and_one_by_one(run, tiny_model):
    from benchmarks import album

    code, printed, facts = run(album.main, "--faces", 3, "--batch", 3, "--rounds", 1, "--weights", tiny_model)
    assert code == 0 and "faces at once" in printed and "8 device(s)" in printed
    assert set(facts["results"]) == {"1", "3", "prepare"} and min(facts["results"].values()) > 0


def test_turns_are_taken_and_the_first_round_does_not_count():
    from benchmarks.table import interleaved, milliseconds

    order: list[str] = []
    seconds = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3 and [len(each) for each in seconds.values()] == [2, 2]
    assert milliseconds([0.001, 0.002, 0.003]) == "2.0 (1.5 to 2.5)"


def test_what_lies_within_a_part_counts_once(monkeypatch):
    from benchmarks import parts

    now = iter([0.0, 1.0, 4.0, 6.0])
    monkeypatch.setattr(parts, "perf_counter", lambda: next(now))
    clock = parts._Clock()
    inner = clock.timed("inner", lambda: clock.add("event", 0.5))
    clock.timed("outer", inner)()
    assert clock.seconds == {"event": 0.5, "inner": 2.5, "outer": 3.0}


def test_the_denoiser_in_onnx_is_timed_against_ours(run, tiny_model):
    pytest.importorskip("jax2onnx", reason="makes the peer")
    pytest.importorskip("onnxruntime", reason="is the peer")
    from benchmarks import onnx_denoiser

    code, printed, facts = run(onnx_denoiser.main, "--weights", tiny_model, "--rounds", 2)
    assert code == 0 and "onnxruntime" in printed
    assert facts["results"]["difference"] < 1e-4 and facts["results"]["ratio"] > 0


def test_whole_photographs_are_made_small_found_and_compared_in_one_frame(run, tiny_model, astronaut, tmp_path):
    from PIL import Image

    from benchmarks import whole_photographs as benchmark
    from idfsr_jax.evaluation.protocol import PersonPlan, Protocol, write_protocol
    from idfsr_jax.face import apply_transform, cut_crop
    from idfsr_jax.restore.restorer import Restorer

    Image.fromarray(astronaut).save(tmp_path / "own.png")
    Image.fromarray(astronaut[:, ::-1]).save(tmp_path / "mirrored.png")
    plan = PersonPlan("Eileen", ("mirrored.png",), ("own.png",))
    write_protocol(tmp_path / "one.json", Protocol("one", "val", (1,), (8,), ("area",), (0,), (plan,)))
    given = ("--photos", tmp_path, "--protocol", tmp_path / "one.json", "--weights", tiny_model)
    code, printed, facts = run(benchmark.main, *given, "--widths", 12)
    (entry,) = facts["results"]
    assert code == 0 and entry["outcomes"] == {"restored": 1} and "| 12 | a box | 1 of 1 | none |" in printed
    assert -1 <= entry["identity"]["mean"] <= 1 and entry["psnr_face"]["mean"] > 0

    restorer, truth = Restorer.load(tiny_model), benchmark.truth_of(tmp_path / "own.png", "Eileen")
    small = benchmark.made_small(truth, 24)
    person = restorer.fit([tmp_path / "mirrored.png"])
    found = benchmark.find(restorer, truth, small, person, [], pointed=True)
    frame = benchmark.frame_in(truth, found)
    same, seen = (np.asarray(each, float) for each in (cut_crop(truth.image, frame, 16), found.face.y))
    assert np.abs(same - seen).mean() < 6 < np.abs(np.roll(same, 1, axis=1) - seen).mean()
    points = apply_transform(frame, benchmark.landmarks_in(truth, frame))
    np.testing.assert_allclose(points, apply_transform(truth.crop.transform, truth.crop.landmarks), atol=1e-2)
    assert benchmark.find(restorer, truth, np.zeros_like(small), person, [], pointed=False) == "no face found"
