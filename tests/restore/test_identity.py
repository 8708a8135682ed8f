import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from idfsr_jax.io.errors import BadWeights, InputError
from idfsr_jax.restore.identity import Identity, Origin, Seen, require_replaceable


@pytest.fixture
def identity():
    rng = np.random.default_rng(0)
    start = rng.normal(size=128).astype(np.float32)
    start /= np.linalg.norm(start)
    losses = np.linspace(0.4, 0.2, 200, dtype=np.float32)
    shape = rng.normal(size=(68, 2)).astype(np.float32)
    return Identity(start + np.float32(0.01), start, losses, 7, "dlib-resnet-v1", "ab" * 32, shape=shape)


def assert_same(a: Identity, b: Identity) -> None:
    for name in ("embedding", "start", "losses", "shape"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype == np.float32
    assert (a.photographs, a.encoder, a.model) == (b.photographs, b.encoder, b.model)


def complaint(path) -> str:
    with pytest.raises(BadWeights) as caught:
        Identity.load(path)
    text = str(caught.value)
    assert str(path) in text and text.endswith(".") and "\n" not in text
    return text


def test_an_identity_comes_back_as_it_was_saved(identity, tmp_path):
    identity.save(tmp_path / "deep" / "me.safetensors")
    back = Identity.load(tmp_path / "deep" / "me.safetensors")
    assert_same(back, identity)
    assert back.digest == identity.digest


def test_only_identities_are_replaced_damaged_and_old_ones_too(identity, tmp_path):
    path = tmp_path / "me.safetensors"
    require_replaceable(path)
    identity.save(path)
    require_replaceable(path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    require_replaceable(path)
    save_file({"a": np.zeros(1)}, path, {"format": "idfsr-identity-1"})
    require_replaceable(path)
    for metadata in (None, {}, {"format": "pt"}):
        save_file({"a": np.zeros(1)}, path, metadata)
        with pytest.raises(InputError, match="is there already, and is no identity file; choose another name"):
            require_replaceable(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="no identity file"):
        require_replaceable(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="no identity file"):
        require_replaceable(path)


def test_where_an_identity_came_from_comes_back(identity, tmp_path):
    plain, second = Origin("Zoë 1.jpg", "ab" * 8, 0.123456789, 0.75), Origin("two.png", "cd" * 8, 1.0, float("nan"))
    copied = replace(plain, copies=("b.jpg", "c.jpg"))
    origins = (plain, second, copied, *(replace(each, face="face 2 of 3 from the left") for each in (plain, copied)))
    known = replace(identity, origins=origins, agreement=0.7)
    assert len({replace(known, origins=(each,)).digest for each in origins}) == 5
    known.save(tmp_path / "me.safetensors")
    back = Identity.load(tmp_path / "me.safetensors")
    assert repr(back.origins) == repr(origins) and back.agreement == 0.7
    assert back.digest == known.digest != identity.digest


@pytest.mark.parametrize("key", [b"Zo", b"0.7", b"0.5", b"abab"])
def test_a_change_of_where_it_came_from_is_noticed(identity, tmp_path, key):
    path = tmp_path / "me.safetensors"
    replace(identity, origins=(Origin("Zoe.jpg", "ab" * 8, 0.5, 0.6),), agreement=0.7).save(path)
    data = path.read_bytes()
    assert key in data
    path.write_bytes(data.replace(key, key[:-1] + bytes([key[-1] + 1]), 1))
    complaint(path)


def test_a_file_of_another_version_is_told_from_no_identity_file(identity, tmp_path):
    path = tmp_path / "me.safetensors"
    identity.save(path)
    path.write_bytes(path.read_bytes().replace(b"idfsr-identity-4", b"idfsr-identity-3", 1))
    with pytest.raises(BadWeights, match=r"another version of idfsr; fit it again with `idfsr fit --photos DIR --out"):
        Identity.load(path)


@pytest.fixture
def seen():
    rng = np.random.default_rng(1)
    landmarks, units = rng.normal(size=(2, 68, 2)).astype(np.float32), rng.normal(size=(2, 128)).astype(np.float32)
    return Seen(rng.normal(size=(2, 3, 3)), landmarks, units)


ORIGINS = (Origin("one.jpg", "ab" * 8, 1.0, 0.7), Origin("two.jpg", "cd" * 8, 1.0, 0.7))


def test_what_was_seen_in_the_photographs_comes_back(identity, seen, tmp_path):
    known = replace(identity, origins=ORIGINS, seen=seen)
    known.save(tmp_path / "me.safetensors")
    back = Identity.load(tmp_path / "me.safetensors")
    for name in ("transforms", "landmarks", "units"):
        kept, given = getattr(back.seen, name), getattr(seen, name)
        assert kept.dtype == given.dtype and np.array_equal(kept, given)
    assert back.digest == known.digest != replace(known, seen=None).digest
    assert [back.place_of(each) for each in ("cd" * 8, "ab" * 8, "ef" * 8)] == [1, 0, None]
    assert replace(back, seen=None).place_of("ab" * 8) is None


@pytest.mark.parametrize("name", ["transforms", "landmarks", "units"])
def test_the_digest_covers_what_was_seen(identity, seen, name):
    known = replace(identity, origins=ORIGINS, seen=seen)
    changed = replace(seen, **{name: np.nextafter(getattr(seen, name), np.inf, dtype=getattr(seen, name).dtype)})
    assert replace(known, seen=changed).digest != known.digest


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("transforms", lambda array: array.astype(np.float32)),
        ("landmarks", lambda array: array[:1]),
        ("units", lambda array: array[:, :64].copy()),
        ("transforms", lambda array: array * np.nan),
    ],
    ids=["type", "count", "length", "not finite"],
)
def test_what_was_seen_in_another_form_is_refused(identity, seen, tmp_path, name, change):
    path = tmp_path / "me.safetensors"
    replace(identity, origins=ORIGINS, seen=seen).save(path)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    save_file(arrays | {name: change(arrays[name])}, path, metadata)
    assert "seen in the photographs" in complaint(path)


