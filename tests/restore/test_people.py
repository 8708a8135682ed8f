"""Who is restored: an ID embedding of all recognisers, references if there are any, and what was fitted."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.io.errors import InputError, SeveralFaces
from idfsr_jax.io.images import to_float
from idfsr_jax.method.degrade import resampling_tables
from idfsr_jax.method.guidance import likeness
from idfsr_jax.method.landmarks import MEAN_SHAPE
from idfsr_jax.networks.recognisers import dimensions
from idfsr_jax.restore.conditions import cleaned_input
from idfsr_jax.restore.fitting import album_of, fit_person, frozen_of
from idfsr_jax.restore.recognition import SEEN_SIDES
from idfsr_jax.restore.restorer import Restorer

SIZE = 32


def test_a_fit_of_no_steps_is_the_mean_of_the_photographs(restorer, identity, crops):
    parts = np.split(restorer.units(crops).mean(axis=0), [128])
    expected = np.concatenate([part / np.linalg.norm(part) for part in parts])
    np.testing.assert_allclose(identity.embedding, expected, atol=1e-6)
    np.testing.assert_array_equal(identity.start, identity.embedding)
    assert identity.shape.shape == (68, 2) and identity.losses.shape == (0,)


def test_all_pixels_of_an_input_are_used_whatever_its_width(restorer, identity, crops, reduced):
    for n in (4, 7, 15, 16):
        found = restorer.find(reduced(n), identity, crops)
        assert found.face.y.shape == (n, n, 3)
        assert float(found.condition.scale[0]) == pytest.approx(SIZE / n)
    assert restorer.find(reduced(24), identity, crops).face.y.shape[0] == 16
    with pytest.raises(InputError, match="nothing to restore"):
        restorer.find(reduced(40), identity, crops)


def test_the_same_seed_gives_the_same_picture_and_what_is_asked_for_is_said(restorer, small, identity, crops, result):
    (image,) = result.images
    assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(restorer.restore(small, identity, crops).images[0], image)
    assert np.any(restorer.restore(small, identity, crops, seed=1).images[0] != image)
    hidden = restorer.restore(small, identity, crops, reveal=0.0)
    assert np.any(hidden.images[0] != image)
    assert "reveal 0.5" in result.metadata["idfsr:sampler"] and hidden.metadata["idfsr:sampler"].endswith("reveal 0")
    with pytest.raises(InputError, match="from 0 to 1"):
        restorer.restore(small, identity, crops, reveal=1.5)


def test_the_identity_counts(restorer, small, identity, crops, result):
    restored = restorer.restore(small, replace(identity, embedding=-identity.embedding), crops)
    assert np.any(restored.images[0] != result.images[0])
    np.testing.assert_array_equal(restored.unfitted(), result.images[0])


def test_without_photographs_the_identity_alone_serves(restorer, small, identity, result):
    restored = restorer.restore(small, identity)
    assert restored.reference is None and np.any(restored.images[0] != result.images[0])
    assert not float(restored.condition.valid.sum())
    assert all("unlike" not in sentence for sentence in restored.notes())
    sheet = restored.sheet()
    assert sheet.shape[2] == 3 and min(sheet.shape[:2]) > 200 and sheet.std() > 20


def test_several_faces_without_photographs_want_a_number(restorer, identity, _astronaut):
    two = np.concatenate([_astronaut[:300, 100:400]] * 2, axis=1)
    with pytest.raises(SeveralFaces, match=r"give --face N, counted from the left, or --photos"):
        restorer.find(two, identity, scale=4)
    assert restorer.find(two, identity, face=2, scale=4).face.choice.chosen == 1


def test_consistency_keeps_inputs_of_any_width_and_every_variant(restorer, identity, crops, reduced):
    # Low in contrast, so that no value of the result is clipped when it becomes a picture.
    inputs = [(reduced(n) // 4 + 96).astype(np.uint8) for n in (7, 8, 15)]
    found = [restorer.find(small, identity, crops) for small in inputs]
    held, free = restorer.sample(found, variants=2, consistency=1.0), restorer.sample(found)
    tables = resampling_tables(SIZE)
    for small, kept, other in zip(inputs, held, free, strict=True):
        n = len(small)
        down = np.asarray(tables.down[0, n - tables.least][:n])
        distances = [
            np.abs(np.einsum("ij,jkc,lk->ilc", down, image.astype(np.float32), down) - small).max()
            for image in (*kept.images, *other.images)
        ]
        assert max(distances[:2]) <= 2 < distances[2] and np.any(kept.images[0] != kept.images[1])


def test_an_input_is_kept_cleaned_as_far_as_it_is_to_be_trusted(restorer, identity, crops, reduced):
    """Of a model that keeps inputs whole, where they are clean; less of a noisy one comes through, and no noise."""
    config = replace(restorer.config, sample=replace(restorer.config.sample, consistency=1.0))
    keeps = Restorer(replace(restorer.model, config=config))
    clean = reduced(16)
    noise = np.random.default_rng(0).normal(0.0, 30.0, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    (_, believed), (mended, doubted) = (cleaned_input(small, SIZE) for small in (clean, noisy))
    assert doubted < 0.1 and believed > 2.0 * doubted
    assert np.std(mended - clean.astype(float)) < np.std(noisy - clean.astype(float))
    for small, goal, trust in ((clean, clean, believed), (noisy, mended, doubted)):
        found, towards = keeps.find(small, identity, crops), keeps.find(goal, identity, crops)
        (told,), (free,) = (keeps.sample([found], consistency=c) for c in (None, 0.0))
        (held,) = keeps.sample([replace(found, face=towards.face)], consistency=1.0)
        moved = [np.linalg.norm(each.images[0] - free.images[0].astype(float)) for each in (told, held)]
        assert moved[0] / moved[1] == pytest.approx(trust, abs=0.05)
        assert told.metadata["idfsr:consistency"] == "1 at most"


def test_photographs_like_the_identity_are_its_references(restorer, identity, _astronaut, tmp_path):
    Image.fromarray(_astronaut).save(tmp_path / "me.png")
    crops, notes = restorer.references([tmp_path / "me.png"], identity)
    assert len(crops) == 1 and notes == []


def test_of_five_people_everything_is_seen_once(restorer, face_crop, monkeypatch):
    """Each photograph, at every size; and each small face, however many people it is compared with."""
    fresh = Restorer(restorer.model)
    people = [[replace(face_crop) for _ in range(20)] for _ in range(5)]
    described, seen = [], []

    def describe(recogniser, crops):
        described.extend(crops)
        return np.ones((len(crops), recogniser.dimension), np.float32)

    def see(image, recognisers, *_):
        seen.append(len(image))
        return np.ones(sum(dimensions(recognisers)), np.float32), MEAN_SHAPE

    monkeypatch.setattr("idfsr_jax.restore.loaded.photograph_descriptors", describe)
    monkeypatch.setattr("idfsr_jax.restore.loaded.small_unit", see)
    for _ in range(2):
        for photographs in people:
            fresh.units(photographs)
        for side in SEEN_SIDES:
            fresh.likenesses(np.zeros((side, side, 3), np.uint8), people)
    assert len(described) == 5 * 20 * len(fresh.recognisers)
    assert [seen.count(side) for side in SEEN_SIDES] == [5 * 3 + 2] * len(SEEN_SIDES)


def test_sharp_photographs_count_more(restorer, crops, tmp_path):
    units = np.eye(2, 320, dtype=np.float32) + np.eye(2, 320, 200, dtype=np.float32)
    weights = np.array([1.0, 0.25])
    start, *_ = fit_person(restorer.model, restorer.recognisers, crops[:2], units, restorer.config, weights=weights)
    np.testing.assert_allclose(start[:2], np.array([4.0, 1.0]) / np.sqrt(17.0), atol=1e-6)


def test_what_a_fit_reads(restorer, crops):
    album = album_of(crops, restorer.units(crops), restorer.sizes, restorer.config)
    assert album.images.shape == (20, SIZE, SIZE, 3) and int(album.count) == 3
    np.testing.assert_array_equal(album.frames[0], crops[0].frame)
    assert album.order[:3, :2].tolist() == [[1, 2], [0, 2], [0, 1]]
    frozen = frozen_of(restorer.model, restorer.recognisers)
    assert frozen.center.shape == (320,) and frozen.people.shape == (1, 320)
    assert frozen.tables.down.shape[-1] == SIZE


def test_guidance_makes_the_picture_more_like_the_person(restorer, small, identity, crops):
    """Also one that is held to its input: guidance looks at what comes of that."""
    guide = restorer.networks.guide
    for consistency in (0.0, 1.0):
        restored = [restorer.restore(small, identity, crops, guidance=n, consistency=consistency) for n in (0, 3)]
        alike = [likeness(to_float(each.images[0])[None], each.condition, guide)[0] for each in restored]
        assert alike[1] > alike[0] + 0.01
    guided = restored[1]
    assert "guidance 3," in guided.metadata["idfsr:sampler"]
    with pytest.raises(InputError, match=r"guidance=-1: give a number of steps"):
        restorer.restore(small, identity, crops, guidance=-1)


def test_what_is_compiled_ahead_serves(restorer, identity, crops, small, caplog):
    one = Restorer(restorer.model, devices=1)
    found = one.find(small, identity, crops)
    one.compile_ahead()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        one.sample([found], seed=7)
    assert not [line for line in caplog.messages if "_sampled" in line and line.startswith("Compiling")]


def test_mirrored_border_is_not_taken_for_the_person(restorer, small, identity, crops):
    cut = replace(crops[0], frame=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -0.5]], np.float32))
    valid = restorer.find(small, identity, [cut]).condition.valid[0, 0, ..., 0]
    whole = restorer.find(small, identity, crops[:1]).condition.valid[0, 0, ..., 0]
    assert float(jnp.sum(valid)) < 0.8 * float(jnp.sum(whole))


def test_the_command_line_restores_with_and_without_photographs(
    tiny_model, identity, small, _astronaut, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(_astronaut).save("photo.png")
    Image.fromarray(small).save("small.png")
    identity.save("me.safetensors")
    arguments = ["restore", "small.png", "--identity", "me.safetensors", "--weights", str(tiny_model)]
    assert cli.main([*arguments, "--photos", "photo.png", "--out", "with.png"]) == 0
    assert cli.main([*arguments, "--reveal", "1", "--out", "without.png"]) == 0
    with Image.open("with.png") as one, Image.open("without.png") as other:
        assert one.size == other.size == (SIZE, SIZE)
        assert np.any(np.asarray(one) != np.asarray(other))


def test_beside_a_grey_input_photographs_are_grey(restorer, identity, crops, small):
    """A scan of a black-and-white picture has a little colour, as its JPEG has."""
    grey = np.repeat(np.array(Image.fromarray(small).convert("L"))[..., None], 3, axis=-1)
    scanned = np.clip(grey.astype(int) + [3, 0, -3], 0, 255).astype(np.uint8)
    for picture, colourless in ((small, False), (grey, True), (scanned, True)):
        references = np.asarray(restorer.find(picture, identity, crops).condition.references)
        assert (np.ptp(references, axis=-1).max() < 1e-5) == colourless
