"""The finish's training set is what a model makes of photographs, and learning from it is repeatable."""

import contextlib

import jax
import numpy as np
import pytest

from idfsr_jax.data.faces import Faces
from idfsr_jax.data.index import Index
from idfsr_jax.face import resize_crop
from idfsr_jax.method.guidance import make_guide
from tools import finish

BATCH, PEOPLE = 4, (0, 0, 0, 1, 1, 2)


@pytest.fixture(scope="module")
def faces(face_crop, restorer):
    """Six photographs: three, two and one of three people."""
    rng, count, size = np.random.default_rng(0), len(PEOPLE), restorer.config.data.size
    image = resize_crop(face_crop.image, size)
    images = np.clip(image + rng.normal(0, 12, (count, 1, 1, 3)), 0, 255).astype(np.uint8)
    landmarks = face_crop.landmarks + rng.normal(0, 0.01, (count, 68, 2))
    embeddings = rng.normal(size=(count, sum(restorer.sizes)))
    index = Index(
        people=("a", "b", "c"),
        person=np.array(PEOPLE),
        photos=tuple("abcdef"),
        landmarks=landmarks.astype(np.float32),
        frames=np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)),
        embeddings=embeddings.astype(np.float32),
        encoder=restorer.model.encoder,
    )
    return Faces(index, images)


@pytest.fixture(scope="module")
def results(restorer, faces):
    patch = pytest.MonkeyPatch()
    patch.setattr(finish, "BATCH", BATCH)
    patch.setattr(finish, "WIDTHS", (5, 12))
    done = []
    made = finish.results_of(restorer, faces, 6, 0, done.append)
    patch.undo()
    assert done == [4, 6]
    return made


def test_results_are_of_people_of_several_photographs(results, faces, restorer):
    assert {len(rows) for rows in results.values()} == {6}
    shown = {picture.tobytes(): number for number, picture in enumerate(faces.images)}
    assert {shown[picture.tobytes()] for picture in results["truth"]} == {0, 1, 2, 3, 4}
    size = restorer.config.data.size
    assert results["pictures"].shape == (6, size, size, 3) and results["pictures"].std() > 1
    for y, n in zip(results["y"], results["n"], strict=True):
        assert 5 <= n <= 12 and not np.any(y[n:] != y[-1, -1]) and np.any(y[:n, :n] != y[-1, -1])


def test_mirroring_twice_is_nothing(results):
    all_rows = np.ones(6, bool)
    once = finish.mirrored(results, all_rows)
    np.testing.assert_array_equal(once["pictures"], results["pictures"][:, :, ::-1])
    np.testing.assert_allclose(once["landmarks"][:, 36, 0], 1.0 - results["landmarks"][:, 45, 0], rtol=1e-6)
    n = results["n"][0]
    np.testing.assert_array_equal(once["y"][0, :n, :n], results["y"][0, :n, :n][:, ::-1])
    twice = finish.mirrored(once, all_rows)
    for name in ("pictures", "truth", "hidden", "nearest", "seen", "mask", "y"):
        np.testing.assert_array_equal(twice[name], results[name])
    np.testing.assert_array_equal(once["flipped"], all_rows)


def test_training_is_repeatable_and_lowers_the_loss(results, restorer, monkeypatch):
    monkeypatch.setattr(finish, "BATCH", BATCH)
    guide = make_guide(restorer.recognisers, restorer.model.center)
    places = restorer.config.data.size // restorer.config.model.pixels_per_place
    runs: list[list[float]] = []
    for stop in (40, 5):
        losses: list[float] = []
        runs.append(losses)

        def note(step, average, loss, losses=losses, stop=stop):
            losses.append(float(loss))
            if step == stop < 40:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            trained = finish.train(results, guide, places, 40, 1, note)
    assert runs[1] == runs[0][:5]  # which all that four updates changed is in
    assert np.mean(runs[0][35:40]) < 0.97 * np.mean(runs[0][:5])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained))


def test_what_is_not_halves_already_is_not_rounded_to_them():
    whole = {"kernel": np.full((2, 2), 1.001, np.float32), "bias": np.full(2, 1.001, np.float32)}
    half = whole | {"kernel": np.full((2, 2), 1.5, np.float32)}
    assert [finish.precision_of(each) for each in (whole, half)] == ["float32", "bfloat16"]
