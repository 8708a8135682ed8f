"""The server over HTTP: what it answers, whom, and what is left when everybody has gone."""

import contextlib
import time

import httpx
import numpy as np
import pytest

from benchmarks.app_client import Busy, Refused, Visitor
from benchmarks.app_load import load
from idfsr_jax.face import read_image, read_metadata
from idfsr_jax.restore.identity import Identity

# Gradio's own, about packages that it uses.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def site(serve_page):
    with serve_page(max_upload_mb=1, queue=3) as site:
        yield site


@pytest.fixture(scope="module")
def anna(site, pictures):
    """A visitor who has been through step 1."""
    with Visitor(site.url) as visitor:
        answer = visitor.learn(pictures / "one.png", pictures / "nobody.png")
        assert "Learnt from 1 photograph." in answer["learnt"] and "nobody.png: no face was found" in answer["learnt"]
        assert "<p>Only one photograph remains" in answer["learnt"]
        visitor.identity = answer["identity"]["value"]["path"]
        yield visitor


@pytest.fixture
def enter(site):
    """A function that opens the page as another visitor."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Visitor(site.url))


def test_a_visitor_learns_restores_and_downloads(anna, pictures, tmp_path):
    identity = tmp_path / "me.safetensors"
    identity.write_bytes(anna.fetch(anna.identity).content)
    assert Identity.load(identity).photographs == 1
    answer = anna.restore(anna.upload(pictures / "small.png")[0], variants=2, seed=3)
    assert answer["said"] == "" and len(answer["variants"]["value"]) == 2 and answer["slider"]["visible"]
    download = answer["download"]["value"]
    assert download["orig_name"] == "small-restored.png"
    picture = tmp_path / "restored.png"
    picture.write_bytes(anna.fetch(download["path"]).content)
    assert "synthesised" in read_metadata(picture)["Description"] and read_metadata(picture)["idfsr:seed"] == "3"
    other = anna.ask("variants", "select", [], {"index": 1, "value": None})
    assert other["download"]["value"]["orig_name"] == "small-restored-2.png"


def test_a_saved_identity_is_taken_alone_or_with_photographs(anna, enter, pictures, tmp_path):
    file = tmp_path / "me.safetensors"
    file.write_bytes(anna.fetch(anna.identity).content)
    bert = enter()
    (saved,), (letter,) = bert.upload(file), bert.upload(pictures / "letter.png")
    assert "alone says who it is" in bert.ask("saved", "upload", [saved, None])["learnt"]
    assert bert.restore(bert.upload(pictures / "small.png")[0])["slider"]["visible"]
    shown = [{"image": each, "caption": None} for each in bert.upload(pictures / "one.png")]
    assert "with 1 photograph beside it" in bert.ask("saved", "upload", [saved, shown])["learnt"]
    refused = bert.ask("saved", "upload", [letter, None])["learnt"]
    assert "bad" in refused and "letter.png" in refused and "/" not in refused.replace("</", "")
    assert "no identity yet" in bert.ask("saved", "upload", [None, None])["learnt"]


def test_the_face_that_is_clicked_is_restored(anna, site, pictures):
    answer = anna.restore(anna.upload(pictures / "group.png")[0])
    assert "click the one that is meant" in answer["ask"] and answer["chooser"]["visible"]
    assert not answer["slider"]["visible"]
    scale = 720 / 200
    wishes = [1, False, 0, False, 0.5]
    missed = anna.ask("chooser", "select", wishes, {"index": [197 * scale, 79 * scale], "value": None})
    assert "framed" in missed["ask"]
    answer = anna.ask("chooser", "select", wishes, {"index": [130 * scale, 40 * scale], "value": None})
    assert answer["slider"]["visible"] and site.restorer.calls[-1][1]["face"] == 2


def test_the_face_may_be_chosen_before_any_is_restored(anna, site, pictures):
    picture = anna.upload(pictures / "group.png")[0]
    before = len(site.restorer.calls)
    answer = anna.ask("which", "click", [picture])
    assert "2 faces were found; click the one" in answer["ask"] and answer["chooser"]["visible"]
    assert len(site.restorer.calls) == before
    answer = anna.ask("chooser", "select", [1, False, 0, False, 0.5], {"index": [130 * 3.6, 40 * 3.6], "value": None})
    assert answer["slider"]["visible"] and site.restorer.calls[-1][1]["face"] == 2
    assert "no picture yet" in anna.ask("which", "click", [None])["said"]


def test_the_face_of_a_group_picture_that_is_clicked_is_learnt(enter, pictures):
    bert = enter()
    photographs = [[{"image": file, "caption": None} for file in bert.upload(pictures / "two.png")], False]
    answer = bert.ask("learn", "click", photographs)
    captions = [each["caption"] for each in answer["faces"]["value"]]
    assert "Which face is the person" in answer["learnt"]
    assert answer["faces"]["visible"] and sum("✓" in caption for caption in captions) == 1
    other = int("✓" in captions[0])
    answer = bert.ask("faces", "select", photographs, {"index": other, "value": None})
    captions = [each["caption"] for each in answer["faces"]["value"]]
    assert captions[other] == f"✓ {other + 1}, two.png" and f"face {other + 1} of 2 from the left" in answer["learnt"]
    assert bert.fetch(answer["faces"]["value"][0]["image"]["path"]).status_code == 200
    assert "Which face is the person" not in answer["learnt"], "it was clicked"
    assert "are gone" in bert.ask("faces", "select", photographs, {"index": 9, "value": None})["learnt"]
    photographs[0] = [{"image": file, "caption": None} for file in bert.upload(pictures / "one.png")]
    assert "are gone" in bert.ask("faces", "select", photographs, {"index": 0, "value": None})["learnt"]
    assert not bert.ask("learn", "click", photographs)["faces"]["visible"]


def test_another_face_is_put_into_the_picture_that_was_made(enter, pictures, tmp_path):
    bert = enter()
    bert.learn(pictures / "one.png")
    wishes = [1, False, 0, False, 0.5]

    def restored(picture, *eyes):
        answer = bert.restore(picture)
        for index in eyes:
            answer = bert.ask("chooser", "select", wishes, {"index": index, "value": None})
        file = tmp_path / "restored.png"
        file.write_bytes(bert.fetch(answer["download"]["value"]["path"]).content)
        return answer, read_image(file)

    picture = bert.upload(pictures / "nobody.png")[0]
    answer, one = restored(picture, [186, 240], [222, 240])
    assert answer["another"]["visible"]
    answer = bert.ask("another", "click", [])
    assert "What is restored stays" in answer["ask"] and not answer["slider"]["visible"]
    _, both = restored(picture, [546, 240], [582, 240])
    middle = one.shape[1] // 2
    assert np.array_equal(both[:, :middle], one[:, :middle]) and np.any(both[:, middle:] != one[:, middle:])
    # Whoever drops a picture starts anew.
    bert.ask("picture", "change", [picture])
    _, other = restored(picture, [546, 240], [582, 240])
    assert np.array_equal(other[:, middle:], both[:, middle:]) and np.any(other[:, :middle] != one[:, :middle])
    # Nor is the variant that was shown of the last picture one of this picture's.
    assert bert.restore(picture, variants=3)["ask"]
    for index in ([186, 240], [222, 240]):
        bert.ask("chooser", "select", [3, *wishes[1:]], {"index": index, "value": None})
    shown = bert.ask("variants", "select", [], {"index": 2, "value": None})["download"]["value"]
    bert.ask("picture", "change", [picture])
    assert bert.fetch(shown["path"]).status_code in (403, 404), "it went with its picture"
    restored(picture, [186, 240], [222, 240])
    assert "What is restored stays" in bert.ask("another", "click", [])["ask"]
    assert not bert.restore(bert.upload(pictures / "small.png")[0])["another"]["visible"]


def test_where_no_face_is_found_two_clicks_show_the_eyes(anna, site, pictures):
    answer = anna.restore(anna.upload(pictures / "nobody.png")[0])
    assert "no face was found" in answer["ask"] and "--" not in answer["ask"]
    wishes = [1, False, 0, False, 0.5]
    answer = anna.ask("chooser", "select", wishes, {"index": [300, 240], "value": None})
    assert "the other eye" in answer["ask"] and not answer["slider"]["visible"]
    answer = anna.ask("chooser", "select", wishes, {"index": [330, 240], "value": None})
    assert answer["slider"]["visible"]
    assert site.restorer.calls[-1][1]["eyes"] == pytest.approx((50.0, 40.0, 55.0, 40.0))


@pytest.mark.parametrize(
    ("name", "said"),
    [("letter.png", "letter.png: is not a picture"), ("oblong.png", "crop it to the head"), (None, "no picture yet")],
)
def test_what_cannot_be_restored_is_said(anna, pictures, name, said):
    answer = anna.restore(anna.upload(pictures / name)[0] if name else None)
    assert said in answer["said"] and "/" not in answer["said"].replace("</", "")


def test_step_2_waits_for_step_1(enter, pictures):
    bert = enter()
    assert "finish step 1" in bert.restore(bert.upload(pictures / "small.png")[0])["said"]
    assert "no photograph yet" in bert.ask("learn", "click", [None, False])["learnt"]


@pytest.mark.parametrize(
    "wishes",
    [
        ["x", False, 0, False, 0.5],
        [1, False, -1, False, 0.5],
        [99, False, 0, False, 0.5],
        [1, 0, 1e99, 0, 0.5],
        [1, False, 0, False, None],
        [1, False, 0, False, 1.5],
    ],
)
def test_nonsense_is_refused_in_a_sentence(anna, pictures, wishes, capfd):
    answer = anna.ask("restore", "click", [anna.upload(pictures / "small.png")[0], *wishes])
    assert "bad" in answer["said"] and "went wrong" not in answer["said"]
    assert "Traceback" not in capfd.readouterr().err


def test_a_crash_is_a_sentence_and_the_next_request_is_unharmed(anna, pictures, capfd):
    crashed = anna.restore(anna.upload(pictures / "bug.png")[0])
    assert "went wrong" in crashed["said"] and "ZeroDivision" not in str(crashed)
    assert "a fault of ours" in capfd.readouterr().err
    assert anna.restore(anna.upload(pictures / "small.png")[0])["slider"]["visible"]


def test_files_that_are_too_large_are_refused(anna, pictures):
    with pytest.raises(Refused, match="413"):
        anna.upload(pictures / "large.png")
    assert anna.upload(pictures / "small.png")


def test_no_visitor_reaches_anothers_files_or_page(anna, enter, pictures):
    bert = enter()
    theirs = anna.upload(pictures / "one.png")[0]
    assert anna.fetch(theirs["path"]).status_code == 200
    assert bert.fetch(theirs["path"]).status_code == bert.fetch(anna.identity).status_code == 403
    with pytest.raises(Refused, match="403"):
        bert.restore(theirs)
    bert.session = anna.session
    with pytest.raises(Refused, match="somebody else"):
        bert.restore(None)
    assert bert.http.get("/gradio_api/queue/data", params={"session_hash": anna.session}).status_code == 403


def test_when_the_queue_is_full_the_page_is_busy(anna, site, pictures, until):
    site.restorer.go_on.clear()
    slow, quick = (anna.upload(pictures / name)[0] for name in ("slow.png", "small.png"))
    wishes = [1, False, 0, False, 0.5]
    requests = [anna.join("restore", "click", [slow, *wishes])]
    until(lambda: "slow.png" in [name for name, _ in site.restorer.calls])
    requests += [anna.join("restore", "click", [quick, *wishes]) for _ in range(3)]
    with pytest.raises(Busy):
        anna.join("restore", "click", [quick, *wishes])
    site.restorer.go_on.set()
    assert anna.wait("restore", "click", requests[-1])["slider"]["visible"]
    assert anna.restore(quick)["slider"]["visible"]


def test_a_page_that_is_closed_leaves_nothing(site, enter, pictures, until):
    carl = enter()
    carl.learn(pictures / "darker.png")
    (secret,) = [key for key in site.visitors._visitors if carl.session in site.visitors._visitors[key].visits]
    visit = site.visitors.visit(secret, carl.session)  # asked for once: of a page that is gone it would make another
    folder = visit.folder
    uploads = list(site.visitors._visitors[secret].uploads)
    assert (folder / "identity.safetensors").is_file() and all(path.is_file() for path in uploads)
    with carl.http.stream("GET", f"/gradio_api/heartbeat/{carl.session}") as beat:
        lines = beat.iter_lines()  # Kept, as the connection is closed with it.
        assert next(lines).startswith("data")
        assert visit.closed is None
    until(lambda: visit.closed is not None)
    site.visitors._grace = -1.0
    site.visitors.sweep()
    site.visitors._grace = 120.0
    assert not folder.exists() and uploads and not any(path.exists() for path in uploads)
    assert "finish step 1" in carl.restore(carl.upload(pictures / "small.png")[0])["said"]


def test_of_many_requests_none_is_lost(enter, pictures):
    """The short form of `python -m benchmarks.app_load`."""
    crowd = [enter() for _ in range(3)]
    for visitor in crowd:
        visitor.learn(pictures / "one.png")
    counts, seconds = load(crowd, pictures / "small.png", 20)
    assert counts == {"restored": 19, "crashed": 1} and len(seconds) == 20


def test_the_page_names_no_other_host_and_offers_no_programs(site):
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        page = client.get("/")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "fonts.googleapis" not in page.text and "/gradio_api/info" not in page.text
        assert client.get("/gradio_api/info").status_code == client.get("/docs").status_code == 404
        config = client.get("/config").json()
    assert not config.get("analytics_enabled") and not config.get("run_history") and config["footer_links"] == []
    assert all(
        dependency["api_visibility"] == "private" for dependency in config["dependencies"] if dependency["inputs"]
    )


def test_with_a_login_nobody_enters_without_one(serve_page, pictures):
    with serve_page(logins={"anna": "a long password"}) as site:
        with httpx.Client(base_url=site.url, trust_env=False) as client:
            assert "learn" not in client.get("/", headers={"host": "any.example"}).text.lower().split("<script")[0]
            assert client.get("/config").status_code == 401
            file = {"files": ("a.png", b"x")}
            assert client.post("/gradio_api/upload", files=file).status_code == 401
            began = time.monotonic()
            assert client.post("/login", data={"username": "anna", "password": "wrong"}).status_code == 400
            assert time.monotonic() - began > 0.9
            assert client.post("/login", data={"username": "anna", "password": "a long password"}).status_code == 200
            assert client.get("/config").status_code == 200
        folder = site.root
        assert folder.is_dir()
    assert not folder.exists()
