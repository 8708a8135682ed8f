import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from idfsr_jax.cli import main
from idfsr_jax.evaluation import parts, run
from idfsr_jax.evaluation.judges import Judge, load_judges
from idfsr_jax.evaluation.measure import MOST_PSNR, RealVectors, identity_scores, measure, real_vectors
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.parts import in_batches, part_path, read_part, write_part
from idfsr_jax.evaluation.protocol import PersonPlan, swap_partners
from idfsr_jax.evaluation.study import cases_of
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.io.images import to_float


def strict_json(path: Path) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_whole_evaluation_and_its_resumption(evaluation_config, tmp_path, monkeypatch, capsys):
    # Another system, which made nothing of Bo's picture and left the others as small as they were.
    peer = tmp_path / "peer"
    options = replace(evaluation_config.evaluate, scales=(8,), degradations=("area",), inputs=str(peer))
    run.evaluate(replace(evaluation_config, evaluate=options))
    next((peer / "8x_area_seed0").glob("Bo*")).unlink()
    config = replace(evaluation_config, evaluate=replace(options, inputs="", outputs=(f"small={peer}",)))
    facts = run.evaluate(config)
    assert len(facts["notes"]) == 2 and "small: 1 of 3 pictures of 8x_area_seed0 are missing" in facts["notes"][0]
    printed = capsys.readouterr().out
    assert "8x, area: 3 pictures of 3 people" in printed and "cosine" in printed
    assert "Expression, 8x, area, fitted" in printed and "Photographs, 8x, area, 3 of each of the 1 people" in printed
    out = tmp_path / "report"
    assert strict_json(out / "results.json") == json.loads(json.dumps(facts))
    names = [method["name"] for method in facts["methods"]]
    assert {claim: len(entries) for claim, entries in facts["claims"].items()} == {
        "swap": 0,
        "expression": 2,
        "photographs": 1,
    }
    assert {row["method"] for row in facts["pictures"]} == set(names) and len(facts["pictures"]) == 3 * len(names)
    # All that these metrics promise of the two results that are known.
    score = {(row["method"], row["person"]): row["metrics"] for row in facts["pictures"]}
    assert facts["judges"][0]["title"] == "dlib-resnet-v1 (same network as the condition)"
    assert score["small", "Bo"]["psnr"] < score["bicubic", "Bo"]["psnr"] - 3
    page = html.unescape((out / "report.html").read_text())
    assert all(said in page for said in (*names, *facts["notes"])) and "same network as the condition" in page
    assert {path.stem for path in (out / "figures").iterdir()} == {"landmarks", "warps", "grid_8x_area"}

    kept = {path: path.stat().st_mtime_ns for path in (out / "parts").rglob("*.npz")}
    fits = {path for path in kept if path.parent.name == "fits"}
    assert len(fits) == 3 and len(kept) - len(fits) == 3 * len(names)
    damaged = next(path for path in kept if path.parent.name.startswith("oracle") and path.name.startswith("Bo"))
    damaged.write_bytes(damaged.read_bytes()[:-40])
    restored: list[str] = []
    real = parts.restore
    monkeypatch.setattr(parts, "restore", lambda method, *rest: restored.append(method.name) or real(method, *rest))
    monkeypatch.setattr(parts, "fit", lambda *_: pytest.fail("fitted again"))
    again = run.evaluate(config)
    assert restored == ["oracle identity"] and again == facts
    assert all(path == damaged or path.stat().st_mtime_ns == time for path, time in kept.items())


def test_other_facts_share_no_part(tmp_path):
    assert part_path(tmp_path, "a b", {"x": 1}) != part_path(tmp_path, "a b", {"x": 2})
    assert part_path(tmp_path, "a b", {"x": 1}).name.startswith("a-b-")


def test_another_judge_of_the_same_name_shares_no_part(study, restorer, tmp_path):
    unit = parts.Unit(Method("bicubic", "bicubic"), 8, "area")
    found = []
    for digest, place in (("a", 0), ("b", 1), ("a", 1)):  # The last is not asked again.
        said = np.eye(8, dtype=np.float32)[place]
        judge = Judge("j", lambda images, _, said=said: np.tile(said, (len(images), 1)), digest=digest)
        real = RealVectors(judge, np.tile(np.eye(8, dtype=np.float32)[0], (len(study.index), 1)))
        found.append(parts.measured_unit(unit, study, restorer, {}, [real], tmp_path, 4)["identity/j"].tolist())
    assert found == [[1.0] * 3, [0.0] * 3, [1.0] * 3]


