import dataclasses
import json
import time

import numpy as np
import pytest

from idfsr_jax.config import DataConfig, ReferenceMixture
from idfsr_jax.data.augment import mirror_landmarks
from idfsr_jax.data.index import FaceImages, load_index
from idfsr_jax.data.pipeline import training_examples
from idfsr_jax.errors import BadConfig, InputError
from idfsr_jax.face import resize_crop


@pytest.fixture
def config(small_dataset) -> DataConfig:
    return DataConfig(dataset=str(small_dataset), size=32, scales=(4, 8), scale_weights=(1.0, 3.0))


def _take(examples, count):
    iterator = iter(examples)
    return [next(iterator) for _ in range(count)]


def _assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_shapes_and_types(config):
    (batch,) = _take(training_examples(config, seed=0, batch=6), 1)
    expected = {
        "target": ((6, 32, 32, 3), np.uint8),
        "target_landmarks": ((6, 68, 2), np.float32),
        "reference": ((6, 32, 32, 3), np.uint8),
        "reference_landmarks": ((6, 68, 2), np.float32),
        "embedding": ((6, 128), np.float32),
        "target_embedding": ((6, 128), np.float32),
        "scale": ((6,), np.int32),
        "record": ((6,), np.int64),
    }
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == expected


def test_resumes_exactly_from_a_tiny_state(config):
    whole = _take(training_examples(config, seed=5, batch=4), 8)
    iterator = iter(training_examples(config, seed=5, batch=4))
    for _ in range(5):
        next(iterator)
    state = json.dumps(iterator.get_state())
    assert len(state) < 200
    fresh = iter(training_examples(config, seed=5, batch=4))
    fresh.set_state(json.loads(state))
    for expected in whole[5:]:
        _assert_equal(next(fresh), expected)


def test_a_seed_fixes_everything_and_threads_change_nothing(config):
    first = _take(training_examples(config, seed=1, batch=4), 6)
    many = _take(training_examples(dataclasses.replace(config, workers=5), seed=1, batch=4), 6)
    other = _take(training_examples(config, seed=2, batch=4), 6)
    for left, right in zip(first, many, strict=True):
        _assert_equal(left, right)
    assert any(np.any(left["record"] != right["record"]) for left, right in zip(first, other, strict=True))


def test_shards_are_the_runs_of_the_whole_batch(config):
    whole = _take(training_examples(config, seed=3, batch=6), 4)
    parts = [_take(training_examples(config, seed=3, batch=6, shard=shard, shards=3), 4) for shard in range(3)]
    for step, expected in enumerate(whole):
        _assert_equal({name: np.concatenate([part[step][name] for part in parts]) for name in expected}, expected)


def test_every_epoch_holds_every_record_once_in_another_order(config):
    index = load_index(config.dataset, "train")
    batches = _take(training_examples(config, seed=0, batch=1), 3 * len(index))
    epochs = np.array([batch["record"][0] for batch in batches]).reshape(3, -1)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(len(index)), (3, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_same_record_is_drawn_anew_in_every_epoch(small_dataset, config):
    batches = _take(training_examples(config, seed=0, batch=1, split="val"), 40)
    scales = [int(batch["scale"][0]) for batch in batches if batch["record"][0] == 0]
    assert set(scales) == {0, 1}


def test_contents_come_from_the_records_named(config):
    config = dataclasses.replace(config, flip=0.5, own_embedding=0.0, reference=ReferenceMixture(0.5, 0.5, 0.0))
    index, images = load_index(config.dataset, "train"), FaceImages(config.dataset, "train")
    pictures = [resize_crop(images.read(record), config.size) for record in range(len(index))]
    flips = 0
    for batch in _take(training_examples(config, seed=7, batch=10), 5):
        for target, points, record, embedding, own, reference_points in zip(
            batch["target"],
            batch["target_landmarks"],
            batch["record"],
            batch["embedding"],
            batch["target_embedding"],
            batch["reference_landmarks"],
            strict=True,
        ):
            flipped = not np.array_equal(points, index.landmarks[record])
            flips += flipped
            np.testing.assert_array_equal(target, pictures[record][:, ::-1] if flipped else pictures[record])
            np.testing.assert_array_equal(own, index.embeddings[record])
            siblings = index.members[index.person[record]]
            if len(siblings) == 2:
                (sibling,) = siblings[siblings != record]
                np.testing.assert_allclose(embedding, index.embeddings[sibling], rtol=1e-6)
            elif len(siblings) == 1:
                np.testing.assert_array_equal(embedding, own)
            # Target and reference are mirrored together or not at all.
            source = mirror_landmarks(reference_points) if flipped else reference_points
            distances = np.abs(index.landmarks - source).max(axis=(1, 2))
            if len(siblings) > 1:  # the others may be their own, slightly moved reference
                assert distances.min() < 1e-6 and np.argmin(distances) != record
    assert 10 < flips < 40


def test_scale_weights_are_honoured(config):
    scales = np.concatenate([batch["scale"] for batch in _take(training_examples(config, seed=0, batch=50), 8)])
    assert abs(np.mean(scales == 1) - 0.75) < 4 * np.sqrt(0.75 * 0.25 / len(scales))


def test_a_split_of_a_single_person(config):
    mixture = ReferenceMixture(same=0.0, other=1.0, own=0.0)
    config = dataclasses.replace(config, reference=mixture, flip=0.0)
    index = load_index(config.dataset, "val")
    for batch in _take(training_examples(config, seed=0, batch=2, split="val"), 3):
        np.testing.assert_array_equal(batch["reference_landmarks"], index.landmarks[1 - batch["record"]])


def test_speed(config):
    """Far below the aim of 150 a second; of processor time, as others may be using the processor too."""
    config = dataclasses.replace(config, size=64)
    iterator = iter(training_examples(config, seed=0, batch=16))
    next(iterator)
    began = time.process_time()
    for _ in range(8):
        next(iterator)
    assert 8 * 16 / (time.process_time() - began) > 15


@pytest.mark.parametrize(
    "change",
    [
        {"scales": (3,), "scale_weights": (1.0,)},
        {"scales": ()},
        {"scale_weights": (1.0,)},
        {"scale_weights": (0.0, 0.0)},
        {"flip": 1.5},
        {"own_embedding": -0.1},
        {"workers": 0},
        {"reference": ReferenceMixture(0.0, 0.0, 0.0)},
    ],
)
def test_senseless_configurations_are_refused(config, change):
    with pytest.raises(BadConfig):
        training_examples(dataclasses.replace(config, **change), seed=0, batch=4)


def test_batches_that_do_not_divide_are_refused(config):
    with pytest.raises(BadConfig):
        training_examples(config, seed=0, batch=5, shards=2)


def test_missing_data_is_refused(config, tmp_path):
    with pytest.raises(InputError, match="idfsr prepare"):
        training_examples(dataclasses.replace(config, dataset=str(tmp_path)), seed=0, batch=4)
    with pytest.raises(InputError, match="it has train, val"):
        training_examples(config, seed=0, batch=4, split="test")
