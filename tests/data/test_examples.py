"""Which photographs stand in a training example, what its embedding is of, and that pictures follow their numbers."""

import re

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from idfsr_jax.data.augment import mirror_landmarks
from idfsr_jax.data.examples import (
    LEAST_COSINE,
    MOST_PHOTOGRAPHS,
    OTHER,
    SAME,
    draw_example,
    gather,
    load_people,
    mean_identities,
    training_examples,
    with_pictures,
)
from idfsr_jax.data.faces import Faces, load_faces
from idfsr_jax.data.index import Index
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import MEAN_SHAPE
from idfsr_jax.training.mesh import batch_sharding, global_batch, placed, replicated

SIZES, SIDE, K = (3, 5), 8, 4
COUNTS = (9, 3, 1, 1)


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(len(COUNTS)), COUNTS)
    n = len(person)
    landmarks = (MEAN_SHAPE * 0.3 + 0.5 + rng.normal(size=(n, 68, 2)) * 0.01).astype(np.float32)
    frames = np.tile(np.eye(3, dtype=np.float32)[:2], (n, 1, 1))
    frames[:, 0, 2] = np.arange(n) / 100
    embeddings = rng.normal(size=(n, sum(SIZES))).astype(np.float32)
    names = tuple(f"{p}/{i}" for i, p in enumerate(person))
    index = Index(tuple("ABCD"), person, names, landmarks, frames, embeddings, "some")
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, SIDE, SIDE, 3)).copy()
    images[..., 0, :] = 200  # so that a mirrored picture can be told
    return load_people(Faces(index, images), np.zeros(sum(SIZES)), SIZES, K)


def drawn(people, record, count=400):
    return [draw_example(people, record, np.random.default_rng(seed)) for seed in range(count)]


def references_of(example):
    return example["records"][1:][example["present"] > 0]


def test_a_target_is_never_its_own_reference_or_embedding(people):
    for record in range(len(people.faces.index)):
        for example in drawn(people, record, 40):
            assert example["records"][0] == record
            assert record not in references_of(example)
    own = [np.allclose(example["identity"], people.units[0], atol=1e-3) for example in drawn(people, 0)]
    assert not any(own)


def test_references_are_the_person_s_somebody_else_s_or_none(people):
    person = people.faces.index.person
    kinds = {"same": 0, "other": 0, "none": 0}
    for example in drawn(people, 0, 1000):
        owners = set(person[references_of(example)])
        kinds["none" if not owners else "same" if owners == {0} else "other"] += 1
        assert len(owners) <= 1
    assert kinds["same"] == pytest.approx(1000 * SAME, abs=50)
    assert kinds["other"] == pytest.approx(1000 * OTHER, abs=35)
    single = [set(person[references_of(example)]) for example in drawn(people, 12, 400)]
    assert not any(2 in owners for owners in single)
    assert sum(not owners for owners in single) == pytest.approx(400 * (1 - OTHER), abs=20)


def test_references_are_nearest_in_pose_first(people):
    shapes = people.shapes
    for example in drawn(people, 0, 100):
        distance = np.sum((shapes[references_of(example)] - shapes[0]) ** 2, axis=1)
        assert np.all(np.diff(distance) >= 0)


def test_an_embedding_is_the_mean_of_one_to_five_others(people):
    units, members = people.units, np.arange(9)
    wanted = []
    for example in drawn(people, 0, 60):
        others = unit_parts(units[1:9].mean(axis=0), SIZES)
        np.testing.assert_allclose(example["others"], others, atol=1e-6)
        np.testing.assert_allclose(example["truth"], units[0])
        assert example["several"] == example["known"] == 1.0
        for part in np.split(example["identity"], [SIZES[0]]):
            assert np.linalg.norm(part) == pytest.approx(1.0, abs=1e-5)
        wanted.append(any(np.allclose(example["identity"], units[i], atol=1e-5) for i in members[1:]))
    assert 0 < sum(wanted) < 60  # of one photograph sometimes, of several at other times
    assert MOST_PHOTOGRAPHS == 5