def test_parts_are_read_back_or_not_at_all(tmp_path):
    path = tmp_path / "part.npz"
    assert read_part(path) is None
    arrays = {"identity/some-judge": np.arange(3.0), "images": np.zeros((2, 4, 4, 3), np.uint8)}
    write_part(path, arrays)
    back = read_part(path)
    assert back is not None and set(back) == set(arrays)
    np.testing.assert_array_equal(back["identity/some-judge"], arrays["identity/some-judge"])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    assert read_part(path) is None


def test_people_share_a_batch_as_far_as_it_goes():
    people = [PersonPlan(str(count), ("a",), ("b",) * count) for count in (1, 2, 3, 1, 9, 1)]
    groups = in_batches(people, 4, 1)
    assert [[person.name for person in group] for group in groups] == [["1", "2"], ["3", "1"], ["9"], ["1"]]
    assert [len(group) for group in in_batches(people[:2], 6, 2)] == [2]


def test_options_change_the_protocol(evaluation_config):
    protocol = run.protocol_of(evaluation_config, 32)
    assert (protocol.scales, len(protocol.people), protocol.degradations) == ((8,), 3, ("area", "classical"))
    options = replace(evaluation_config.evaluate, people=2, degradations=("classical",))
    protocol = run.protocol_of(replace(evaluation_config, evaluate=options), 64)
    assert (protocol.scales, len(protocol.people), protocol.degradations) == ((8, 16), 2, ("classical",))
    protocol = run.protocol_of(replace(evaluation_config, evaluate=replace(options, scales=(3, 4.5))), 32)
    assert protocol.scales == (3, 4.5)
    with pytest.raises(BadConfig, match="_val: degradations must be some of area"):
        run.protocol_of(replace(evaluation_config, evaluate=replace(options, degradations=("fog",))), 32)


def test_bad_ablations_are_refused(evaluation_config):
    options = replace(evaluation_config.evaluate, ablations=("no_mask",))
    with pytest.raises(BadConfig, match="'no_mask' is not NAME=FOLDER"):
        run.load_restorers(replace(evaluation_config, evaluate=options))


def test_the_truth_measures_as_perfect(study, restorer):
    judge = real_vectors(load_judges(["dlib"], restorer)[0], study, 4)
    assert judge.vectors.shape == (9, 128)
    cases = cases_of(study.protocol, 8, "classical")
    truth = np.asarray(to_float(study.images[study.records([case.photo for case in cases])]))
    scores, features = measure(truth, cases, study, [judge], 2)
    assert features.shape == (3, 512)
    for name in ("psnr", "psnr_face", "lr_psnr"):
        np.testing.assert_allclose(scores[name], MOST_PSNR)
    np.testing.assert_allclose(scores["identity/dlib-resnet-v1"], 1.0, atol=1e-4)
    np.testing.assert_allclose(scores["copy_paste/dlib-resnet-v1"], -1.0, atol=0.02)
    for name in ("ssim", "ssim_face"):
        np.testing.assert_allclose(scores[name], 1.0, atol=1e-5)
    for name in ("lpips_alex", "lpips_vgg", "lpips_alex_face", "lpips_vgg_face"):
        np.testing.assert_allclose(scores[name], 0.0, atol=1e-6)
    first = cases[0].person.photographs[:2]
    expected = np.mean([judge.vectors[study.record[p]] @ judge.vectors[study.record[cases[0].photo]] for p in first])
    np.testing.assert_allclose(scores["identity_album/dlib-resnet-v1"][0], expected, atol=1e-4)


def test_metrics_of_the_face_see_the_face_only(study):
    cases = cases_of(study.protocol, 8, "area")[:1]
    record = study.record[cases[0].photo]
    spoilt = np.asarray(to_float(study.images[[record]])).copy()
    spoilt[:, :3] = 0.0  # the top rows, above every face
    scores, _ = measure(spoilt, cases, study, [], 2)
    assert scores["psnr"][0] < 40 and scores["psnr_face"][0] == MOST_PSNR
    assert scores["lpips_vgg"][0] > 1e-3 and scores["lpips_vgg_face"][0] < 1e-6


