"""The guard before an application that answers everything."""

import asyncio
import json
from pathlib import Path

import pytest

from idfsr_jax.app.guard import COOKIE, Guard
from idfsr_jax.app.limits import LOOPBACK_NAMES
from idfsr_jax.app.messages import paths_in
from idfsr_jax.app.visitors import Visitors


class Inner:
    """Says yes to everything, or gives the answer that it was told; notes what came through."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.answer = b"yes"

    async def __call__(self, scope, receive, send) -> None:
        message = await receive()
        self.asked.append((scope["path"], message.get("body", b"")))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-content-type-options", b"old")]})
        await send({"type": "http.response.body", "body": self.answer[:2], "more_body": True})
        await send({"type": "http.response.body", "body": self.answer[2:]})


@pytest.fixture
def inner():
    return Inner()


@pytest.fixture
def visitors(tmp_path):
    return Visitors(tmp_path, quota=1_500)


def answer(guard, path, cookies, *, body=b"", query=b"", host="localhost:7860", headers=()):
    """Sends a request through a guard; returns status, headers and body."""
    pairs = [(b"host", host.encode()), (b"cookie", cookies.encode()), *headers]
    scope = {"type": "http", "path": path, "query_string": query, "headers": pairs, "scheme": "http"}
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(part.get("body", b"") for part in sent)


@pytest.fixture
def ask(inner, visitors):
    """A function that sends a request of whoever has a cookie."""
    guard = Guard(inner, visitors, LOOPBACK_NAMES, max_upload=1_000)
    cookies = lambda cookie: f"a=b; {COOKIE}={cookie}" if cookie else ""  # noqa: E731
    return lambda path, cookie=None, **options: answer(guard, path, cookies(cookie), **options)


def join(session: str, *paths: Path) -> bytes:
    files = [{"image": {"path": str(path), "meta": {"_type": "gradio.FileData"}}} for path in paths]
    return json.dumps({"session_hash": session, "fn_index": 0, "data": [files, 1, None]}).encode()


def test_the_page_brings_a_cookie_once(ask, visitors):
    status, headers, body = ask("/")
    assert status == 200 and body == b"yes"
    cookie = headers[b"set-cookie"].decode()
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    secret = cookie.removeprefix(f"{COOKIE}=").split(";")[0]
    assert visitors.knows(secret) and b"set-cookie" not in ask("/", secret)[1]
    assert b"set-cookie" in ask("/", "invented")[1]


def test_every_answer_forbids_other_hosts(ask):
    headers = ask("/")[1]
    assert (
        b"default-src 'self'" in headers[b"content-security-policy"]
        and b"http" not in headers[b"content-security-policy"]
    )
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/run/learn", "/gradio_api/call/learn", "/monitoring"]
    + ["/gradio_api/proxy=http://localhost/", "/gradio_api/component_server", "/gradio_api/vibe-edit", "/docs"]
    + ["/gradio_api/stream/x", "/gradio_api/file/etc/passwd", "/gradio_api/process_recording", "/gradio_api/deep_link"],
)
def test_what_the_page_does_not_need_is_not_there(ask, inner, visitors, path):
    assert ask(path, visitors.admit())[0] == 404 and inner.asked == []


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1.evil.example", "", "[::1", "192.168.0.7"])
def test_other_names_of_this_machine_are_not_heard(ask, inner, host):
    assert ask("/", host=host)[0] == 421 and inner.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:7860", "LOCALHOST"])
def test_its_own_names_are(ask, host):
    assert ask("/", host=host)[0] == 200


def test_without_a_cookie_nothing_is_done(ask, inner):
    for path in ("file=/tmp/x", "upload", "queue/join", "queue/data", "heartbeat/page", "cancel"):
        for cookie in (None, "invented"):
            status, _, body = ask(f"/gradio_api/{path}", cookie, body=join("page"))
            assert status == 403 and b"reload" in body
    assert inner.asked == []


def test_no_visitor_can_fetch_anothers_file(ask, visitors):
    anna, bert = visitors.admit(), visitors.admit()
    file = visitors.visit(anna, "page").folder / "restored.png"
    status, headers, _ = ask(f"/gradio_api/file={file}", anna)
    assert status == 200 and headers[b"cache-control"] == b"private, no-store"
    assert ask(f"/gradio_api/file={file}", bert)[0] == 403
    for path in ("/etc/passwd", f"{file.parent}/../../x", "http://example.org/x", f"{visitors.root}"):
        assert ask(f"/gradio_api/file={path}", anna)[0] == 403


def test_no_visitor_can_name_anothers_file_or_session(ask, inner, visitors):
    anna, bert = visitors.admit(), visitors.admit()
    file = visitors.visit(anna, "page").folder / "restored.png"
    assert ask("/gradio_api/queue/join", anna, body=join("page", file))[0] == 200
    assert inner.asked[-1][1] == join("page", file), "the body is handed on"
    for body in (
        join("other", file),
        join("page"),
        join("other", Path("/etc/passwd")),
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
    ):
        assert ask("/gradio_api/queue/join", bert, body=body)[0] in (400, 403)
    assert ask("/gradio_api/queue/data", bert, query=b"session_hash=page")[0] == 403
    assert ask("/gradio_api/queue/data", anna, query=b"session_hash=page")[0] == 200
    assert ask("/gradio_api/heartbeat/page", bert)[0] == 403
    assert ask("/gradio_api/queue/join", anna, body=b"x" * 1_000_001)[0] == 413
    assert len(inner.asked) == 2


def test_a_connection_that_ends_closes_the_page(ask, visitors):
    anna = visitors.admit()
    ask("/gradio_api/heartbeat/page", anna)
    assert visitors.visit(anna, "page").closed is not None


def test_what_is_uploaded_is_the_visitors(ask, inner, visitors):
    anna = visitors.admit()
    file = visitors.root / "hash" / "a.png"
    file.parent.mkdir()
    file.write_bytes(b"picture")
    inner.answer = json.dumps([str(file)]).encode()
    assert ask("/gradio_api/upload", anna, headers=[(b"content-length", b"900")])[0] == 200
    assert visitors.owns(anna, file)
    inner.answer = b"File exceeded maximum allowed size"
    for _ in range(3):
        assert ask("/gradio_api/upload", anna, headers=[(b"content-length", b"900")])[0] == 200
    for _ in range(3):  # What failed has given its bytes back.
        visitors.reserve(anna, 400)


def test_uploads_are_capped(ask, inner, visitors):
    anna = visitors.admit()
    assert ask("/gradio_api/upload", anna)[0] == 411
    status, _, body = ask("/gradio_api/upload", anna, headers=[(b"content-length", b"1001")])
    assert status == 413 and b"fewer or smaller" in body
    visitors.reserve(anna, 1_000)
    assert ask("/gradio_api/upload", anna, headers=[(b"content-length", b"600")])[0] == 413
    assert ask("/gradio_api/upload", anna, headers=[(b"content-length", b"many")])[0] == 411
    assert inner.asked == []


def test_every_file_of_a_message_is_found():
    message = {"data": [{"image": {"path": "a"}}, [{"path": "b", "x": {"path": "c"}}], {"path": 3}], "path": "d"}
    assert sorted(paths_in(message)) == ["a", "b", "c", "d"]


def test_an_upload_in_chunks_is_refused_whatever_length_it_claims(ask, inner, visitors):
    headers = [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")]
    assert ask("/gradio_api/upload", visitors.admit(), headers=headers)[0] == 411 and inner.asked == []


def test_before_a_login_there_is_no_visitor(inner, visitors):
    guard = Guard(inner, visitors, None, 1_000, is_allowed=lambda cookies: cookies.get("token") == "good")

    def status(path, cookies):
        return answer(guard, path, cookies, host="any")[0]

    known = visitors.admit()
    assert status("/", "a=b") == 200 and len(visitors) == 1
    assert status("/gradio_api/heartbeat/page", f"{COOKIE}={known}") == 401
    assert status("/", "token=good") == 200 and len(visitors) == 2
    assert status("/gradio_api/heartbeat/page", f"{COOKIE}={known}; token=good") == 200
