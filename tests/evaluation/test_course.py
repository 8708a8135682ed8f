from dataclasses import replace

import numpy as np
import pytest

from idfsr_jax.evaluation import course
from idfsr_jax.evaluation.judges import encoder_judge
from idfsr_jax.evaluation.measure import real_vectors


@pytest.fixture(scope="module")
def judge(study, restorer):
    return real_vectors(encoder_judge(restorer.encoder, restorer.model.center), study, 4)


def test_the_course_starts_unfitted_and_resumes_person_by_person(study, restorer, judge, tmp_path, monkeypatch):
    told: list[None] = []
    steps = (0, 1, 3)
    measured = course.fitting_course(restorer, study, 3, judge, tmp_path, lambda: told.append(None), steps)
    assert [entry["step"] for entry in measured] == [0, 1, 3] and len(told) == 3
    assert all(entry[name]["count"] == 3 for entry in measured for name in ("truth", "album"))
    # Fitting did something.
    assert measured[0]["truth"]["mean"] != measured[2]["truth"]["mean"]

    unfitted = replace(restorer, model=restorer.model)
    alone = course.fitting_course(unfitted, study, 3, judge, tmp_path / "alone", steps=(0, 1))
    assert alone[0]["truth"]["mean"] == pytest.approx(measured[0]["truth"]["mean"], abs=1e-5)

    monkeypatch.setattr(course, "fit_people", lambda *_, **__: pytest.fail("fitted again"))
    again = course.fitting_course(restorer, study, 3, judge, tmp_path, steps=steps)
    assert again == measured


def test_the_course_of_more_steps_is_measured_anew(study, restorer, judge, tmp_path):
    one = replace(study, protocol=replace(study.protocol, people=study.protocol.people[:1]))
    course.fitting_course(restorer, one, 3, judge, tmp_path, steps=(0, 1))
    before = set(tmp_path.rglob("*.npz"))
    course.fitting_course(restorer, one, 3, judge, tmp_path, steps=(0, 2))
    assert len(set(tmp_path.rglob("*.npz"))) == 2 * len(before) == 2
    assert np.all([path.stat().st_size > 0 for path in before])
