"""The whole of it, with a model of random weights: what is asked for, and what comes out."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import apply_transform, crop_side, read_image, read_metadata
from idfsr_jax.face.read import digest_of
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.conditions import condition_of
from idfsr_jax.restore.found import sampling_of
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.likeness import Likeness
from idfsr_jax.restore.places import LeftAlone, Place
from idfsr_jax.restore.restorer import Restorer

SIZE = 32


@pytest.fixture(scope="module")
def photo(_astronaut):
    """A photograph with a face of 10 px."""
    small = Image.fromarray(_astronaut).resize((64, 64), Image.Resampling.BOX)
    return np.pad(np.array(small), ((0, 16), (0, 16), (0, 0)), mode="edge")


@pytest.fixture(scope="module")
def photographed(restorer, identity, crops, photo):
    """Three samples of it."""
    return restorer.restore(photo, identity, crops, box=(23, 6, 10, 10), variants=3)


@pytest.mark.parametrize("options", [{}, {"variants": 2, "consistency": 1.0, "seed": 4}])
def test_pictures_restored_together_come_out_as_each_alone(restorer, identity, crops, reduced, options):
    """Three sizes, over eight devices, and another person among them."""
    pictures = [reduced(n) for n in (8, 4, 6)]
    people = [identity, replace(identity, embedding=-identity.embedding), identity]
    found = [restorer.find(picture, person, crops) for picture, person in zip(pictures, people, strict=True)]
    assert restorer.mesh.size == 8
    for picture, person, together in zip(pictures, people, restorer.sample(found, **options), strict=True):
        alone = restorer.restore(picture, person, crops, **options)
        assert together.metadata == alone.metadata and len(together.images) == len(alone.images)
        assert np.abs(np.stack(together.images).astype(int) - np.stack(alone.images)).max() <= 1
        assert np.abs(together.unfitted().astype(int) - alone.unfitted()).max() <= 1
    assert restorer.sample([]) == []


def test_a_crop_without_colours_gets_none(restorer, identity, crops, reduced):
    colourful = reduced(8)
    grey = np.rint(colourful.mean(axis=-1, keepdims=True)).astype(np.uint8)
    sepia = np.rint(grey * np.array([1.0, 0.8, 0.6])).astype(np.uint8)
    made = restorer.restore(np.repeat(grey, 3, axis=-1), identity, crops, variants=2)
    for image in [*made.images, made.mean(), made.unfitted()]:
        assert np.ptp(image.astype(int), axis=-1).max() <= 1
    tinted = restorer.restore(sepia, identity, crops).images[0].reshape(-1, 3).astype(float)
    bright = tinted[tinted.min(axis=1) > 20]
    np.testing.assert_allclose(bright / bright[:, :1], np.broadcast_to([1.0, 0.8, 0.6], bright.shape), atol=0.08)
    assert np.ptp(restorer.restore(colourful, identity, crops).images[0].astype(int), axis=-1).max() > 20


def test_a_long_list_is_sampled_in_parts(restorer, small, identity, crops, result):
    one_device = Restorer(restorer.model, devices=1)
    found = one_device.find(small, identity, crops)
    images = [restored.images[0] for restored in one_device.sample([found] * 17)]
    assert len(images) == 17 and all(np.abs(image.astype(int) - result.images[0]).max() <= 1 for image in images)


def test_a_face_in_a_photograph_is_put_back_into_it(photographed, photo):
    assert photographed.images[0].shape == (SIZE, SIZE, 3)
    picture = photographed.picture()
    assert picture.shape[0] == picture.shape[1] >= 80
    plain = np.array(Image.fromarray(photo).resize(picture.shape[1::-1], Image.Resampling.LANCZOS))
    changed = np.any(picture != plain, axis=2)
    assert changed.any() and not changed[-10:].any()


def test_the_photograph_is_enlarged_as_asked_and_by_whom_one_likes(photographed, photo, tmp_path):
    assert photographed.picture(enlarge=1.0).shape == photo.shape
    assert photographed.picture(enlarge=2.5).shape == (200, 200, 3)
    options = {"enlarge": 2.0, "background": lambda image, size: np.zeros((*size[::-1], 3), np.uint8)}
    black = photographed.picture(**options)
    assert not black[-20:].any() and black.shape == (160, 160, 3)
    *samples, mean, _ = [
        *photographed.save(tmp_path / "a.png", **options),
        *photographed.save_spread(tmp_path / "a.png", **options),
    ]
    np.testing.assert_array_equal(read_image(samples[0]), black)
    for path in (*samples, mean):
        assert not read_image(path)[-20:].any() and "synthesised" in read_metadata(path)["Description"]
    with pytest.raises(InputError, match="background came back"):
        photographed.picture(enlarge=2.0, background=lambda image, size: image)
    with pytest.raises(InputError, match="16384"):
        photographed.picture(enlarge=1000.0)


def test_a_photograph_on_its_head_is_restored_as_it_lies(restorer, identity, _astronaut):
    small = np.array(Image.fromarray(_astronaut).resize((128, 128), Image.Resampling.BOX))
    upright, lying = (restorer.restore(image, identity, scale=4) for image in (small, small[::-1, ::-1].copy()))
    assert np.abs(lying.face.y.astype(int) - upright.face.y).max() < 5
    changed = []
    for restored in (upright, lying):
        plain = Image.fromarray(restored.face.photo).resize((128, 128), Image.Resampling.LANCZOS)
        changed.append(np.any(restored.picture(enlarge=1.0) != np.array(plain), axis=2))
    assert changed[0].any() and (changed[0] == changed[1][::-1, ::-1]).mean() > 0.98


def test_a_small_picture_with_its_face_elsewhere_is_kept_around_it(restorer, identity, result, _astronaut):
    beside = Image.fromarray(_astronaut[:240, 150:390]).resize((64, 64), Image.Resampling.BOX)
    restored = restorer.restore(np.array(beside), identity, scale=4)
    assert restored.face.photo is not None and restored.picture(enlarge=2.0).shape == (128, 128, 3)
    assert all("aligned crop" not in note for note in restored.notes())
    assert result.face.photo is None


def test_two_people_are_restored_into_one_photograph(restorer, identity, crops, photo, monkeypatch):
    """Each face is what it would be alone, and nothing else of the photograph changes."""
    both = np.concatenate([photo, (photo * 0.6).astype(np.uint8)], axis=1)
    left, right = (
        Place((23 + 80 * n, 6, 10, 10), np.array([[19.0, 0, 18 + 80 * n], [0, 19, 1], [0, 0, 1]])) for n in (0, 1)
    )
    monkeypatch.setattr("idfsr_jax.restore.find_face.places_of", lambda *_, **__: [left, right])

    def by_light(self, small, people):
        alike = [(small.mean() > 110) == (crops[0].image.mean() > 110) for crops in people]
        return [Likeness(0.9 if each else 0.0, len(small)) for each in alike]

    monkeypatch.setattr(type(restorer), "likenesses", by_light)
    darker = replace(crops[1], image=(crops[1].image * 0.6).astype(np.uint8))
    other = replace(identity, embedding=-identity.embedding)
    found = restorer.find_each(both, [(other, [darker]), (identity, crops)])
    assert [each.face.choice.chosen for each in found] == [1, 0]
    one, two = restorer.sample(found, variants=2)
    joined = restorer.together([one, two])
    assert joined.metadata["idfsr:identity"] == f"{other.digest}+{identity.digest}"
    plain = np.array(Image.fromarray(both).resize((320, 160), Image.Resampling.LANCZOS))
    for index in (0, 1):
        alone = [each.picture(index, enlarge=2.0) for each in (one, two)]
        expected = np.where(alone[0] != plain, alone[0], alone[1])
        np.testing.assert_array_equal(joined.picture(index, enlarge=2.0), expected)
        assert all(np.any(each != plain) for each in alone)
    assert joined.sheet().shape[0] == one.sheet().shape[0] + two.sheet().shape[0]
    # Who is in front, and as large as the result already, costs nobody else's face.
    front = replace(left, transform=np.array([[40.0, 0, 8], [0, 40, 0], [0, 0, 1]]))
    monkeypatch.setattr("idfsr_jax.restore.find_face.places_of", lambda *_, **__: [front, right])
    said: list[str] = []
    found = restorer.find_each(both, [(other, [darker]), (identity, crops)], note=said.append)
    assert found[0].face.choice.chosen == 1 and found[1] is None
    assert [each[:72] for each in said] == ["face 1 of 2, from the left, stays as it is: the face's crop is 40 px wid"]
    assert restorer.find_each(both, [(identity, crops), (other, [darker])], scale=8)[0].face.y.shape[0] == 4
    monkeypatch.setattr("idfsr_jax.restore.find_face.places_of", lambda *_, **__: [front])
    with pytest.raises(InputError, match=r"the picture: the face's crop is 40 px wide.*nothing to restore"):
        restorer.find_each(both, [(other, [darker]), (identity, crops)])
    # Of two who look alike nobody can say whose face it is.
    monkeypatch.setattr("idfsr_jax.restore.find_face.places_of", lambda *_, **__: [left])
    with pytest.raises(LeftAlone):
        restorer.find_each(photo, [(identity, crops), (other, crops)])
    with pytest.raises(InputError, match="one of the people comes without photographs"):
        restorer.find_each(photo, [(identity, crops), (other, [])])
    with pytest.raises(InputError, match="nobody is given"):
        restorer.find_each(photo, [])
    with pytest.raises(InputError, match="is an aligned crop, which shows one face"):
        restorer.find_each(photo[:8, :8], [(other, [darker]), (identity, crops)])


def test_two_eyes_say_which_face(restorer, identity, crops, face_crop, photo):
    points = apply_transform(face_crop.transform, face_crop.landmarks) / 8
    eyes = (*map(float, points[36:42].mean(0)), *map(float, points[42:48].mean(0)))
    face = restorer.find(photo, identity, crops, eyes=eyes).face
    assert crop_side(face.transform) == pytest.approx(crop_side(face_crop.transform) / 8, rel=0.15)
    assert face.native.shape[0] == pytest.approx(crop_side(face.transform), abs=1)


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("label", [False, True])
def test_every_file_that_is_written_says_so_and_shows_it_if_asked(restorer, identity, three, tmp_path, ending, label):
    paths = three.save(tmp_path / f"a.{ending}", label=label, metadata={"more": "to say"})
    paths += three.save_spread(tmp_path / f"a.{ending}", label=label, metadata={"more": "to say"})
    three.save_sheet(tmp_path / f"sheet.{ending}", label=label, metadata={"more": "to say"})
    assert [path.stem for path in paths] == ["a", "a-2", "a-3", "a-mean", "a-spread"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [path.name for path in paths] + [f"sheet.{ending}"]
    )
    for path in tmp_path.iterdir():
        metadata = read_metadata(path)
        assert "synthesised" in metadata["Description"] and metadata["more"] == "to say"
        assert metadata["idfsr:model"] == restorer.model.digest and metadata["idfsr:identity"] == identity.digest
        assert metadata["idfsr:seed"] == "5"
    corner = read_image(paths[0])[-6:, -8:].astype(int)
    plain = three.images[0][-6:, -8:].astype(int)
    assert (np.abs(corner - plain).mean() > 20) == label
    if ending == "png" and not label:
        for path, image in zip(paths[:3], three.images, strict=True):
            np.testing.assert_array_equal(read_image(path), image)


def test_the_mean_is_that_of_the_samples(three):
    expected = np.mean(np.stack(three.images).astype(float), axis=0)
    assert np.abs(three.mean() - expected).max() <= 0.5


def test_an_input_that_is_unlike_the_person_is_doubted(result):
    same = replace(result, likeness=lambda crop: Likeness(0.9, 8))
    assert [part for part in same.doubts() if "unlike" in part] == []
    other = replace(result, likeness=lambda crop: Likeness(-0.2, 8))
    assert "unlike the photographs" in other.doubts()[0] and "somebody else" in other.doubts()[0]
    turned = replace(result, likeness=lambda crop: Likeness(-0.2, 8, turn=0.6))
    assert "perhaps turned away" in turned.doubts()[0] and "somebody else" not in turned.doubts()[0]
    fine = replace(same, face=replace(same.face, native=np.zeros((60, 60, 3), np.uint8)))
    assert "60 px wide" in fine.doubts()[0]


def test_a_face_is_most_like_its_own_photographs(restorer, reduced, crops):
    """With the real encoder: the same face at 24 px, and one that is upside down."""
    small = reduced(24)
    own, other = restorer.likeness(small, crops), restorer.likeness(small[::-1].copy(), crops)
    assert own.side == other.side == 24 and own.cosine > 0.8 and other.cosine < own.cosine - 0.05


def test_a_gathering_says_where_the_identity_came_from(restorer, place):
    gathered = restorer.gather([place / "photo.jpg", place / "landscape.png", place / "cut.jpg"])
    identity = restorer.fit(gathered)
    (origin,) = identity.origins
    assert origin.name == "photo.jpg" and identity.photographs == 1
    assert len(gathered.unusable) == 2


@pytest.fixture
def known(restorer, place):
    """An identity that was fitted to a file, as it comes back from its own."""
    restorer.fit(restorer.gather([place / "photo.jpg"])).save(place / "me.safetensors")
    return Identity.load(place / "me.safetensors")


def test_photographs_of_the_identity_are_not_looked_at_again(restorer, small, place, known, monkeypatch):
    """By what they hold, whatever their name; and all that comes of them is the same, to the bit."""
    photo = (place / "photo.jpg").rename(place / "renamed.jpg")
    ((looked_at,), notes) = restorer.references([photo], replace(known, seen=None))
    expected = restorer.restore(small, known, [looked_at]).images[0]
    units = restorer.units([looked_at])
    refuse = mock.Mock(side_effect=AssertionError)
    monkeypatch.setattr("idfsr_jax.face.align.find_faces", refuse)
    monkeypatch.setattr("idfsr_jax.restore.loaded.photograph_descriptors", refuse)
    ((crop,), said) = restorer.references([photo], known)
    for name in ("image", "landmarks", "transform", "frame"):
        np.testing.assert_array_equal(getattr(crop, name), getattr(looked_at, name))
    assert (crop.notes, crop.which, said) == (looked_at.notes, looked_at.which, notes)
    np.testing.assert_array_equal(restorer.units([crop]), units)
    np.testing.assert_array_equal(restorer.restore(small, known, [crop]).images[0], expected)


@pytest.mark.parametrize("change", ["another model", "another file", "far away"])
def test_what_an_identity_does_not_know_is_looked_at(restorer, place, known, change):
    photo = place / "photo.jpg"
    assert restorer.known_face(known, photo, digest_of(photo)) is not None
    if change == "another model":
        known = replace(known, model="ab" * 32)
    elif change == "another file":
        photo.write_bytes(photo.read_bytes() + b"\0")
    else:
        known = replace(known, seen=replace(known.seen, transforms=known.seen.transforms * 1e6))
    assert restorer.known_face(known, photo, digest_of(photo)) is None
    (crop,) = restorer.gather([photo], identity=known).crops
    assert crop.box is not None


def test_the_reference_is_the_photograph_nearest_in_pose(restorer, small, crops, identity):
    bent = replace(crops[0], landmarks=crops[0].landmarks * np.array([1.5, 1.0], np.float32))
    for photos in ([bent, crops[0]], [crops[0], bent]):
        assert condition_of(restorer.model, small, identity, photos, restorer.units(photos), 0.5)[1] is crops[0]


def test_without_being_told_it_samples_as_the_model_was_made_for(restorer):
    made = replace(restorer.config, sample=replace(restorer.config.sample, consistency=0.75))
    untold = sampling_of(made, None, 3, 1, None, None, restorer.sizes)
    assert (untold.config, untold.consistency) == (made, None)
    told = sampling_of(made, 5, 3, 1, 0.0, 2, restorer.sizes)
    assert (told.config.sample.steps, told.consistency, told.config.sample.guidance) == (5, 0.0, 2)
