"""The recogniser's chip, against dlib's own chips and scikit-image's similarity."""

import subprocess
import sys

import dlib
import face_recognition_models
import numpy as np
import pytest
import skimage
import skimage.transform

from idfsr_jax.face import chip


@pytest.fixture(scope="module")
def photograph():
    image = skimage.data.astronaut()
    predictor = dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())
    return image, predictor(image, dlib.get_frontal_face_detector()(image, 0)[0])


def points_of(shape):
    return np.array([(part.x, part.y) for part in shape.parts()], np.float32) + 0.5


def test_transform_is_the_least_squares_similarity(photograph):
    landmarks = points_of(photograph[1]).astype(np.float64)
    used = [*range(27, 55), *range(60, 65)]
    reference = skimage.transform.SimilarityTransform.from_estimate(chip.DLIB_CHIP.positions, landmarks[used])
    np.testing.assert_allclose(chip.chip_transform(landmarks), reference.params[:2], atol=1e-9)


def test_transform_follows_a_similarity_of_the_landmarks():
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(size=(68, 2))
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.7
    moved = chip.chip_transform(landmarks @ turn.T + [3.0, -2.0])
    expected = turn @ chip.chip_transform(landmarks) + [[0, 0, 3.0], [0, 0, -2.0]]
    np.testing.assert_allclose(moved, expected, atol=1e-9)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_chip_equals_dlibs(photograph, factor):
    """At any resolution of the photograph; dlib counts a pixel's centre as whole, we as a half."""
    image, shape = photograph
    size = (512 * factor, 512 * factor)
    image = np.round(255 * skimage.transform.resize(image, size)).astype(np.uint8)
    parts = [dlib.point(round((p.x + 0.5) * factor - 0.5), round((p.y + 0.5) * factor - 0.5)) for p in shape.parts()]
    shape = dlib.full_object_detection(shape.rect, parts)
    dlibs = dlib.get_face_chip(image, shape, size=150, padding=0.25).astype(float)
    landmarks = points_of(shape)
    difference = np.abs(chip.cut_chip(image, landmarks) - dlibs).mean()
    # From a fine photograph dlib takes a blurrier pyramid. A pixel of the chip to the side is 8 off.
    assert difference < (1.0, 1.0, 2.5)[factor - 1]
    assert np.abs(chip.cut_chip(image, landmarks + np.float32([factor, 0])) - dlibs).mean() > 2 * difference


def test_chip_of_a_fine_photograph_is_not_aliased(photograph):
    image, shape = photograph
    landmarks = points_of(shape)
    rng = np.random.default_rng(0)
    noise = rng.integers(-80, 80, (2048, 2048, 3))
    fine = np.clip(np.repeat(np.repeat(image, 4, 0), 4, 1) + noise, 0, 255).astype(np.uint8)
    difference = chip.cut_chip(fine, landmarks * 4).astype(float) - chip.cut_chip(image, landmarks)
    assert difference.std() < 20.0


def test_importing_it_loads_no_jax():
    code = "import sys, idfsr_jax.face.chip; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_arcface_chip_is_insightfaces():
    """scikit-image estimates the similarity from landmarks to template, as insightface has it, whole pixels centred."""
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(20, 200, (68, 2))
    points = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0), *landmarks[[30, 48, 54]]])
    points += 3 * rng.normal(size=(5, 2))  # no similarity fits exactly
    expected = skimage.transform.SimilarityTransform.from_estimate(points - 0.5, chip.ARCFACE_POSITIONS)
    for group, point in zip(chip.ARCFACE_CHIP.groups, points, strict=True):
        landmarks[group] += point - landmarks[group].mean(0)
    matrix = np.vstack([chip.chip_transform(landmarks, chip.ARCFACE_CHIP), [0, 0, 1]])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    np.testing.assert_allclose(np.linalg.inv(matrix), half @ expected.params @ np.linalg.inv(half), atol=1e-9)