def test_how_like_another_a_result_is(study):
    cases = cases_of(study.protocol, 4, "area")
    vectors = np.eye(len(study.index), 8, dtype=np.float32) + 0.1
    real = RealVectors(Judge("j", lambda images, landmarks: images), vectors)
    others = [swap_partners(study.protocol)[case.person.name] for case in cases]
    results = np.stack([vectors[study.records(other.photographs[:3])].mean(axis=0) for other in others])
    results /= np.linalg.norm(results, axis=1, keepdims=True)
    found = identity_scores(results, cases, study, real, 3)["identity_other/j"]
    np.testing.assert_allclose(found, 1.0, atol=1e-6)
    assert np.all(identity_scores(results[[1, 2, 0]], cases, study, real, 3)["identity_other/j"] < 0.99)


def test_a_photograph_over_again_is_told_from_the_truth(study):
    cases = cases_of(study.protocol, 4, "area")
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0].astype(np.float32)[: len(study.index)]
    real = RealVectors(Judge("j", lambda images, landmarks: images), vectors)
    given = [case.person.photographs[:3] for case in cases]
    for photos, value in (([each[-1] for each in given], 1.0), ([case.photo for case in cases], -1.0)):
        scores = identity_scores(vectors[study.records(photos)], cases, study, real, 3)
        np.testing.assert_allclose(scores["copy_paste/j"], value, atol=1e-5)
    # Photographs past those that the method had are not looked at.
    assert len(given[0]) == 3
    scores = identity_scores(vectors[study.records([each[-1] for each in given])], cases, study, real, 2)
    assert abs(scores["copy_paste/j"][0]) < 1e-5


def test_options_of_sampling_and_fitting_are_for_every_model(restorer):
    own = replace(restorer.config, train=replace(restorer.config.train, identity_losses=(0.1, 0.5)))
    restorer = replace(restorer, model=replace(restorer.model, config=own))
    found = run.changed(restorer, {"sample.steps": 7, "fit.steps": 3})
    assert found.config == replace(own, sample=replace(own.sample, steps=7), fit=replace(own.fit, steps=3))
    assert found.model.digest == restorer.model.digest
    assert run.changed(restorer, {}).config == own
    with pytest.raises(BadConfig, match=r"sample\.steps is 1; give 2 or more"):
        run.changed(restorer, {"sample.steps": 1, "fit.steps": 3})


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A function that gives options to `idfsr evaluate`: its exit code, and what the evaluation was told."""
    seen = []
    monkeypatch.setattr(run, "evaluate", lambda config, changes: seen.append((config, changes)))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tiny.py"
    file.write_text(
        "from idfsr_jax.config import Config, SampleConfig, TrainConfig\n\n"
        "config = Config(sample=SampleConfig(steps=6), train=TrainConfig(rollout_fraction=0.5))\n"
    )

    def ask(*options):
        seen.clear()
        code = main(["evaluate", str(file), *options])
        return code, *(seen or [None])

    return ask


def test_the_options_that_are_given_are_handed_on(asked):
    code, (config, changes) = asked("--sample.temperature", "0.5", "--evaluate.people", "3")
    assert (code, changes, config.evaluate.people) == (0, {"sample.temperature": 0.5}, 3)
    assert asked()[1][1] == {}
    # Also where they say what the file says: the model's folder need not.
    assert asked("--sample.steps=6", "--fit.max-distance=1")[1][1] == {"sample.steps": 6, "fit.max_distance": 1.0}
    # What only training asks for does not matter.
    assert asked("--devices.data", "3")[0] == 0


@pytest.mark.parametrize("option", ["--model.references=2", "--model.patch=2", "--data.clean=0.9",
                                    "--train.steps=9", "--diffusion.timestep-spacing=leading"])  # fmt: skip
def test_an_option_that_would_change_nothing_is_refused(asked, capsys, option):
    assert asked(option) == (2, None)
    name = option.partition("=")[0].replace("-", "_").replace("__", "--", 1)
    assert f"{name}: an evaluation takes this from the model's folder; leave it out." in capsys.readouterr().err