def test_who_has_one_photograph_gets_a_jittered_embedding(people):
    found = []
    for example in drawn(people, 12, 200):
        assert example["several"] == example["known"] == 0.0
        np.testing.assert_allclose(example["shape"], MEAN_SHAPE)
        for part, own in zip(np.split(example["identity"], [3]), np.split(people.units[12], [3]), strict=True):
            assert np.linalg.norm(part) == pytest.approx(1.0, abs=1e-5)
            found.append(part @ own)
    assert np.mean(found) > LEAST_COSINE and np.min(found) < 0.9


def test_pictures_landmarks_and_frames_follow_their_records_and_mirrors(people):
    index = people.faces.index
    examples = [draw_example(people, record, np.random.default_rng(record)) for record in range(14)]
    batch = with_pictures(gather(index, examples), people.faces.images)
    assert {bool(each["flip"]) for each in examples} == {False, True}
    for i, example in enumerate(examples):
        target, points, frame = batch["target"][i], batch["target_landmarks"][i], batch["target_frame"][i]
        if example["flip"]:
            target, points = target[:, ::-1], mirror_landmarks(points)
            np.testing.assert_allclose(frame @ [0.25, 0.5, 1.0], index.frames[i] @ [0.75, 0.5, 1.0], atol=1e-6)
            np.testing.assert_allclose(batch["shape"][i][:, 0].mean(), -example["shape"][:, 0].mean(), atol=1e-6)
        np.testing.assert_array_equal(target, people.faces.images[i])
        np.testing.assert_allclose(points, index.landmarks[i], atol=1e-6)
        assert batch["references"].shape[1:] == (K, SIDE, SIDE, 3)
        seen = batch["references"][i][:, 0, SIDE // 2, 0]
        np.testing.assert_array_equal(seen, example["records"][1:])


def test_the_stream_goes_on_from_its_position_and_is_the_same_in_parts(people):
    whole = iter(training_examples(people, 3, 4))
    first = [next(whole) for _ in range(5)]
    again = iter(training_examples(people, 3, 4))
    next(again), next(again)
    kept = again.get_state()
    other = iter(training_examples(people, 3, 4, threads=1))
    other.set_state(kept)
    np.testing.assert_array_equal(next(other)["references"], first[2]["references"])
    halves = [next(iter(training_examples(people, 3, 4, shard=shard, shards=2))) for shard in range(2)]
    for name, value in first[0].items():
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), value)


def test_pictures_on_the_devices_make_the_same_batches(people):
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "fsdp"))
    images = placed(people.faces.images, replicated(mesh))
    left_out = iter(training_examples(people, 3, 16, pictures=False))
    put_in = jax.jit(with_pictures, out_shardings=batch_sharding(mesh))
    for whole, _ in zip(iter(training_examples(people, 3, 16)), range(3), strict=False):
        batch = next(left_out)
        assert not {"target", "references"} & set(batch) and set(batch["flip"]) == {False, True}
        found = put_in(global_batch(batch, mesh), images)
        assert set(found) == set(whole)
        for name, value in whole.items():
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == jax.dtypes.canonicalize_dtype(value.dtype)


def test_no_picture_leaves_the_devices_that_its_example_is_on(people):
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "fsdp"))
    batch = global_batch(next(iter(training_examples(people, 3, 16, pictures=False))), mesh)
    images = placed(people.faces.images, replicated(mesh))
    program = jax.jit(with_pictures, out_shardings=batch_sharding(mesh)).lower(batch, images).compile().as_text()
    assert not re.search(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter", program)


def test_means_of_people_are_of_all_their_photographs(people):
    means = mean_identities(people)
    np.testing.assert_allclose(means[1], unit_parts(people.units[9:12].mean(axis=0), SIZES), atol=1e-6)
    assert means.shape == (4, 8)


def test_faces_are_decoded_once(small_dataset):
    faces = load_faces(small_dataset, "train", 16)
    assert faces.images.shape == (11, 16, 16, 3)
    (kept,) = (small_dataset / "cache").glob("*-16.npy")
    written = kept.stat().st_mtime_ns
    again = load_faces(small_dataset, "train", 16)
    assert kept.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.images, faces.images)
