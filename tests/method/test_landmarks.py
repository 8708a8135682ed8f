"""LandmarkNet with the person's shape: what a shape keeps, where the net begins, and that it learns."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.transform import SimilarityTransform

from idfsr_jax.config import LandmarkConfig
from idfsr_jax.data.augment import FLIP_68
from idfsr_jax.data.faces import Faces
from idfsr_jax.data.index import Index
from idfsr_jax.method.landmarks import (
    EYES,
    MEAN_SHAPE,
    MOUTH,
    RIGID,
    LandmarkNet,
    aligned_shapes,
    estimate_landmarks,
    expression_errors,
    init_landmark_net,
    move_shape,
    person_shape,
    point_errors,
    turn,
)
from idfsr_jax.training.landmarks import draw_batches, landmark_loss, train_landmark_net

TINY = LandmarkConfig(size=32, channels=(4, 4, 4), steps=60, batch=8, learning_rate=3e-3)


def _faces(seed: int, k: int) -> np.ndarray:
    """Plausible faces: the mean shape, disturbed, in the middle of the crop."""
    rng = np.random.default_rng(seed)
    return (0.28 * (MEAN_SHAPE + 0.03 * rng.standard_normal((k, 68, 2))) + [0.5, 0.4]).astype(np.float32)


def _moved(face: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    return SimilarityTransform(scale=scale, rotation=np.deg2rad(degrees), translation=shift)(face).astype(np.float32)


def _arguments(b: int, side: int = 32) -> tuple:
    rng = np.random.default_rng(3)
    y_up = rng.uniform(-1, 1, (b, side, side, 3)).astype(np.float32)
    shape = np.stack([person_shape(_faces(i, 2)) for i in range(b)])
    return jnp.asarray(y_up), jnp.full(b, 8.0), jnp.asarray(shape), jnp.ones(b)


def test_the_mean_shape_is_symmetric_and_of_unit_size():
    np.testing.assert_array_equal(MEAN_SHAPE[FLIP_68] * [-1, 1], MEAN_SHAPE)
    np.testing.assert_array_equal(MEAN_SHAPE[[36, 45]], [[-0.5, 0.0], [0.5, 0.0]])


def test_a_shape_does_not_feel_where_how_large_and_how_turned_a_face_was():
    faces = _faces(0, 3)
    moved = [_moved(faces[0], 20, 3.0, (5, -2)), _moved(faces[1], -75, 0.2, (0, 0)), _moved(faces[2], 180, 40, (7, 9))]
    np.testing.assert_allclose(person_shape(np.stack(moved)), person_shape(faces), atol=2e-6)


def test_a_shape_is_the_mean_of_the_faces_moved_as_scikit_image_moves_them():
    faces = _faces(1, 2)
    rigid = list(RIGID)
    each = [SimilarityTransform.from_estimate(face[rigid], MEAN_SHAPE[rigid])(face) for face in faces]
    np.testing.assert_allclose(person_shape(faces), np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_allclose(aligned_shapes(faces), each, atol=1e-6)


def test_the_shape_of_mirrored_photographs_is_the_mirrored_shape():
    faces = _faces(2, 2)
    mirrored = (faces * [-1, 1] + [1, 0])[:, FLIP_68].astype(np.float32)
    np.testing.assert_allclose(person_shape(mirrored), person_shape(faces)[FLIP_68] * [-1, 1], atol=1e-6)


def test_no_photograph_has_no_shape():
    with pytest.raises(ValueError, match="at least one photograph"):
        person_shape(np.zeros((0, 68, 2), np.float32))


def test_moving_a_shape_takes_its_rigid_points_to_the_landmarks():
    face = _faces(4, 1)[0]
    target = _moved(face, 15, 1.5, (0.1, -0.2))
    open_mouth = face.copy()
    open_mouth[55:60, 1] += 0.05
    moved = np.asarray(move_shape(jnp.asarray(open_mouth)[None], jnp.asarray(target)[None]))[0]
    np.testing.assert_allclose(moved, _moved(open_mouth, 15, 1.5, (0.1, -0.2)), atol=1e-6)


def test_errors_are_in_eye_distances_and_an_expression_does_not_feel_the_pose():
    face = _faces(5, 1)[0]
    unit = np.linalg.norm(face[45] - face[36])
    guess = face.copy()
    guess[57] += unit * np.array([0.06, 0.08], np.float32)
    expected = np.zeros(68)
    expected[57] = 0.1
    one = jnp.asarray(face)[None]
    np.testing.assert_allclose(point_errors(jnp.asarray(guess)[None], one)[0], expected, atol=1e-6)
    turned = jnp.asarray(_moved(guess, 30, 1.3, (0.2, 0.1)))[None]
    np.testing.assert_allclose(expression_errors(turned, one)[0], expected, atol=2e-6)
    assert float(point_errors(turned, one).mean()) > 0.1


def test_any_side_goes_and_an_unknown_shape_is_not_looked_at(random_weights):
    y_up, n, shape, known = _arguments(2, side=48)
    params = random_weights(lambda: init_landmark_net(jax.random.key(0), TINY), 0.1)
    told = estimate_landmarks(params, y_up, n, shape, known, TINY)
    assert told.shape == (2, 68, 2) and told.dtype == jnp.float32
    assert np.abs(told - estimate_landmarks(params, y_up, n, shape[::-1], known, TINY)).max() > 1e-4
    unknown = [estimate_landmarks(params, y_up, n, each, 0 * known, TINY) for each in (shape, shape[::-1])]
    np.testing.assert_array_equal(*unknown)
    assert np.abs(told - unknown[0]).max() > 1e-4
    mean = jnp.broadcast_to(jnp.asarray(MEAN_SHAPE), shape.shape)
    assert np.abs(unknown[0] - estimate_landmarks(params, y_up, n, mean, known, TINY)).max() > 1e-4


def test_the_trust_is_in_the_persons_shape():
    """With full trust and no offsets the answer is the person's shape, where the first estimate is."""
    y_up, n, shape, known = _arguments(2)
    params = init_landmark_net(jax.random.key(0), TINY)
    params["points"]["bias"] = ((_faces(9, 1)[0] - 0.5) / 0.1).reshape(-1)
    first = estimate_landmarks(params, y_up, n, shape, known, TINY)
    params["shape"]["points"]["bias"] = jnp.zeros(204).at[:68].set(1.0)
    answer = estimate_landmarks(params, y_up, n, shape, known, TINY)
    np.testing.assert_allclose(answer, move_shape(shape, first), atol=1e-6)


