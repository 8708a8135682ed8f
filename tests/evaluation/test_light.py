"""The benchmark of other light changes what it says, and compares what it should."""

import numpy as np
import pytest

from benchmarks import light
from idfsr_jax.evaluation.study import cases_of


class Judge:
    """Sees a picture's mean colours."""

    title = "colours"

    def embed(self, pictures, landmarks):
        means = np.asarray(pictures).mean(axis=(1, 2)) + 1.0
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def test_light_is_changed_where_it_is_linear():
    image = np.array([[[188, 188, 188], [255, 0, 0]]], np.uint8)[None]
    np.testing.assert_array_equal(light.lit(image, np.eye(3)), image)
    # 188 of sRGB is half of the light, a quarter is 137.
    np.testing.assert_array_equal(light.lit(image, light.LIGHTS["a half"])[0, 0, 0], [137] * 3)
    np.testing.assert_array_equal(light.lit(image, light.LIGHTS["double"])[0, 0, 0], [255] * 3)
    assert np.ptp(light.lit(image, light.LIGHTS["grey"])) == 188 - 127


def test_colours_are_compared_at_four_places_of_the_face(study):
    records = [0, 1]
    pictures, points = study.images[records], study.index.landmarks[records]
    assert not light.colour_differences(pictures, pictures, points).any()
    brighter = light.colour_differences((pictures // 2).astype(np.uint8), pictures, points)
    assert brighter.shape == (2, 4) and np.all(brighter > 5)


@pytest.mark.parametrize("on", ["input", "photographs"])
def test_the_light_falls_on_one_side_alone(study, restorer, on):
    cases = cases_of(study.protocol, 8, "area")
    inputs, photographs = [case.photo for case in cases], list(cases[0].person.photographs)
    photos = inputs if on == "input" else photographs
    dark = light.lit_study(study, photos, light.LIGHTS["a quarter"], restorer if on == "photographs" else None)
    changed = [record for record in range(len(study.index)) if np.any(dark.images[record] != study.images[record])]
    assert changed == sorted(study.records(photos))
    moved = np.abs(dark.index.embeddings - study.index.embeddings).max(axis=1) > 1e-3
    assert list(np.flatnonzero(moved)) == (changed if on == "photographs" else [])
    found = light.scores(restorer, Judge(), dark, cases)
    assert 0 < found["median"] <= found["nine"] and 0.5 < found["identity"] <= 1