def test_the_file_takes_a_few_kilobytes(identity, tmp_path):
    identity.save(tmp_path / "me.safetensors")
    assert (tmp_path / "me.safetensors").stat().st_size < 4096


def test_a_flipped_bit_in_any_byte_is_noticed_or_changes_nothing(identity, tmp_path):
    path = tmp_path / "me.safetensors"
    identity.save(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            back = Identity.load(path)
        except BadWeights as error:
            assert str(path) in str(error)
        else:
            assert_same(back, identity)


def test_the_digest_covers_every_vector_and_what_is_said_about_them(identity):
    changes = [{name: getattr(identity, name) * 2} for name in ("embedding", "start", "losses", "shape")]
    changes += [{}, {"photographs": 8}, {"encoder": "another"}, {"model": "cd" * 32}]
    assert len({replace(identity, **change).digest for change in changes}) == 8


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_file_cut_short_is_refused(identity, tmp_path, share):
    path = tmp_path / "me.safetensors"
    identity.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "not an identity file" in complaint(path)


def test_what_is_no_identity_file_is_refused(tiny_model, tmp_path):
    (tmp_path / "notes.safetensors").write_text("These are notes about something else.\n" * 20)
    for path in (tmp_path / "notes.safetensors", tiny_model / "center.safetensors"):
        assert "not an identity file" in complaint(path)
    for path in (tmp_path / "nobody.safetensors", tmp_path):
        assert "cannot be read" in complaint(path)


@pytest.mark.parametrize("name", ["embedding", "start"])
@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_vector_that_is_no_direction_is_refused(identity, tmp_path, name, value):
    replace(identity, **{name: np.full(128, value, np.float32)}).save(tmp_path / "me.safetensors")
    assert "not finite" in complaint(tmp_path / "me.safetensors")


@pytest.mark.parametrize(
    "vector",
    [np.ones(64, np.float32), np.ones((2, 64), np.float32), np.ones(128)],
    ids=["short", "plane", "double"],
)
def test_a_vector_of_another_shape_or_type_is_refused(identity, tmp_path, vector):
    identity.save(tmp_path / "me.safetensors")
    arrays = load_file(tmp_path / "me.safetensors") | {"embedding": vector}
    save_file(arrays, tmp_path / "me.safetensors", {"format": "idfsr-identity-4"})
    assert "no identity vector" in complaint(tmp_path / "me.safetensors")


def test_a_place_that_cannot_be_written_to_is_named(identity, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        identity.save(tmp_path / "file" / "me.safetensors")
