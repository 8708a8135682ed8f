from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.config import Config
from idfsr_jax.evaluation.methods import methods_of
from idfsr_jax.evaluation.study import cases_of, degraded, low_resolution, truths
from idfsr_jax.io.images import to_uint8


def test_cases_are_all_restored_photographs(study):
    cases = cases_of(study.protocol, 8, "area")
    assert [case.photo for case in cases] == [photo for plan in study.protocol.people for photo in plan.restored]
    twice = replace(study.protocol, seeds=(0, 1))
    assert [case.seed for case in cases_of(twice, 8, "area")] == [0, 1] * len(cases)


def test_the_low_resolution_picture_is_the_block_mean(study):
    cases = cases_of(study.protocol, 8, "area")
    truth = study.images[study.record[cases[0].photo]].astype(float)
    expected = truth.reshape(4, 8, 4, 8, 3).mean((1, 3))
    y = low_resolution(study, cases).y
    np.testing.assert_allclose(y[0], expected, atol=0.51)


@pytest.mark.parametrize(
    "setting",
    [(4.5, kind) for kind in ("classical", "camera", "messenger", "surveillance")]
    + [(None, "moderate"), (None, "severe")],
)
def test_what_is_done_to_a_case_is_its_own(study, setting):
    """It depends neither on the other cases nor on the call, and a second seed gives another."""
    some = cases_of(study.protocol, *setting)
    together, alone = low_resolution(study, some), low_resolution(study, some[1:2])
    np.testing.assert_array_equal(together.y[1], alone.y[0])
    again, other = degraded(truths(study, some), some), low_resolution(study, [replace(case, seed=1) for case in some])
    for place, y in enumerate(together.y):
        width = 16 if setting[0] is None else 7  # of 32; FFHQ-Ref's are drawn, and larger than half
        assert y.shape == (width, width, 3) and together.n[place] == width
        np.testing.assert_array_equal(again.y[place], y)
        assert np.abs(other.y[place] - y.astype(float)).max() > 5
        reduced = Image.fromarray(study.images[study.record[some[place].photo]]).resize((width, width), 4)
        assert np.abs(np.asarray(reduced, float) - y).max() > 3
        expected = Image.fromarray(y).resize((32, 32), Image.Resampling.BICUBIC)
        assert np.abs(to_uint8(together.y_up[place]).astype(int) - np.asarray(expected)).max() <= 1


def test_each_picture_of_ffhq_ref_has_its_own_width(study):
    severe = replace(study, images=np.repeat(np.repeat(study.images, 4, axis=1), 4, axis=2))
    given = low_resolution(severe, [replace(case, seed=seed) for seed in range(3)
                                    for case in cases_of(study.protocol, None, "severe")])  # fmt: skip
    assert [len(y) for y in given.y] == given.n.tolist() and len(set(given.n)) > 5
    assert given.n.min() >= 16 and given.n.max() <= 63


def test_the_methods_of_a_group(study):
    protocol = replace(study.protocol, counts=(1, 3, 5))  # Ada has three photographs to fit on
    config = replace(Config(), sample=replace(Config().sample, steps=2), fit=replace(Config().fit, steps=25))
    core = [method.name for method in methods_of(protocol, "core", (), config)]
    pasted = ["pasted reference", "pasted mean", "pasted reference, toned"]
    assert core[:7] == ["bicubic", "lanczos", *pasted, "unfitted", "fitted"]
    everything = {method.name: method for method in methods_of(protocol, "all", ("other",), config)}
    assert len(everything) == len(methods_of(protocol, "all", ("other",), config))
    assert {"no reference", "no identity", "fitted, 1 photograph", "unfitted, 1 photograph"} <= set(everything)
    assert {"another's identity", "another's identity, no reference", "unfitted, no reference"} <= set(everything)
    assert {"fitted, 1 step", "fitted, 20 steps"} <= set(everything) and "fitted, 2 steps" not in everything
    assert {"fitted, 5 fitting steps", "fitted, 50 fitting steps"} <= set(everything)
    assert "fitted, 25 fitting steps" not in everything
    assert everything["fitted"].photographs == 3
    assert [name for name, method in everything.items() if method.applies(None, "severe")] == [
        "bicubic", "pasted reference", "fitted", "other"]  # fmt: skip
    curve = everything["fitted, 1 photograph"]
    assert [person.name for person in curve.people(protocol).people] == ["Ada"]  # the others have fewer than 3
    assert everything["fitted"].people(protocol) == protocol
    assert curve.applies(8, "area") and not curve.applies(8, "classical")
    fits = {name: method.fit for name, method in everything.items()}
    assert fits["fitted"] == fits["no reference"] == ("", 3, None) and fits["other"] == ("other", 3, None)
    assert fits["fitted, 5 fitting steps"] == ("", 3, 5) and fits["fitted, 1 photograph"] == ("", 1, None)
    assert fits["unfitted"] is fits["pasted reference"] is fits["bicubic"] is fits["no identity"] is None
