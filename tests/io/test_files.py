import pytest

from idfsr_jax.io.files import read_summed_json, reserved, try_lock, write_atomically, write_summed_json


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_summed_json_comes_back_with_its_sum(tmp_path):
    path = tmp_path / "a.json"
    write_summed_json(path, {"b": [1, 2.5], "a": "ü"})
    content = read_summed_json(path)
    assert len(content.pop("self_sha256")) == 64
    assert content == {"a": "ü", "b": [1, 2.5]}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"self_sha256": "0"}', "[" * 100_000])
def test_what_is_no_summed_json_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        read_summed_json(path)


def test_every_changed_value_of_summed_json_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    write_summed_json(path, {"a": 1, "b": "two"})
    text = path.read_text()
    for old, new in (("1,", "2,"), ("two", "twp"), ('"a"', '"c"')):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError):
            read_summed_json(path)


def test_a_lock_is_had_by_one_until_it_is_given_up(tmp_path):
    with (tmp_path / "lock").open("wb") as one, (tmp_path / "lock").open("wb") as other:
        assert try_lock(one) is True and try_lock(other) is False
        one.close()
        assert try_lock(other) is True


def test_no_lock_where_there_are_none(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(file: object, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (tmp_path / "lock").open("wb") as file:
        assert try_lock(file) is None


def test_room_is_kept_while_it_is_needed_and_a_killed_ones_is_freed(tmp_path):
    left, other = tmp_path / f".{'0' * 32}.reserved", tmp_path / ".mine.reserved"
    left.touch()
    other.touch()
    with reserved(tmp_path, 10):
        (first,) = set(tmp_path.iterdir()) - {other}
        assert first != left and first.stat().st_size == 10
        with reserved(tmp_path, 10):
            assert first.exists() and len(list(tmp_path.iterdir())) == 3
    assert list(tmp_path.iterdir()) == [other]
