"""Methods are measured through the product: what a report says is what a user gets."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.evaluation import restoring
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.parts import fitted_people
from idfsr_jax.evaluation.protocol import swap_partners
from idfsr_jax.evaluation.restoring import conditions, fit, restore
from idfsr_jax.evaluation.study import cases_of, low_resolution
from idfsr_jax.io.images import to_uint8


@pytest.fixture(scope="module")
def cases(study):
    return cases_of(study.protocol, 4, "area")


def levels(images):
    return to_uint8(images).astype(int)


def test_enlargements(study, cases, restorer):
    small = low_resolution(study, cases).y
    for kind, most in (("bicubic", 1), ("lanczos", 0)):
        found = levels(restore(Method(kind, kind), cases, study, restorer, {}))
        resampling = Image.Resampling[kind.upper()]
        expected = [np.asarray(Image.fromarray(each).resize((32, 32), resampling), int) for each in small]
        assert np.abs(found - np.stack(expected)).max() <= most


@pytest.mark.parametrize("references", [None, 0])
def test_a_report_measures_what_a_user_gets(restorer, study, cases, references):
    method = Method("m", photographs=3, identity="unfitted", references=references)
    some = [replace(case, seed=place) for place, case in enumerate(cases)]
    measured = levels(restore(method, some, study, restorer, {}))
    inputs = low_resolution(study, some).y
    for case, y, image in zip(some, inputs, measured, strict=True):
        crops = study.crops(case.person.photographs[:3])
        identity = restorer.fit(crops)
        given = crops if references is None else []
        (expected,) = restorer.restore(y, identity, given, seed=case.seed).images
        assert np.abs(image - expected).max() <= 1


def test_what_a_model_may_know(study, cases, restorer):
    case = cases[0]
    given = low_resolution(study, [case])

    def condition(method, fitted=None):
        return conditions(method, [case], study, restorer, fitted or {}, given)[0]

    def mean(photos):
        vectors = study.index.embeddings[study.records(photos)] - restorer.model.center
        parts = [vectors[:, :128], vectors[:, 128:]]
        means = [np.mean([row / np.linalg.norm(row) for row in part], axis=0) for part in parts]
        return np.concatenate([each / np.linalg.norm(each) for each in means])

    own, other = case.person.photographs, swap_partners(study.protocol)[case.person.name].photographs
    for kind, photos in (("unfitted", own[:2]), ("truth", (case.photo,)), ("swapped", other[:2])):
        seen = condition(Method("m", photographs=2, identity=kind))
        np.testing.assert_allclose(seen.identity[0], mean(photos), atol=1e-5)
        assert seen.identity_present[0] == 1.0
    e = np.full(320, 0.1, np.float32)
    fitted = condition(Method("f"), {case.person.name: e})
    np.testing.assert_array_equal(fitted.identity[0], e)
    assert condition(Method("n", identity="none")).identity_present[0] == 0.0
    shown = condition(Method("s", identity="swapped"))
    bare = condition(Method("r", identity="swapped", references=0))
    assert np.any(shown.valid) and not np.any(bare.valid) and not np.any(bare.references)
    # The face's proportions are the own ones also where nothing else of the person is shown.
    np.testing.assert_allclose(bare.pose, condition(Method("u", identity="unfitted")).pose, atol=1e-6)


def test_references_are_named_the_nearest_first(study, cases, restorer):
    given = low_resolution(study, cases)
    method = Method("m", photographs=3, identity="unfitted")
    condition, references = conditions(method, cases, study, restorer, {}, given)
    for case, records, units in zip(cases, references, condition.reference_identities, strict=True):
        assert set(records) <= set(study.records(case.person.photographs[:3])) and records
        first = study.index.embeddings[records[0]] - restorer.model.center
        np.testing.assert_allclose(units[0, :128], first[:128] / np.linalg.norm(first[:128]), atol=1e-5)


def test_a_reference_is_pasted_as_it_is_or_in_the_light_of_the_face(study, cases, restorer):
    given = low_resolution(study, cases)
    seen, _ = conditions(Method("u", identity="unfitted"), cases, study, restorer, {}, given)
    plain, toned = (
        restore(Method(kind, kind, 5, "unfitted"), cases, study, restorer, {}) for kind in ("pasted", "toned")
    )
    np.testing.assert_allclose(toned, seen.guess, atol=1e-6)
    inside = np.asarray(seen.mask * seen.valid[:, 0])[..., 0]
    assert (inside > 0.999).any() and (inside == 0).any()
    np.testing.assert_allclose(plain[inside > 0.999], np.asarray(seen.references)[:, 0][inside > 0.999], atol=2e-3)
    np.testing.assert_allclose(plain[inside == 0], np.asarray(given.y_up)[inside == 0], atol=1e-6)


def test_a_third_of_the_mean_of_the_other_references_is_mixed_in(study, cases, restorer):
    given = low_resolution(study, cases)
    seen, _ = conditions(Method("u", identity="unfitted"), cases, study, restorer, {}, given)
    found = restore(Method("m", "mixed", 5, "unfitted"), cases, study, restorer, {})
    references, valid = np.asarray(seen.references), np.asarray(seen.valid)[..., 0]
    inside = np.asarray(seen.mask)[..., 0] * valid[:, 0] > 0.999
    counts = (valid[:, 1:] > 0.999).sum(axis=1)
    for others in (0, 1):
        places = inside & (counts == others) & (valid[:, 1:].sum(axis=1) == others)
        nearest, second = references[:, 0][places], references[:, 1][places]
        expected = nearest if others == 0 else (2 * nearest + second) / 3
        assert places.any()
        np.testing.assert_allclose(found[places], expected, atol=3e-3)


def test_every_kind_of_identity_gives_another_picture(restorer, study, cases):
    photos, config = cases[0].person.photographs, restorer.config
    embedding = fit(photos, study, restorer, config)
    fitted = {case.person.name: embedding + np.float32(0.02) for case in cases}
    kinds = ("unfitted", "fitted", "truth", "swapped", "none")
    methods = [Method(kind, identity=kind) for kind in kinds]  # as above: compiled already
    pictures = [restore(method, cases, study, restorer, fitted)[0] for method in methods]
    for i, one in enumerate(pictures):
        for other in pictures[i + 1 :]:
            assert np.any(one != other)


def test_people_are_fitted_as_the_product_fits_and_once(restorer, study, tmp_path, monkeypatch):
    asked = []

    def fitted_to(model, recognisers, crops, units, config):
        asked.append((len(crops), config.fit.steps))
        return None, units.sum(axis=0), None

    monkeypatch.setattr(restoring, "fit_person", fitted_to)
    told = []
    method = Method("m", photographs=2, fit_steps=7)
    first = fitted_people(method, study, restorer, tmp_path, lambda: told.append(None))
    assert asked == [(2, 7), (2, 7), (1, 7)] == asked and len(told) == 3
    np.testing.assert_allclose(np.linalg.norm(first["Cleo"][:128]), 1.0, atol=1e-5)
    again = fitted_people(method, study, restorer, tmp_path)
    assert len(asked) == 3
    for name, identity in first.items():
        np.testing.assert_array_equal(again[name], identity)
    fitted_people(Method("m", photographs=2), study, restorer, tmp_path)
    assert asked[3:] == [(2, 0), (2, 0), (1, 0)]  # the tiny model's own number of steps


def test_a_method_may_have_its_own_number_of_steps(restorer, study, cases, monkeypatch):
    seen = []

    def sampled(denoiser, condition, keys, config, *_, **__):
        seen.append(config)
        return np.zeros((len(keys), 32, 32, 3))

    monkeypatch.setattr(restoring, "sample_many", sampled)
    restore(Method("o", identity="truth", steps=5), cases, study, restorer, {})
    own = restorer.config
    assert seen == [replace(own, sample=replace(own.sample, steps=5))] != [own]
