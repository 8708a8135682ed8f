from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import area_downsample
from idfsr_jax.evaluation.fits import album_of, fit_people
from idfsr_jax.evaluation.methods import Method, condition_of, methods_of, restore, start_identity
from idfsr_jax.evaluation.study import cases_of, degraded, low_resolution, truths
from idfsr_jax.restorer import Restorer
from idfsr_jax.training.fit import fit_identity
from idfsr_jax.weights import load_model


@pytest.fixture(scope="module")
def cases(study):
    return cases_of(study.protocol, 8, "area")


def test_cases_are_all_restored_photographs(study, cases):
    assert [case.photo for case in cases] == [photo for plan in study.protocol.people for photo in plan.restored]
    twice = replace(study.protocol, seeds=(0, 1))
    assert [case.seed for case in cases_of(twice, 8, "area")] == [0, 1] * len(cases)


def test_the_low_resolution_picture_is_the_block_mean(study, cases):
    truth = study.images[study.record[cases[0].photo]].astype(float)
    expected = truth.reshape(4, 8, 4, 8, 3).mean((1, 3))
    np.testing.assert_allclose((np.asarray(low_resolution(study, cases))[0] + 1) * 127.5, expected, atol=0.51)


def test_the_classical_degradation_of_a_case_is_its_own(study):
    """It depends neither on the other cases nor on the call, and a second seed gives another."""
    some = cases_of(study.protocol, 4, "classical")
    together, alone = low_resolution(study, some), low_resolution(study, some[1:2])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)
    np.testing.assert_allclose(degraded(truths(study, some), some), together, atol=1e-5)
    other = [replace(case, seed=1) for case in some]
    assert np.abs(np.asarray(low_resolution(study, other)) - np.asarray(together)).max() > 0.05


