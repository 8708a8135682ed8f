import numpy as np

from idfsr_jax.evaluation.landmarks import expression_distances, expression_kept, landmark_errors, seen_landmarks
from idfsr_jax.evaluation.metrics import landmark_nme
from idfsr_jax.evaluation.study import cases_of
from idfsr_jax.face import resize_crop
from idfsr_jax.io.images import to_float
from idfsr_jax.method.references import nearest_first


def test_a_face_that_dlib_misses_is_counted(face_crop):
    face = np.asarray(to_float(resize_crop(face_crop.image, 64)))
    images = np.stack([face, np.zeros_like(face)])
    truth = np.stack([face_crop.landmarks] * 2)
    seen = seen_landmarks(images)
    for errors in (landmark_nme(seen, truth), expression_distances(seen, truth)):
        assert errors[0] < 0.1 and np.isnan(errors[1])


def test_expressions_are_compared_apart_from_the_head(face_crop):
    truth = face_crop.landmarks[None]
    turned = truth @ np.array([[0.8, 0.1], [-0.1, 0.8]], np.float32) + np.float32(0.1)
    np.testing.assert_allclose(expression_distances(turned, truth), 0.0, atol=1e-5)
    open_wide = truth.copy()
    open_wide[:, 48:, 1] += 0.05
    between_eyes = np.linalg.norm(truth[0, 36] - truth[0, 45])
    np.testing.assert_allclose(expression_distances(open_wide, truth), 0.05 / between_eyes, rtol=1e-4)


def test_an_expression_counts_where_the_references_is_another_and_a_lost_face_counts_against(study):
    cases = cases_of(study.protocol, 4, "area")
    truth = study.index.landmarks[study.records([case.photo for case in cases])]
    own = [study.index.landmarks[study.records(case.person.photographs[:3])] for case in cases]
    nearest = np.stack([each[nearest_first(face, each)[0]] for face, each in zip(truth, own, strict=True)])
    differ = expression_distances(nearest, truth) >= 0.1
    assert differ.any() and not differ.all()
    for seen, said in ((truth, 1.0), (nearest, 0.0), (np.full_like(truth, np.nan), 0.0)):
        np.testing.assert_array_equal(
            expression_kept(seen, cases, study, 3), np.where(differ, said, np.nan).astype(np.float32)
        )
    for share, said in ((0.4, 1.0), (0.6, 0.0)):
        between = (truth + np.float32(share) * (nearest - truth)).astype(np.float32)
        assert set(expression_kept(between, cases, study, 3)[differ]) == {said}


def test_landmark_net_is_measured_at_every_scale_of_the_protocol(restorer, study):
    errors = landmark_errors(restorer, study)
    assert list(errors) == ["4", "8"]
    for found in errors.values():
        low, high = found["interval"]
        assert found["photographs"] == 3 and 0.0 < low <= found["mean"] <= high
