"""Models of several recognisers are measured through the product: what a report says is what a user gets."""

from dataclasses import replace

import numpy as np
import pytest

from idfsr_jax.data.index import load_index
from idfsr_jax.evaluation.judges import Judge
from idfsr_jax.evaluation.measure import RealVectors, measure, mouth_distances, mouth_nearer, stranger_cosines
from idfsr_jax.evaluation.methods import Method, methods_of, restore
from idfsr_jax.evaluation.people import crops_of, fit_one, start_of, stranger
from idfsr_jax.evaluation.protocol import make_protocol
from idfsr_jax.evaluation.study import cases_of, load_study, low_resolution
from idfsr_jax.pictures import to_uint8
from idfsr_jax.recognition import photograph_descriptors
from idfsr_jax.restorer import Restorer


@pytest.fixture(scope="module")
def restorer(tiny_model):
    return Restorer.load(tiny_model, devices=1)


@pytest.fixture(scope="module")
def study(restorer, tmp_path_factory, write_faces):
    folder = write_faces(tmp_path_factory.mktemp("people"), restorer.model.encoder, length=320, lower=0.06)
    protocol = make_protocol(load_index(folder, "val"), "val", name="people", counts=(1, 3), scales=(4, 8))
    study = load_study(protocol, folder, restorer.config.data.size, restorer.config.data.scales)
    # A data set holds the descriptors that the product finds in its photographs.
    crops = crops_of(study, study.index.photos)
    found = [photograph_descriptors(recogniser, crops) for recogniser in restorer.recognisers]
    return replace(study, index=replace(study.index, embeddings=np.concatenate(found, axis=1)))


@pytest.fixture(scope="module")
def cases(study):
    return cases_of(study.protocol, 4, "area")


@pytest.mark.parametrize("reference", [True, False])
def test_a_report_measures_what_a_user_gets(restorer, study, cases, reference):
    method = Method("m", photographs=3, identity="unfitted", reference=reference, consistency=1.0)
    measured = to_uint8(restore(method, cases, study, restorer, {}))
    inputs = to_uint8(low_resolution(study, cases))
    for case, y, image in zip(cases, inputs, measured, strict=True):
        photos = case.person.photographs[:3]
        identity = start_of(study, photos, restorer)
        given = crops_of(study, photos) if reference else []
        (expected,) = restorer.restore(y, identity, given, seed=case.seed, consistency=1.0).images
        assert np.abs(image.astype(int) - expected).max() <= 1


def test_every_kind_of_identity_gives_another_picture(restorer, study, cases):
    fitted = {person.name: fit_one(study, person.photographs, restorer) for person in study.protocol.people}
    embedding, offsets, _ = fitted[cases[0].person.name]
    fitted[cases[0].person.name] = embedding, offsets + np.float32(1.0), np.zeros(0, np.float32)
    kinds = ("unfitted", "fitted", "truth", "swapped", "none")
    pictures = [restore(Method(kind, identity=kind), cases[:1], study, restorer, fitted) for kind in kinds]
    for i, one in enumerate(pictures):
        for other in pictures[i + 1 :]:
            assert np.any(one != other)


def test_the_identity_that_is_swapped_in_is_anothers(study, cases):
    for case in cases:
        assert not set(stranger(study.protocol, case.person)) & {*case.person.photographs, *case.person.restored}
    names = [method.name for method in methods_of(study.protocol, "standard", {}, 2)]
    assert {"another's identity", "another's identity, no reference", "unfitted, no reference"} <= set(names)


def test_how_like_another_a_result_is(study, cases):
    vectors = np.eye(len(study.index), 8, dtype=np.float32) + 0.1
    real = RealVectors(Judge("j", lambda images, landmarks: images), vectors)
    after = {"Ada": "Bo", "Bo": "Cleo", "Cleo": "Ada"}
    people = {person.name: person for person in study.protocol.people}
    others = [people[after[case.person.name]].photographs[:3] for case in cases]
    results = np.stack([vectors[study.records(photos)].mean(axis=0) for photos in others])
    results /= np.linalg.norm(results, axis=1, keepdims=True)
    np.testing.assert_allclose(stranger_cosines(results, cases, study, real, 3), 1.0, atol=1e-6)


def test_mouths_are_compared_apart_from_the_head(study, cases, face_crop):
    truth = face_crop.landmarks[None]
    turned = truth @ np.array([[0.8, 0.1], [-0.1, 0.8]], np.float32) + np.float32(0.1)
    np.testing.assert_allclose(mouth_distances(turned, truth), 0.0, atol=1e-5)
    open_wide = truth.copy()
    open_wide[:, 48:, 1] += 0.05
    between_eyes = np.linalg.norm(truth[0, 36] - truth[0, 45])
    np.testing.assert_allclose(mouth_distances(open_wide, truth), 0.05 / between_eyes, rtol=1e-4)


def test_a_mouth_counts_where_the_references_is_another_and_a_lost_face_counts_against(study, cases):
    found = mouth_nearer(np.zeros(len(cases), np.float32), cases, study, 3)
    lost = mouth_nearer(np.full(len(cases), np.nan, np.float32), cases, study, 3)
    told = ~np.isnan(found)
    assert told.any()
    assert set(found[told]) == {1.0} and set(lost[told]) == {0.0}
    worse = mouth_nearer(np.full(len(cases), 0.9, np.float32), cases, study, 3)
    assert set(worse[told]) == {0.0}
    np.testing.assert_array_equal(np.isnan(lost), ~told)


def test_all_metrics_are_there(study, cases, restorer):
    truth = study.images[study.records([case.photo for case in cases])]
    scores, _ = measure((truth / 127.5 - 1.0).astype(np.float32), cases, study, [], 3)
    assert {"mouth_error", "mouth_nearer", "landmark_error", "psnr_face"} <= set(scores)
    assert all(len(values) == len(cases) for values in scores.values())
