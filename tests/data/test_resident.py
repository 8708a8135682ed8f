"""Examples drawn on the device, against the NumPy functions that draw them on the host."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import DataConfig, ReferenceMixture
from idfsr_jax.data import augment, pairs
from idfsr_jax.data.index import Index
from idfsr_jax.data.pack import PackedSplit
from idfsr_jax.data.pair_tables import pair_tables, similar_records
from idfsr_jax.data.resident import (
    ResidentFaces,
    choose_embedded,
    choose_references,
    draw_batch,
    epoch_records,
    own_references,
    resident_faces,
)
from idfsr_jax.errors import BadConfig
from idfsr_jax.method import references

COUNTS = (4, 1, 9, 2, 1, 7, 3)
DRAWS = 4000


def _index(counts=COUNTS) -> Index:
    rng = np.random.default_rng(0)
    person = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(person)
    return Index(
        people=tuple(f"p{i}" for i in range(len(counts))),
        person=person,
        photos=tuple(f"{i}.jpg" for i in range(n)),
        landmarks=rng.uniform(0.25, 0.75, (n, 68, 2)).astype(np.float32),
        frames=np.tile(np.eye(3, dtype=np.float32)[:2], (n, 1, 1)),
        embeddings=rng.normal(size=(n, 128)).astype(np.float32),
        encoder="test",
    )


def _faces(index: Index, size: int = 16) -> ResidentFaces:
    images = np.random.default_rng(1).integers(0, 256, (len(index), size, size, 3), np.uint8)
    tables = {name: jnp.asarray(table) for name, table in pair_tables(index, 2).items()}
    return ResidentFaces(
        images=jnp.asarray(images),
        landmarks=jnp.asarray(index.landmarks),
        descriptors=jnp.asarray(index.embeddings),
        **tables,
    )


@pytest.fixture(scope="module")
def index():
    return _index()


@pytest.fixture(scope="module")
def faces(index):
    return _faces(index)


@pytest.fixture
def config():
    return DataConfig(size=16, scales=(4, 8), scale_weights=(1.0, 3.0))


def test_the_table_of_similar_poses_is_that_of_nearest_others(index):
    shapes = references.normalised_shapes(index.landmarks)
    table, counts = similar_records(shapes, index.person, 2), pair_tables(index, 1)["similar_count"]
    for record in range(len(index)):
        expected = pairs.nearest_others(shapes, index.person, record)
        assert counts[record] == len(expected)
        np.testing.assert_array_equal(table[record, : len(expected)], expected)


def test_a_single_person_has_nobody_in_a_similar_pose():
    tables = pair_tables(_index((3,)), 1)
    np.testing.assert_array_equal(tables["similar_count"], 0)


@pytest.mark.parametrize("batch", [1, 5, 27, 70])
def test_every_epoch_holds_every_record_once_in_another_order(batch):
    count, epochs = 27, 4
    steps = -(-count * epochs // batch)
    draw = jax.jit(lambda step: epoch_records(jax.random.key(0), step, batch, count))
    stream = np.concatenate([draw(jnp.asarray(step, jnp.int32)) for step in range(steps)])[: count * epochs]
    orders = stream.reshape(epochs, count)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(count), (epochs, 1)))
    assert len({tuple(order) for order in orders}) == epochs


def _frequencies(records, count):
    return np.bincount(np.asarray(records).ravel(), minlength=count) / np.size(records)


@pytest.mark.parametrize("mixture", [(0.5, 0.3, 0.2), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("photographs", [1, 2, 9])
def test_references_are_drawn_as_on_the_host(index, faces, config, mixture, photographs):
    person = COUNTS.index(photographs)
    target = int(index.members[person][0])
    config = dataclasses.replace(config, reference=ReferenceMixture(*mixture))
    chosen, own = jax.jit(choose_references, static_argnums=3)(
        jax.random.key(3), faces, jnp.full(DRAWS, target, jnp.int32), config
    )
    rng, shapes = np.random.default_rng(0), references.normalised_shapes(index.landmarks)
    probabilities = pairs.reference_probabilities(config.reference)
    host = [
        pairs.choose_reference(rng, target, index.person, index.members, shapes, probabilities) for _ in range(DRAWS)
    ]
    expected = _frequencies([record for _, record in host], len(index))
    # Both are samples: four standard deviations of their difference.
    spread = 4 * np.sqrt(2 * np.maximum(expected * (1 - expected), 1e-9) / DRAWS) + 1e-3
    assert np.all(np.abs(_frequencies(chosen, len(index)) - expected) <= spread)
    np.testing.assert_array_equal(np.asarray(own), np.asarray(chosen) == target)


@pytest.mark.parametrize("photographs", [1, 2, 4, 9])
def test_embedded_photographs_are_drawn_as_on_the_host(index, faces, photographs):
    members = index.members[COUNTS.index(photographs)]
    target = int(members[-1])
    records, taken = jax.jit(choose_embedded, static_argnums=3)(
        jax.random.key(4), faces, jnp.full(DRAWS, target, jnp.int32), 0.25
    )
    sets = [tuple(row[counted > 0]) for row, counted in zip(np.asarray(records), np.asarray(taken), strict=True)]
    assert all(len(set(chosen)) == len(chosen) for chosen in sets)
    assert all(chosen == (target,) or target not in chosen for chosen in sets)
    rng = np.random.default_rng(0)
    host = [tuple(pairs.choose_embedded(rng, target, members, 0.25)) for _ in range(DRAWS)]
    for of in (lambda chosen: chosen == (target,), *(lambda chosen, k=k: len(chosen) == k for k in range(1, 6))):
        assert abs(np.mean([of(c) for c in sets]) - np.mean([of(c) for c in host])) < 0.045
    for member in members:
        assert abs(np.mean([member in c for c in sets]) - np.mean([member in c for c in host])) < 0.045


@pytest.fixture
def limits(monkeypatch):
    """A function that sets the limits of movement and colour to zero."""

    def still(*names):
        for name in names:
            monkeypatch.setattr(augment, name, 0.0)

    return still


MOVEMENT = ("MAX_DEGREES", "MAX_LOG_SCALE", "MAX_SHIFT")
COLOUR = ("MAX_LOG_GAMMA", "MAX_LOG_GAIN", "MAX_LOG_CHANNEL_GAIN")


def test_an_own_reference_that_is_not_moved_is_the_mirror_image(index, faces, limits):
    limits(*MOVEMENT, *COLOUR)
    images, points = own_references(jax.random.key(0), faces.images, faces.landmarks)
    np.testing.assert_array_equal(images, faces.images[:, :, ::-1])
    np.testing.assert_allclose(points, augment.mirror_landmarks(faces.landmarks), atol=1e-6)


def test_landmarks_of_an_own_reference_move_with_its_picture(limits):
    """Red and green say where a pixel came from."""
    limits(*COLOUR)
    size, rng = 64, np.random.default_rng(0)
    axis = (np.arange(size) + 0.5) / size
    place = np.stack([*np.meshgrid(axis, axis), np.zeros((size, size))], axis=-1)
    images = np.stack([np.rint(place * 255).astype(np.uint8)] * 8)
    landmarks = rng.uniform(0.3, 0.7, (8, 68, 2)).astype(np.float32)
    moved, points = own_references(jax.random.key(1), jnp.asarray(images), jnp.asarray(landmarks))
    before = landmarks[:, augment.FLIP_68]
    pixel = np.floor(np.asarray(points) * size).astype(int)
    found = np.stack([np.asarray(moved)[i, pixel[i, :, 1], pixel[i, :, 0], :2] for i in range(8)]) / 255
    assert np.abs(found - before).max() < 1.5 / size
    assert np.abs(np.asarray(points) - np.asarray(augment.mirror_landmarks(jnp.asarray(landmarks)))).max() > 2 / size


def test_own_references_are_moved_and_recoloured_as_on_the_host(limits):
    grey, count = np.full((8, 8, 3), 128, np.uint8), 2000
    landmarks = np.random.default_rng(0).uniform(0.3, 0.7, (68, 2)).astype(np.float32)
    rng = np.random.default_rng(1)
    host = [augment.own_reference(rng, grey, landmarks, 8) for _ in range(count)]
    images, points = own_references(
        jax.random.key(2), jnp.asarray(np.stack([grey] * count)), jnp.asarray(np.stack([landmarks] * count))
    )
    for device, reference in (
        (np.asarray(images, float)[:, 4, 4], np.array([image[4, 4] for image, _ in host], float)),
        (np.asarray(images, float)[:, 4, 4, :1] - np.asarray(images, float)[:, 4, 4, 1:],
         np.array([image[4, 4, :1].astype(float) - image[4, 4, 1:] for image, _ in host])),
        (np.asarray(points)[:, 30], np.array([p[30] for _, p in host])),
        (np.asarray(points)[:, 0] - np.asarray(points)[:, 16], np.array([p[0] - p[16] for _, p in host])),
    ):  # fmt: skip
        spread = reference.std(axis=0)
        assert np.all(np.abs(device.mean(axis=0) - reference.mean(axis=0)) < 0.15 * spread)
        np.testing.assert_allclose(device.std(axis=0), spread, rtol=0.08)


def test_a_batch_is_made_of_the_records_named(index, faces, config):
    mixture = ReferenceMixture(0.5, 0.5, 0.0)
    config = dataclasses.replace(config, reference=mixture, own_embedding=0.0)
    target = jnp.asarray(np.arange(600) % len(index), jnp.int32)
    batch = jax.device_get(jax.jit(draw_batch, static_argnums=3)(jax.random.key(5), faces, target, config))
    pictures, flips = np.asarray(faces.images), 0
    for i, record in enumerate(np.asarray(target)):
        flipped = not np.array_equal(batch["target_landmarks"][i], index.landmarks[record])
        flips += flipped
        turn = (lambda image: image[:, ::-1]) if flipped else (lambda image: image)
        np.testing.assert_array_equal(batch["target"][i], turn(pictures[record]))
        np.testing.assert_array_equal(batch["target_embedding"][i], index.embeddings[record])
        siblings = index.members[index.person[record]]
        if len(siblings) == 2:
            expected = index.embeddings[siblings[siblings != record][0]]
            np.testing.assert_allclose(batch["embedding"][i], expected, rtol=1e-6)
        if len(siblings) > 1:  # else their own, slightly moved reference may be among the 600
            points = batch["reference_landmarks"][i]
            points = augment.mirror_landmarks(points) if flipped else points
            distances = np.abs(index.landmarks - points).max(axis=(1, 2))
            source = int(np.argmin(distances))
            assert distances[source] < 1e-6 and source != record
            np.testing.assert_array_equal(batch["reference"][i], turn(pictures[source]))
    assert 240 < flips < 360
    assert abs(np.mean(batch["scale"] == 1) - 0.75) < 0.08


def test_a_key_fixes_a_batch(faces, config):
    draw = jax.jit(draw_batch, static_argnums=3)
    target = jnp.arange(8, dtype=jnp.int32)
    first, again, other = (draw(jax.random.key(seed), faces, target, config) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert np.any(np.asarray(first["embedding"]) != np.asarray(other["embedding"]))


def test_a_pack_that_is_too_narrow_is_refused(index):
    split = PackedSplit(index, 16, np.zeros(0, np.uint8), np.zeros(len(index), np.int64))
    with pytest.raises(BadConfig, match="16 pixels"):
        resident_faces(split, 32)


def test_pictures_that_a_device_cannot_hold_are_refused(index):
    class Small:
        def memory_stats(self):
            return {"bytes_limit": 50_000}

    split = PackedSplit(index, 64, np.zeros(0, np.uint8), np.zeros(len(index), np.int64))
    with pytest.raises(BadConfig, match="the device has"):
        resident_faces(split, 64, Small())
