"""Which files are meant, and refusals that leave no trace."""

import os
from pathlib import Path

import pytest

from idfsr_jax.io.arguments import (
    output_paths,
    overview_paths,
    parse_box,
    parse_boxes,
    photographs_of,
    pictures_of,
    require_between,
    require_distinct,
    require_identity,
    require_writable,
    variant_paths,
)
from idfsr_jax.io.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with every kind of odd file in it; paths in tests are relative to it."""
    monkeypatch.chdir(tmp_path)
    Path("me").mkdir()
    for name in ("me/b.JPG", "me/a.png", "me/notes.txt", "me/.hidden.png", "file.png", "ü n\u4eba.png"):
        Path(name).touch()
    Path("me/folder.png").mkdir()
    Path("me/dangling.png").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("alias.png").symlink_to("file.png")
    Path("people/Ann").mkdir(parents=True)
    Path("empty").mkdir()
    return tmp_path


def refusal(call, *arguments, **options) -> str:
    before = sorted(Path().rglob("*"))
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    assert sorted(Path().rglob("*")) == before
    return text


def test_pictures_of_a_folder_are_its_pictures_by_name():
    assert pictures_of(Path("me")) == [Path("me/a.png"), Path("me/b.JPG")]
    assert pictures_of(Path("me/notes.txt")) == [Path("me/notes.txt")]
    assert photographs_of([Path("file.png"), Path("me")], "") == [Path("file.png"), Path("me/a.png"), Path("me/b.JPG")]
    assert pictures_of(Path("ü n\u4eba.png")) == [Path("ü n\u4eba.png")]


def test_a_photograph_that_is_given_twice_is_one():
    given = [Path("me"), Path("me/a.png"), Path("me/a.png").absolute()]
    photographs = photographs_of(given, "")
    assert photographs == [Path("me/a.png"), Path("me/b.JPG")]
    assert parse_boxes(["me/a.png:1,2,3,4"], photographs) == {photographs[0]: (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "no such picture"),
        ("loop", "no such picture"),
        ("loop/a.png", "no such picture"),
        ("file.png/a.png", "no such picture"),
        ("me/dangling.png", "no such picture"),
        ("a\0b.png", "a\0b.png"),
        ("x" * 300, "File name too long"),
        ("empty", "no photographs"),
        ("people", "one person"),
    ],
)
def test_what_is_no_picture_or_folder_of_pictures_is_named(name, said):
    text = refusal(pictures_of, Path(name))
    assert said in text and text.startswith(name)


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1.0,2,3,4", "nan,0,1,1", "1e3,0,5,5", "9" * 5000 + ",1,1,1"]
)
def test_a_box_is_four_whole_numbers(text):
    assert "give four whole numbers" in refusal(parse_box, text)


@pytest.mark.parametrize("text", ["-1,2,3,4", "1,-2,3,4", "1,2,0,4", "1,2,3,-4"])
def test_a_box_lies_in_the_picture(text):
    assert f"--box {text}" in refusal(parse_box, text)


def test_boxes_belong_to_photographs_by_path_or_name_which_may_hold_colons():
    photographs = [Path("me/a.png"), Path("me/b: 1:2,3,4,5.JPG"), Path("file.png")]
    texts = ["./me/a.png:0, 2,3,4", "b: 1:2,3,4,5.JPG:5,6,7,8"]
    assert parse_boxes(texts, photographs) == {photographs[0]: (0, 2, 3, 4), photographs[1]: (5, 6, 7, 8)}
    assert parse_boxes([], photographs) == {}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["1,2,3,4"], "--box 1,2,3,4: give the photograph and the face in it, FILE:x,y,width,height."),
        ([":1,2,3,4"], "--box :1,2,3,4: give the photograph"),
        (["a.png:1,2,3"], "--box a.png:1,2,3: give four whole numbers"),
        (["a.png:1,2,0,4"], "--box a.png:1,2,0,4: width and height"),
        (["other.png:1,2,3,4"], "--box other.png:1,2,3,4: none of the photographs has that name"),
        (["b.png:1,2,3,4"], "--box b.png:1,2,3,4: 2 of the photographs have that name; give the path"),
        (["me/b.png:1,2,3,4", "me/b.png:1,2,3,5"], "--box me/b.png:1,2,3,5: this photograph has a box already"),
    ],
)
def test_a_box_that_belongs_to_no_photograph_is_refused(texts, said):
    photographs = [Path("me/a.png"), Path("me/b.png"), Path("you/b.png")]
    assert refusal(parse_boxes, texts, photographs).startswith(said)


@pytest.mark.parametrize("value", [0, -1, 11, 10**30])
def test_numbers_out_of_range_are_named(value):
    assert refusal(require_between, 1, 10, steps=value) == f"--steps {value}: give a whole number from 1 to 10."


def test_numbers_in_range_and_those_not_given_pass():
    require_between(1, 10, steps=1, scale=10, seed=None)


@pytest.mark.parametrize("name", ["o", "o.gif", "loop", "x" * 300 + ".gif"])
def test_one_result_goes_to_a_picture_or_folder(name):
    assert name[:250] in refusal(output_paths, [Path("file.png")], Path(name))


def test_several_results_go_to_a_folder():
    assert "file.png: is a file" in refusal(output_paths, [Path("a.png"), Path("b.png")], Path("file.png"))
    assert output_paths([Path("a.png")], Path("new/o.JPEG")) == [Path("new/o.JPEG")]
    assert output_paths([Path("a.gif")], Path("empty")) == [Path("empty/a.png")]
    expected = [Path(f"o/a-{part}.png") for part in (2, 3, "mean", "spread")]
    assert variant_paths([Path("o/a.png")], 3) == expected
    assert variant_paths([Path("o/a.png")], 1) == []


@pytest.mark.parametrize("written", [["file.png"], ["me/../file.png"], ["alias.png"], ["o.png", "o.png"], ["me"]])
def test_nothing_is_written_over_an_input_or_twice(written):
    assert written[-1] in refusal(require_distinct, [Path("file.png")], [Path(name) for name in written])


def test_a_link_that_leads_nowhere_may_be_written():
    require_distinct([Path("file.png")], [Path("loop"), Path("me/dangling.png"), Path("new/a.png")])


@pytest.mark.parametrize("name", ["file.png", "file.png/deep/er", "loop", "loop/a"])
def test_places_that_cannot_be_written_to_are_named(name):
    assert f"{name}: cannot be written to (" in refusal(require_writable, Path(name))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_named(folder):
    Path("empty").chmod(0o500)
    assert "Permission denied" in refusal(require_writable, Path("empty/deep"))


def test_trying_a_place_leaves_nothing_behind(folder):
    before = sorted(folder.rglob("*"))
    require_writable(Path("empty"))
    require_writable(Path("new/and/deep"))
    require_writable(folder / "other")
    require_writable(Path("."))
    assert sorted(folder.rglob("*")) == before


def test_results_of_equal_names_do_not_overwrite_each_other():
    inputs = [Path("a/x.png"), Path("b/x.jpg"), Path("x.bmp"), Path("y.png")]
    names = [path.name for path in output_paths(inputs, Path("out"))]
    assert names == ["x.png", "x.2.png", "x.3.png", "y.png"]
    # Nor does one's second variant lie where another's first does.
    taken = [path.name for path in output_paths([Path("a.png"), Path("a-2.png"), Path("a-3.png")], Path("out"), 2)]
    assert taken == ["a.png", "a-2.2.png", "a-3.png"]


def test_an_overview_is_written_over_nothing():
    results = [Path("o/a.jpg"), Path("o/a-faces.png"), Path("me/b.png")]
    taken = [*results, Path("me/b-faces.png")]
    places = [str(path) for path in overview_paths(results, taken)]
    assert places == ["o/a-faces-2.png", "o/a-faces-faces.png", "me/b-faces-2.png"]


def test_what_is_passed_over_in_a_folder_is_named():
    Path("me/more").mkdir()
    told: list[str] = []
    photographs_of([Path("me")], "", told.append)
    assert [each.partition(":")[0] for each in told] == ["me/dangling.png", "me/notes.txt", "me/folder.png", "me/more"]
    assert told[-1] == "me/more: is a folder of its own; give it as well if its pictures are meant."


def test_an_identity_that_is_not_there_is_made_by_the_command_that_is_named():
    assert "--out me/her.safetensors` makes one" in refusal(require_identity, Path("me/her"))
    assert "me: is a folder" in refusal(require_identity, Path("me"))
