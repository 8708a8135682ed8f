import io
import subprocess
import sys
import textwrap
from collections import Counter

import numpy as np
from PIL import Image

from idfsr_jax.data.index import FaceImages, load_index


def test_round_trip_in_order(small_dataset, train_records):
    index, images = load_index(small_dataset, "train"), FaceImages(small_dataset, "train")
    assert index.encoder == "dlib-resnet-v1"
    assert len(index) == len(images) == len(train_records) == 11
    for position, (identity, record) in enumerate(train_records):
        assert index.people[index.person[position]] == identity
        assert index.photos[position] == record.photo
        np.testing.assert_array_equal(index.landmarks[position], record.landmarks)
        np.testing.assert_array_equal(index.embeddings[position], record.embedding)
        assert images.read(position).shape == (96, 96, 3)


def test_tfds_reads_it_alone_and_without_tensorflow(small_dataset, train_records):
    """In a fresh process that cannot import this package."""
    folder = str(small_dataset / "identity_faces" / "1.1.0")
    script = f"""
        import sys
        sys.modules["idfsr_jax"] = None
        import tensorflow_datasets as tfds
        source = tfds.builder_from_directory({folder!r}).as_data_source("train")
        example = source[4]
        print(len(source), example["identity"].decode(), example["image"].shape, example["source_sha256"].decode())
        print("tensorflow" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=120
    )
    sha256 = train_records[4][1].source_sha256
    assert done.stdout.split() == ["11", "Bo", "(96,", "96,", "3)", sha256, "False"]


def test_pictures_are_stored_as_they_were_encoded(small_dataset, train_records):
    images = FaceImages(small_dataset, "train")
    for position, (_, record) in enumerate(train_records):
        expected = np.array(Image.open(io.BytesIO(record.jpeg)))
        np.testing.assert_array_equal(images.read(position), expected)


def test_a_reduced_reading_is_as_wide_as_asked_and_shows_the_same(small_dataset):
    images = FaceImages(small_dataset, "train")
    whole, half = images.read(0), images.read(0, least_side=40)
    assert half.shape == (48, 48, 3)
    averaged = whole.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - averaged).mean() < 2
    assert images.read(0, least_side=50).shape == images.read(0, least_side=500).shape == (96, 96, 3)


def test_members(small_dataset):
    index = load_index(small_dataset, "train")
    assert Counter(index.person.tolist()) == {i: len(records) for i, records in enumerate(index.members)}
    for position, records in enumerate(index.members):
        assert set(index.person[records]) == {position}
