"""The page as a visitor sees it: Playwright drives it in a headless Chromium, as wide as a desk or a telephone."""

import shutil

import pytest

from benchmarks.app_client import Visitor
from idfsr_jax.face import read_metadata
from idfsr_jax.restore.identity import Identity

# Gradio's own, about packages that it uses.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
_PATIENCE = 120_000
"""Milliseconds; machines that test are busy."""


@pytest.fixture(scope="module")
def site(serve_page):
    with serve_page(max_upload_mb=1, queue=1) as site:
        yield site


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: no program `chromium` was found")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, site):
    """A function that opens the page at a width, and notes which hosts it asks."""
    contexts, asked = [], []

    def opened(width: int):
        context = chromium.new_context(
            viewport={"width": width, "height": 844}, has_touch=width < 600, is_mobile=width < 600
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(site.url)
        page.wait_for_selector("#learn")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert asked and {url.split("/")[2] for url in asked if not url.startswith(("data:", "blob:"))} == {
        site.url.split("/")[2]
    }


def drop(page, place: str, *files) -> None:
    page.set_input_files(f"#{place} input[type=file]", [str(file) for file in files])
    page.wait_for_selector(f"#{place} img")


def learn(page, *photographs) -> str:
    """Adds photographs and learns from all that are there; returns what is said then."""
    # What is said, without the progress that Gradio lays over it.
    now = "[...document.querySelectorAll('#learnt .said')].map(element => element.innerText).join()"
    before, shown = page.evaluate(now), page.locator("#photographs img").count()
    drop(page, "photographs", *photographs)
    # What is sent before all are uploaded is sent without them.
    page.wait_for_function(f"document.querySelectorAll('#photographs img').length >= {shown + len(photographs)}")
    page.click("#learn")
    page.wait_for_function(f"before => ![before, ''].includes({now})", arg=before)
    return page.inner_text("#learnt")


def fits(page) -> bool:
    """Whether nothing sticks out of the screen at the side."""
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def click_at(page, across: float, down: float) -> None:
    """Clicks into the picture that a question came with, at shares of its width and height."""
    image = page.locator("#chooser img")
    image.scroll_into_view_if_needed()
    size = image.bounding_box()
    image.click(position={"x": size["width"] * across, "y": size["height"] * down})


@pytest.mark.parametrize("width", [1280, 390])
def test_a_visitor_fits_restores_compares_and_downloads(open_page, site, pictures, tmp_path, width):
    page = open_page(width)
    assert "never evidence" in page.inner_text("#note") and page.locator("#note").is_visible() and fits(page)
    assert "Learnt from 1 photograph" in learn(page, pictures / "one.png")
    with page.expect_download() as waiting:
        page.click("#identity")
    waiting.value.save_as(tmp_path / "me.safetensors")
    assert Identity.load(tmp_path / "me.safetensors").photographs == 1
    with page.expect_file_chooser() as chooser:
        page.click("#saved")
    chooser.value.set_files(str(tmp_path / "me.safetensors"))
    page.wait_for_function("document.querySelector('#learnt').innerText.includes('with 1 photograph beside it')")

    drop(page, "picture", pictures / "small.png")
    # There before it is seen: Gradio would put what it makes later back to its first value, whatever was typed by then.
    assert page.locator("#count input").count() == 2 and not page.locator("#count").is_visible()
    page.click("#small .label-wrap")
    page.fill("#count input[type=number]", "2")
    page.fill("#reveal input[type=number]", "0.25")
    page.keyboard.press("Tab")
    page.click("#restore")
    page.wait_for_selector("#slider img")
    page.wait_for_selector("#spread img")
    assert site.restorer.calls[-1][1]["reveal"] == 0.25
    assert page.locator("#variants button.thumbnail-item").count() == 2 and fits(page)
    page.wait_for_function("[...document.querySelectorAll('#slider img')].every(image => image.naturalWidth === 640)")
    for number, name in ((None, "small-restored.png"), (1, "small-restored-2.png")):
        if number is not None:
            page.locator("#variants button.thumbnail-item").nth(number).click()
            shown = "[...document.querySelectorAll('#slider img')].some(image => image.src.includes('after-2.png'))"
            page.wait_for_function(shown)
        with page.expect_download() as waiting:
            page.click("#download")
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
        assert "synthesised" in read_metadata(tmp_path / name)["Description"]
    assert page.locator("#note").is_visible()


def test_of_two_faces_the_one_that_is_clicked_is_restored(open_page, site, pictures):
    page = open_page(390)
    learn(page, pictures / "one.png")
    drop(page, "picture", pictures / "group.png")
    page.click("#restore")
    page.wait_for_selector("#chooser img")
    assert "shows 2 faces; click the one" in page.inner_text("#ask") and not page.locator("#slider").is_visible()
    image = page.locator("#chooser img")
    image.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#chooser img').naturalWidth === 720")
    size = image.bounding_box()
    # The picture is 200 x 80, the second face at 110..150, 20..60.
    image.click(position={"x": size["width"] * 130 / 200, "y": size["height"] / 2})
    page.wait_for_selector("#slider img")
    assert site.restorer.calls[-1][1]["face"] == 2 and fits(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_face_is_chosen_first_and_then_another_one_is_restored(open_page, site, pictures, width):
    page = open_page(width)
    learn(page, pictures / "one.png")
    drop(page, "picture", pictures / "group.png")
    page.click("#which")
    page.wait_for_function("document.querySelector('#ask').innerText.includes('2 faces were found; click the one')")
    page.wait_for_function("document.querySelector('#chooser img')?.naturalWidth === 720")
    assert not page.locator("#slider").is_visible() and fits(page)

    page.locator("#picture button[aria-label='Clear'], #picture button[aria-label='Remove Image']").first.click()
    drop(page, "picture", pictures / "nobody.png")
    page.wait_for_function("document.querySelector('#ask').innerText === ''")
    for number, (left, right) in enumerate([(186, 222), (546, 582)]):
        page.click("#restore")
        page.wait_for_function("document.querySelector('#ask').innerText.includes('no face was found')")
        page.wait_for_function("document.querySelector('#chooser img')?.naturalWidth === 720")
        click_at(page, left / 720, 0.4)
        page.wait_for_function("document.querySelector('#ask').innerText.includes('the other eye')")
        click_at(page, right / 720, 0.4)
        page.wait_for_selector("#slider img")
        page.wait_for_selector("#another")
        assert fits(page)
        if number == 0:
            page.click("#another")
            page.wait_for_function("document.querySelector('#ask').innerText.includes('What is restored stays')")
            assert not page.locator("#slider").is_visible() and fits(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_of_a_group_picture_the_face_that_is_clicked_is_learnt(open_page, pictures, width):
    page = open_page(width)
    assert "nothing tells which of its 2 faces" in learn(page, pictures / "two.png")
    faces = page.locator("#faces button.thumbnail-item")
    faces.nth(1).wait_for()
    assert faces.count() == 2 and "Which face is the person's?" in page.inner_text("#learnt")
    taken = "✓" in faces.nth(0).inner_text()
    faces.nth(int(taken)).click()
    page.wait_for_function(
        "other => document.querySelectorAll('#faces button.thumbnail-item')[other]?.innerText.includes('✓')",
        arg=int(taken),
    )
    page.wait_for_function("!document.querySelector('#learnt').innerText.includes('nothing tells')")
    assert f"face {int(taken) + 1} of 2" in page.locator("#learnt").text_content() and fits(page)


def test_what_cannot_be_used_is_said_in_a_sentence(open_page, pictures):
    page = open_page(1280)
    page.click("#restore")
    page.wait_for_selector("#said .bad")
    assert "finish step 1" in page.inner_text("#said")
    said = learn(page, pictures / "nobody.png", pictures / "letter.png")
    assert "None of the 2 photographs can be used" in said
    said = learn(page, pictures / "one.png")
    for sentence in ("Learnt from 1 photograph", "no face was found", "is not a picture"):
        assert sentence in said
    drop(page, "picture", pictures / "oblong.png")
    page.click("#restore")
    page.wait_for_function("document.querySelector('#said').innerText.includes('crop it to the head')")
    assert "--" not in page.inner_text("body")


def test_what_is_too_large_or_no_picture_is_not_even_taken(open_page, pictures):
    page = open_page(1280)
    for name in ("large.png", "letter.txt"):
        page.set_input_files("#picture input[type=file]", str(pictures / name))
        page.wait_for_selector(".toast-body.error")
        assert page.locator("#picture img").count() == 0
        # Not clicked at by the mouse, as it goes by itself after some seconds, which may be now.
        page.evaluate("document.querySelectorAll('.toast-body.error .toast-close').forEach(button => button.click())")
        page.wait_for_selector(".toast-body.error", state="detached")


def test_when_too_many_ask_the_page_says_that_it_is_busy(open_page, site, pictures):
    page = open_page(1280)
    learn(page, pictures / "one.png")
    drop(page, "picture", pictures / "small.png")
    site.restorer.go_on.clear()
    with Visitor(site.url) as other:
        other.learn(pictures / "one.png")
        picture = other.upload(pictures / "slow.png")[0]
        slow = [other.join("restore", "click", [picture, 1, False, 0, False, 0.5])]
        while "slow.png" not in [
            name for name, _ in site.restorer.calls
        ]:  # Until then it waits, and the next would find no place.
            page.wait_for_timeout(50)
        slow.append(other.join("restore", "click", [picture, 1, False, 0, False, 0.5]))
        page.click("#restore")
        page.wait_for_function("document.querySelector('.toast-body')?.innerText.includes('busy')")
        site.restorer.go_on.set()
        other.wait("restore", "click", slow[1])
    page.click("#restore")
    page.wait_for_selector("#slider img")
