from dataclasses import replace

import numpy as np

from idfsr_jax.config import Config
from idfsr_jax.evaluation.methods import methods_of
from idfsr_jax.evaluation.study import cases_of, degraded, low_resolution, truths


def test_cases_are_all_restored_photographs(study):
    cases = cases_of(study.protocol, 8, "area")
    assert [case.photo for case in cases] == [photo for plan in study.protocol.people for photo in plan.restored]
    twice = replace(study.protocol, seeds=(0, 1))
    assert [case.seed for case in cases_of(twice, 8, "area")] == [0, 1] * len(cases)


def test_the_low_resolution_picture_is_the_block_mean(study):
    cases = cases_of(study.protocol, 8, "area")
    truth = study.images[study.record[cases[0].photo]].astype(float)
    expected = truth.reshape(4, 8, 4, 8, 3).mean((1, 3))
    _, y = low_resolution(study, cases)
    np.testing.assert_allclose((np.asarray(y)[0] + 1) * 127.5, expected, atol=0.51)


def test_the_classical_degradation_of_a_case_is_its_own(study):
    """It depends neither on the other cases nor on the call, and a second seed gives another."""
    some = cases_of(study.protocol, 4, "classical")
    (_, together), (_, alone) = low_resolution(study, some), low_resolution(study, some[1:2])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)
    np.testing.assert_allclose(degraded(truths(study, some), some)[1], together, atol=1e-5)
    _, other = low_resolution(study, [replace(case, seed=1) for case in some])
    assert np.abs(np.asarray(other) - np.asarray(together)).max() > 0.05
    _, clean = low_resolution(study, cases_of(study.protocol, 4, "area"))
    assert all(0.02 < np.abs(np.asarray(y) - x).max() for x, y in zip(clean, together, strict=True))


def test_the_methods_of_a_group(study):
    protocol = replace(study.protocol, counts=(1, 3, 5))  # Ada has three photographs to fit on
    config = replace(Config(), sample=replace(Config().sample, steps=2), fit=replace(Config().fit, steps=25))
    core = [method.name for method in methods_of(protocol, "core", (), config)]
    pasted = ["pasted reference", "pasted reference, toned"]
    assert core[:6] == ["bicubic", "lanczos", *pasted, "unfitted", "fitted"]
    everything = {method.name: method for method in methods_of(protocol, "all", ("other",), config)}
    assert len(everything) == len(methods_of(protocol, "all", ("other",), config))
    assert {"no reference", "no identity", "fitted, 1 photograph", "unfitted, 1 photograph"} <= set(everything)
    assert {"another's identity", "another's identity, no reference", "unfitted, no reference"} <= set(everything)
    assert {"fitted, 1 step", "fitted, 20 steps"} <= set(everything) and "fitted, 2 steps" not in everything
    assert {"fitted, 5 fitting steps", "fitted, 50 fitting steps"} <= set(everything)
    assert "fitted, 25 fitting steps" not in everything
    assert everything["fitted"].photographs == 3
    curve = everything["fitted, 1 photograph"]
    assert curve.applies(8, "area") and not curve.applies(8, "classical")
    fits = {name: method.fit for name, method in everything.items()}
    assert fits["fitted"] == fits["no reference"] == ("", 3, None) and fits["other"] == ("other", 3, None)
    assert fits["fitted, 5 fitting steps"] == ("", 3, 5) and fits["fitted, 1 photograph"] == ("", 1, None)
    assert fits["unfitted"] is fits["pasted reference"] is fits["bicubic"] is fits["no identity"] is None
