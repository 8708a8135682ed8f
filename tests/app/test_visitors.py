"""What belongs to whom, and that all of it goes."""

import os
import time

import numpy as np
import pytest

from idfsr_jax.app.visitors import VisitorGone, Visitors
from idfsr_jax.io.errors import InputError


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def visitors(tmp_path, clock):
    return Visitors(tmp_path, quota=100, most=3, keep=3600.0, grace=120.0, clock=clock)


def upload(visitors: Visitors, secret: str, name: str, size: int = 10):
    folder = visitors.root / f"hash-of-{name}"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x" * size)
    visitors.reserve(secret, size)
    visitors.take(secret, size, [folder / name])
    return folder / name


def test_files_are_their_owners_only(visitors):
    anna, bert = visitors.admit(), visitors.admit()
    file = upload(visitors, anna, "a.png")
    result = visitors.visit(anna, "page").room() / "restored.png"
    for path in (file, result, result.parent / ".." / result.parent.name / "restored.png"):
        assert visitors.owns(anna, path) and not visitors.owns(bert, path)
    assert not visitors.owns(anna, visitors.root / "other") and not visitors.owns(anna, visitors.root)
    assert not visitors.owns("nobody", file)
    assert visitors.claim(anna, "page", [file, result]) and not visitors.claim(bert, "page-2", [file])


def test_what_escapes_from_the_folder_is_nobodys(visitors, tmp_path):
    anna = visitors.admit()
    folder = visitors.visit(anna, "page").folder
    (folder / "link").symlink_to("/etc/hostname")
    assert not visitors.owns(anna, folder / "link") and not visitors.owns(anna, folder / ".." / "x")
    visitors.take(anna, 0, [tmp_path.parent / "elsewhere"])
    assert not visitors.owns(anna, tmp_path.parent / "elsewhere")


def test_a_page_belongs_to_who_opened_it(visitors):
    anna, bert = visitors.admit(), visitors.admit()
    assert visitors.bind(anna, "page") and visitors.bind(anna, "page") and not visitors.bind(bert, "page")
    assert not visitors.bind(anna, "../x") and not visitors.bind(anna, "") and not visitors.bind("nobody", "p")


def test_a_closed_page_goes_with_its_files_after_a_while(visitors, clock):
    anna = visitors.admit()
    visitors.connect(anna, "one")
    visitors.connect(anna, "two")
    mine, other = upload(visitors, anna, "one.png"), upload(visitors, anna, "two.png")
    visitors.claim(anna, "one", [mine])
    visitors.claim(anna, "two", [other])
    folder = visitors.visit(anna, "one").folder
    visitors.hang_up(anna, "one")
    clock.now = 100.0
    visitors.sweep()
    assert folder.is_dir() and mine.is_file()
    visitors.connect(anna, "one")
    clock.now = 300.0
    visitors.sweep()
    assert folder.is_dir(), "it came back"
    visitors.hang_up(anna, "one")
    clock.now = 500.0
    visitors.sweep()
    assert not folder.exists() and not mine.parent.exists() and other.is_file()
    assert not visitors.is_here(anna, "one") and visitors.is_here(anna, "two")
    visitors.leave(anna, "two")
    assert list(visitors.root.iterdir()) == []


def test_equal_uploads_share_a_file_that_stays_for_the_other(visitors):
    anna, bert = visitors.admit(), visitors.admit()
    file = upload(visitors, anna, "same.png")
    assert upload(visitors, bert, "same.png") == file
    visitors.forget(anna)
    assert file.is_file() and visitors.owns(bert, file)
    visitors.forget(bert)
    assert not file.exists()


def test_who_is_away_for_an_hour_is_forgotten(visitors, clock):
    anna = visitors.admit()
    file = upload(visitors, anna, "a.png")
    clock.now = 3601.0
    visitors.sweep()
    assert not visitors.knows(anna) and not file.exists() and not visitors.owns(anna, file)
    with pytest.raises(VisitorGone):
        visitors.visit(anna, "page")


def test_of_too_many_the_one_seen_least_recently_is_forgotten(visitors, clock):
    secrets = []
    for clock.now in (1.0, 2.0, 3.0):
        secrets.append(visitors.admit())
    clock.now = 4.0
    visitors.knows(secrets[0])
    visitors.admit()
    assert len(visitors) == 3
    assert [visitors.knows(secret) for secret in secrets] == [True, False, True]


def test_uploads_have_a_quota(visitors):
    anna = visitors.admit()
    upload(visitors, anna, "a.png", 60)
    visitors.reserve(anna, 30)
    with pytest.raises(InputError, match="take more than"):
        visitors.reserve(anna, 20)
    visitors.take(anna, 30, [])
    upload(visitors, anna, "b.png", 40)


def test_a_new_result_takes_the_place_of_the_last(visitors):
    from idfsr_jax.app.session import Result

    visit = visitors.visit(visitors.admit(), "page")
    first = visit.room()
    visit.result = Result(first / "before.png", (), (), None)
    assert visit.room().is_dir() and not first.exists() and visit.result is None


def test_strangers_who_open_no_page_push_out_nobody_who_has(visitors, clock):
    anna = visitors.admit()
    visitors.connect(anna, "page")
    for clock.now in np.arange(1.0, 40.0).tolist():
        visitors.admit()
    assert len(visitors) == 3 and visitors.is_here(anna, "page")


def test_a_visitor_has_so_many_pages_and_no_more(visitors):
    anna = visitors.admit()
    assert all(visitors.bind(anna, f"page-{number}") for number in range(16))
    assert not visitors.bind(anna, "one-more") and visitors.bind(anna, "page-3")
    assert len(list(visitors.root.iterdir())) == 16


def test_a_page_that_is_connected_twice_outlives_one_of_them(visitors, clock):
    anna = visitors.admit()
    visitors.connect(anna, "page")
    visitors.connect(anna, "page")
    visitors.hang_up(anna, "page")
    clock.now = 200.0
    visitors.sweep()
    assert visitors.is_here(anna, "page")
    visitors.hang_up(anna, "page")
    # Whoever still asks is still there.
    for clock.now in (300.0, 400.0, 500.0):
        assert visitors.bind(anna, "page")
        visitors.sweep()
    assert visitors.is_here(anna, "page")
    clock.now = 621.0
    visitors.sweep()
    assert not visitors.is_here(anna, "page")


def test_uploads_that_were_broken_off_go(visitors):
    left, growing = visitors.root / "tmp-left", visitors.root / "tmp-growing"
    for path in (left, growing):
        path.write_bytes(b"x")
    os.utime(left, (time.time() - 700, time.time() - 700))
    visitors.sweep()
    assert not left.exists() and growing.exists()