def test_enlargements(study, cases, restorer):
    y = np.asarray(low_resolution(study, cases))
    lanczos = restore(Method("lanczos", "lanczos"), cases, study, restorer, {})
    small = np.round((y[0] + 1) * 127.5).astype(np.uint8)
    expected = np.asarray(Image.fromarray(small).resize((32, 32), Image.Resampling.LANCZOS), float)
    np.testing.assert_allclose((lanczos[0] + 1) * 127.5, expected, atol=1e-3)
    bicubic = restore(Method("bicubic", "bicubic"), cases, study, restorer, {})
    for channel in range(3):
        plane = Image.fromarray(y[0, :, :, channel]).resize((32, 32), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(bicubic[0, :, :, channel], np.asarray(plane), atol=1e-4)


def test_no_picture_depends_on_its_batch_or_on_the_devices(study, cases, restorer):
    method = Method("unfitted", photographs=2, identity="unfitted")
    together = restore(method, cases, study, restorer, {})
    alone = restore(method, cases[1:2], study, restorer, {})
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
    one_device = Restorer(restorer.model, devices=1)
    assert (restorer.mesh.size, one_device.mesh.size) == (8, 1)
    np.testing.assert_allclose(restore(method, cases, study, one_device, {}), together, atol=1e-4)
    other = restore(method, [replace(cases[1], seed=1)], study, restorer, {})
    assert np.abs(other - alone).max() > 1e-3


def test_a_consistent_result_downsamples_to_the_input(study, cases, restorer):
    method = Method("consistent", photographs=2, identity="unfitted", consistency=1.0)
    result = restore(method, cases, study, restorer, {})
    y = low_resolution(study, cases)
    np.testing.assert_allclose(area_downsample(jnp.asarray(result), 8), y, atol=1e-3)


def test_identities_and_references(study, cases, restorer):
    model, case = restorer.model, cases[0]
    y = low_resolution(study, [case])

    def condition(method, fitted=None):
        return condition_of(method, [case], study, model, fitted or {}, y)

    def unit(photo):
        return study.index.embeddings[study.record[photo]] - model.center

    mean = np.mean([unit(p) / np.linalg.norm(unit(p)) for p in case.person.photographs[:2]], axis=0)
    unfitted = condition(Method("u", photographs=2, identity="unfitted"))
    np.testing.assert_allclose(unfitted.identity[0], mean / np.linalg.norm(mean), atol=1e-5)
    oracle = condition(Method("o", identity="truth"))
    np.testing.assert_allclose(oracle.identity[0], unit(case.photo) / np.linalg.norm(unit(case.photo)), atol=1e-5)
    e = np.full(128, 0.1, np.float32)
    np.testing.assert_array_equal(condition(Method("f"), {case.person.name: e}).identity[0], e)
    assert condition(Method("n", identity="none")).identity_present[0] == 0.0
    assert oracle.identity_present[0] == 1.0 and np.asarray(oracle.valid).max() == 1.0
    bare = condition(Method("r", identity="truth", reference=False))
    assert np.asarray(bare.valid).max() == 0.0 and np.asarray(bare.reference).max() == 0.0


def test_many_people_are_fitted_as_each_alone(study, restorer):
    """Albums of one, two and three photographs in one go, on eight devices."""
    albums, starts = [], []
    for count, plan in zip((3, 1, 1), study.protocol.people, strict=True):
        albums.append(album_of(study, plan.photographs[:count], restorer.model.center))
        starts.append(start_identity(study, plan.photographs[:count], restorer.model.center))
    model, config = restorer.model, restorer.config
    seen: list[int] = []
    together, losses, kept = fit_people(np.stack(starts), albums, restorer, config, seen.append, keep=(0, 1))
    assert seen == [1, 2] and losses.shape == (2, 3)
    for place, (start, album) in enumerate(zip(starts, albums, strict=True)):
        alone, curve = fit_identity(jnp.asarray(start), album, model.denoiser, restorer.frozen, config)
        np.testing.assert_allclose(together[place], alone, atol=1e-5)
        np.testing.assert_allclose(losses[:, place], curve, rtol=1e-4)
    assert restorer.mesh.size == 8
    np.testing.assert_array_equal(kept[0], np.stack(starts))
    assert np.abs(kept[1] - kept[0]).max() > 1e-4 and np.abs(kept[1] - together).max() > 1e-5


def test_the_methods_of_a_group(study):
    protocol = replace(study.protocol, counts=(1, 3, 5))  # Ada has three photographs to fit on
    core = [method.name for method in methods_of(protocol, "core", {}, 2)]
    pasted = ["pasted reference", "pasted reference, toned"]
    assert core[:6] == ["bicubic", "lanczos", *pasted, "unfitted", "fitted"]
    everything = {method.name: method for method in methods_of(protocol, "all", {}, 2)}
    assert {"no reference", "no identity", "fitted, 1 photograph", "unfitted, 1 photograph"} <= set(everything)
    assert {"fitted, 1 step", "fitted, 20 steps"} <= set(everything) and "fitted, 2 steps" not in everything
    assert len(everything) == len(methods_of(protocol, "all", {}, 2))
    assert everything["fitted"].photographs == 3
    curve = everything["fitted, 1 photograph"]
    assert curve.applies(8, "area") and not curve.applies(8, "classical")


def test_an_ablation_without_identity_is_given_none():
    from idfsr_jax.evaluation.protocol import PersonPlan, Protocol

    protocol = Protocol("p", "val", (1,), (8,), ("area",), (0,), (PersonPlan("a", ("b",), ("c",)),))
    config = Config()
    blind = replace(config, model=replace(config.model, use_identity=False, use_reference=False))
    nameless = replace(config, model=replace(config.model, use_identity=False))
    methods = {m.name: m for m in methods_of(protocol, "core", {"p": blind, "n": nameless, "m": Config()}, 2)}
    assert methods["p"].identity == "none"
    assert methods["n"].identity == "none"
    assert (methods["m"].identity, methods["m"].reference, methods["m"].model) == ("fitted", True, "m")


def test_what_is_pasted_depends_on_the_warp_and_not_on_the_mask_of_the_model(study, cases, tiny_model):
    cases, trained = cases[:2], load_model(tiny_model)
    masked = {
        mask: Restorer(replace(trained, config=replace(trained.config, model=replace(trained.config.model, mask=mask))))
        for mask in ("full", "tone", "none")
    }
    for kind in ("pasted", "toned"):
        full, tone, none = (restore(Method("p", kind, 3), cases, study, each, {}) for each in masked.values())
        np.testing.assert_array_equal(tone, full)
        np.testing.assert_array_equal(none, full)
        assert np.abs(full).max() <= 1.0 + 1e-5 or kind == "toned"