def test_a_turned_shape_is_the_persons_turned_by_the_law():
    """With full trust, and a law that moves the mouth with the nose, the mouth follows the estimate's nose."""
    y_up, n, shape, known = _arguments(2)
    nose, mouth = 2 * RIGID.index(30), 2 * 57
    params = init_landmark_net(jax.random.key(0), TINY)
    params["points"]["bias"] = ((_faces(9, 1)[0] - 0.5) / 0.1).reshape(-1)
    params["shape"]["points"]["bias"] = jnp.zeros(204).at[:68].set(1.0)
    rigid = estimate_landmarks(params, y_up, n, shape, known, TINY)
    first = LandmarkNet(TINY).apply(
        {"params": params | {"shape": jax.tree.map(jnp.zeros_like, params["shape"])}}, y_up, jnp.log2(n), shape, known
    )
    params["shape"]["pose"] = jnp.zeros((26, 136)).at[nose, mouth].set(0.5)
    answer = estimate_landmarks(params, y_up, n, shape, known, TINY)
    turn = aligned_shapes(np.asarray(first))[:, 30, 0] - np.asarray(shape)[:, 30, 0]
    posed = np.asarray(shape).copy()
    posed[:, 57, 0] += 0.5 * turn
    np.testing.assert_allclose(answer, move_shape(jnp.asarray(posed), first), atol=1e-6)
    assert np.abs(answer - rigid).max() > 1e-4


@pytest.fixture
def faces() -> Faces:
    """Two people of three photographs, one of one: a bright face on dark, its landmarks where it is."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (7, 32, 32, 3)).astype(np.uint8)
    landmarks = _faces(0, 7)
    for image, points in zip(images, landmarks, strict=True):
        x, y = (points * 32).astype(int).T
        image[y.clip(0, 31), x.clip(0, 31)] = 220
    names, nothing = tuple("abcdefg"), np.zeros((7, 2, 3), np.float32)
    index = Index(names[:3], np.array([0, 0, 0, 1, 1, 1, 2]), names, landmarks, nothing, nothing[:, 0], "none")
    return Faces(index, images)


def test_a_batch_follows_from_seed_and_step_and_shapes_are_of_others(faces):
    batches, landmarks, person = draw_batches(faces, 64, seed=5), faces.index.landmarks, faces.index.person
    first, second = next(batches), next(batches)
    again = list(itertools.islice(draw_batches(faces, 64, seed=5), 2))[1]
    for name, value in second.items():
        np.testing.assert_array_equal(again[name], value)
    assert not np.array_equal(first["landmarks"], second["landmarks"])
    alone = (first["landmarks"] == landmarks[6]).all(axis=(1, 2))
    assert alone.any() and not first["known"][alone].any()
    # A fifth of the others is unknown: of some 50, 3 to 20.
    assert 3 <= (first["known"][~alone] == 0).sum() <= 20
    shapes = aligned_shapes(landmarks)
    for target, shape in zip(first["landmarks"][first["known"] > 0], first["shape"][first["known"] > 0], strict=True):
        record = int(np.flatnonzero((landmarks == target).all(axis=(1, 2)))[0])
        others = [i for i in range(7) if person[i] == person[record] and i != record]
        candidates = [shapes[others].mean(axis=0), *shapes[others]]
        assert min(np.abs(shape - each).max() for each in candidates) < 1e-6


def test_the_loss_is_zero_for_the_truth_and_counts_mouth_and_eyes_more_than_the_jaw():
    truth = jnp.asarray(_faces(6, 1))
    assert float(landmark_loss(truth, truth)) < 0.01
    off = [landmark_loss(truth.at[:, i].add(0.05), truth) for i in (MOUTH[0], EYES[1], 5)]
    assert min(off[:2]) > off[2] > landmark_loss(truth, truth)
    distance, jaw = point_errors(truth.at[:, 5].add(0.05), truth)[0, 5], off[2] - landmark_loss(truth, truth)
    np.testing.assert_allclose(jaw, distance / 88, rtol=0.03)  # 48 points of weight 1, 20 of the mouth of weight 2


def test_training_lowers_the_loss_and_repeats_itself(faces):
    runs = []
    for _ in range(2):
        losses: list[float] = []
        batches = draw_batches(faces, TINY.batch, 0)
        trained = train_landmark_net(batches, TINY, 0, lambda _, average, loss, to=losses: to.append(loss))
        runs.append((trained, losses))
    (trained, losses), again = runs
    assert len(losses) == TINY.steps
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    jax.tree.map(np.testing.assert_array_equal, (trained, losses), again)


def test_a_face_from_the_front_is_not_turned(face_crop):
    points = face_crop.landmarks.copy()
    along = points[45] - points[36]
    points[33] = (points[36] + points[45]) / 2 + 0.1 * np.array([-along[1], along[0]])
    assert turn(points) < 1e-5
    points[33] = points[45]
    assert abs(turn(points) - 1.0) < 1e-5
