"""Other systems in the same tables: what is written for them, and how what they made is read and measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.evaluation import run
from idfsr_jax.evaluation.judges import Judge
from idfsr_jax.evaluation.measure import real_vectors
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.outputs import output_method, write_inputs
from idfsr_jax.evaluation.parts import Unit, measured_unit
from idfsr_jax.evaluation.protocol import read_protocol
from idfsr_jax.evaluation.restoring import restore
from idfsr_jax.evaluation.study import cases_of, low_resolution
from idfsr_jax.io.errors import BadConfig, InputError


def named(photo: str) -> str:
    return photo.replace("/", "__").replace(".jpg", ".png")


@pytest.fixture(scope="module")
def small(study):
    """The study at one scale, clean."""
    return replace(study, protocol=replace(study.protocol, scales=(8,), degradations=("area",)))


@pytest.fixture(scope="module")
def cases(small):
    return cases_of(small.protocol, 8, "area")


@pytest.fixture
def peer(small, cases, tmp_path):
    """Folder of a system that enlarges by Pillow what was written for it."""
    write_inputs(small, tmp_path / "inputs", 2)
    for path in (tmp_path / "inputs" / "8x_area_seed0").iterdir():
        out = tmp_path / "peer" / path.parent.name / path.name
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((32, 32), Image.Resampling.BICUBIC).save(out)
    return tmp_path / "peer"


def test_what_is_written_is_the_protocol(study, tmp_path):
    twice = replace(study, protocol=replace(study.protocol, scales=(8,), seeds=(0, 1)))
    write_inputs(twice, tmp_path, 2)
    assert read_protocol(tmp_path / "protocol.json") == twice.protocol
    settings = [f"8x_{kind}_seed{seed}" for kind in ("area", "classical") for seed in (0, 1)]
    assert {path.name for path in tmp_path.iterdir()} == {"protocol.json", "photographs", "truths", *settings}
    for kind in ("photographs", "restored"):
        folder = tmp_path / kind.replace("restored", "truths")
        photos = [photo for person in twice.protocol.people for photo in getattr(person, kind)]
        assert {path.name for path in folder.iterdir()} == {named(photo) for photo in photos}
        for photo in photos:
            found = np.asarray(Image.open(folder / named(photo)))
            np.testing.assert_array_equal(found, study.images[study.record[photo]])
    for degradation in ("area", "classical"):
        cases = cases_of(twice.protocol, 8, degradation)
        for case, expected in zip(cases, low_resolution(twice, cases).y, strict=True):
            found = np.asarray(Image.open(tmp_path / f"8x_{degradation}_seed{case.seed}" / named(case.photo)), int)
            np.testing.assert_array_equal(found, expected)


def test_a_system_is_measured_as_our_own_methods_are(small, cases, peer, restorer, tmp_path):
    """The same pictures have the same numbers, exactly, and a picture that was changed is measured again.

    Pillow's bicubic rounds to 8 bits between the axes and so differs from ours by one level here and there.
    """

    def pixels(images, landmarks):
        rows = images[:, ::4, ::4].reshape(len(images), -1) - images.mean()
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    judges = [real_vectors(Judge("pixels", pixels), small, 3)]

    def measured(method):
        return measured_unit(Unit(method, 8, "area"), small, restorer, {}, judges, tmp_path / "parts", 3)

    method, notes = output_method("peer", str(peer), small)
    assert notes == []
    own, pillow = measured(Method("bicubic", "bicubic", method.photographs)), measured(method)
    levels = np.abs(own["images"].astype(int) - pillow["images"])
    assert set(own) == set(pillow) and 0 < levels.max() <= 1
    for name in set(own) - {"images", "features", "landmark_error", "expression_error", "expression_kept"}:
        np.testing.assert_allclose(pillow[name], own[name], atol=0.1 if "psnr" in name else 0.01, err_msg=name)
    for case, image in zip(cases, own["images"], strict=True):
        Image.fromarray(image).save(peer / "8x_area_seed0" / named(case.photo))
    again = measured(method)
    for name, values in own.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_a_missing_picture_is_a_failure_and_another_size_is_said(small, cases, peer, restorer):
    folder = peer / "8x_area_seed0"
    whole = restore(Method("peer", "outputs", folder=str(peer)), cases, small, restorer, {})
    (folder / named(cases[0].photo)).unlink()
    large = Image.open(folder / named(cases[1].photo)).resize((64, 64), Image.Resampling.NEAREST)
    large.save(folder / named(cases[1].photo))
    method, notes = output_method("peer", str(peer), small)
    assert notes == [
        "peer: 1 of 3 pictures of 8x_area_seed0 are missing; they are failures, measured as black pictures.",
        "peer: 1 of 3 pictures of 8x_area_seed0 are of another size and were resized to 32 px by Lanczos filtering.",
    ]
    found = restore(method, cases, small, restorer, {})
    np.testing.assert_array_equal(found[0], -1.0)
    np.testing.assert_array_equal(found[1], whole[1])  # each pixel was only doubled
    np.testing.assert_array_equal(found[2], whole[2])


def test_what_cannot_be_read_is_named_before_anything_is_measured(small, cases, peer):
    folder = peer / "8x_area_seed0"
    bad = [folder / named(case.photo) for case in cases[:2]]
    bad[0].write_bytes(bad[0].read_bytes()[:-40])
    Image.new("RGB", (32, 30)).save(bad[1])
    with pytest.raises(InputError) as error:
        output_method("peer", str(peer), small)
    assert str(error.value) == (
        f"{bad[0]}, {bad[1]}: damaged, no picture or not square; replace what is named, or delete it, so that it "
        "counts as a failure."
    )
    wider = replace(small, protocol=replace(small.protocol, seeds=(0, 7)))
    for path in bad:
        path.unlink()
    with pytest.raises(InputError, match="8x_area_seed7: no such folder; put what peer made there"):
        output_method("peer", str(peer), wider)


def test_photographs_that_would_be_one_file_are_refused(small, tmp_path):
    people = small.protocol.people
    first = replace(people[0], photographs=("Ada/a.jpg", "Ada/a.png"))
    study = replace(small, protocol=replace(small.protocol, people=(first, *people[1:])))
    with pytest.raises(BadConfig, match=r"Ada/a\.jpg and Ada/a\.png would be one file"):
        write_inputs(study, tmp_path / "inputs", 2)
    assert not (tmp_path / "inputs").exists()


def test_the_option_writes_the_inputs_and_measures_nothing(evaluation_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "load_judges", lambda *_: pytest.fail("measured"))
    options = replace(evaluation_config.evaluate, inputs=str(tmp_path / "inputs"), people=1)
    assert run.evaluate(replace(evaluation_config, evaluate=options)) == {}
    assert len(list(Path(tmp_path, "inputs", "8x_area_seed0").iterdir())) == 1
    assert not (tmp_path / "report").exists() and str(tmp_path / "inputs") in capsys.readouterr().err.replace("\n", "")
    for outputs, said in ((("peer",), "evaluate.outputs: 'peer' is not NAME=FOLDER"),
                          ((f"bicubic={tmp_path / 'inputs'}",), "bicubic: two methods have this name")):  # fmt: skip
        options = replace(evaluation_config.evaluate, outputs=outputs, people=1)
        with pytest.raises(BadConfig, match=said):
            run.evaluate(replace(evaluation_config, evaluate=options))
