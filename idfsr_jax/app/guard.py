"""What stands in front of Gradio: only the page's own routes, only its own hosts, and to each visitor only their own.

Gradio serves every file of its cache to whoever knows the path, and every session to whoever knows its name. Here each
browser has a secret in a cookie; uploads, results and sessions belong to the secret that they came with.
"""

import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from idfsr_jax.app.messages import (
    Application,
    Message,
    Receive,
    Refusal,
    Send,
    parse,
    paths_in,
    read_body,
    refuse,
    replay,
    uploaded,
)
from idfsr_jax.app.visitors import VisitorGone, Visitors
from idfsr_jax.io.errors import InputError

COOKIE = "idfsr_visitor"
_API = "/gradio_api/"
_MAX_MESSAGE = 1_000_000
_OPEN = re.compile(
    r"/|/(login|logout|config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)/?|/(assets|static)/.+"
    rf"|{_API}(theme\.css|startup-events|app_id|login_check|user|token)/?"
)
"""Routes that tell nothing of anybody."""
_OWN = re.compile(
    rf"{_API}(?:(?P<file>file=.+)|(?P<upload>upload)|(?P<beat>heartbeat/(?P<session>[^/]+))"
    r"|(?P<body>queue/join|cancel|reset)|(?P<query>queue/data)|upload_progress)/?"
)
"""Routes that are a visitor's."""
_HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data:; "
    "worker-src 'self' blob:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; object-src 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class Guard:
    """An ASGI application in front of another.

    Attributes:
      app: Gradio's.
      visitors: of the page.
      hosts: names under which the page may be asked for; None for any.
      max_upload: bytes of one upload, of all its files together.
      is_allowed: whether the values of a request's cookies include one that a login gave; by default all may enter.
    """

    app: Application
    visitors: Visitors
    hosts: frozenset[str] | None
    max_upload: int
    is_allowed: Callable[[Mapping[str, str]], bool] = lambda cookies: True

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers a request, or has it answered."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return
        cookies = _cookies(scope)
        secret, allowed = cookies.get(COOKIE), self.is_allowed(cookies)
        try:
            self._require_host(scope)
            if own := _OWN.fullmatch(scope["path"]):
                if not allowed:
                    raise Refusal(HTTPStatus.UNAUTHORIZED, "Log in first.")
                if secret is None or not self.visitors.knows(secret):
                    raise Refusal(HTTPStatus.FORBIDDEN, "This page is too old; reload it.")
                await self._own(
                    own, secret, scope, receive, _with_headers(send, {"cache-control": "private, no-store"})
                )
            elif _OPEN.fullmatch(scope["path"]):
                headers = {}
                if scope["path"] == "/" and allowed and not self.visitors.knows(secret):
                    secure = "; Secure" if scope["scheme"] == "https" else ""
                    headers["set-cookie"] = f"{COOKIE}={self.visitors.admit()}; Path=/; HttpOnly; SameSite=Lax{secure}"
                await self.app(scope, receive, _with_headers(send, headers))
            else:
                raise Refusal(HTTPStatus.NOT_FOUND, "There is nothing here.")
        except Refusal as refusal:
            await refuse(send, refusal)
        except VisitorGone:
            await refuse(send, Refusal(HTTPStatus.FORBIDDEN, "This page is too old; reload it."))

    async def _own(
        self, own: re.Match[str], secret: str, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        if own["file"]:
            if not self.visitors.owns(secret, Path(own["file"].removeprefix("file="))):
                raise Refusal(HTTPStatus.FORBIDDEN, "There is no such file of yours.")
        elif own["upload"]:
            return await self._upload(secret, scope, receive, send)
        elif own["beat"]:
            return await self._beat(secret, own["session"], scope, receive, send)
        elif own["query"]:
            query = parse_qs(scope["query_string"].decode("latin-1"))
            self._require_session(secret, (query.get("session_hash") or [""])[0])
        elif own["body"]:
            body = await read_body(receive, _MAX_MESSAGE)
            message = parse(body)
            self._require_session(secret, str(message.get("session_hash")))
            files = [Path(path) for path in paths_in(message)]
            if not self.visitors.claim(secret, str(message.get("session_hash")), files):
                raise Refusal(HTTPStatus.FORBIDDEN, "These files are gone; reload the page and drop them again.")
            receive = replay(body, receive)
        await self.app(scope, receive, send)

    async def _upload(self, secret: str, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        length = _header(scope, b"content-length")
        size = int(length) if length.isdecimal() else None
        # Where both are given, the body is what comes in chunks, however long.
        if size is None or _header(scope, b"transfer-encoding"):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "An upload has to say how long it is.")
        if size > self.max_upload:
            megabytes = self.max_upload // 1_000_000
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"These files together have more than {megabytes} MB; give fewer or smaller ones.",
            )
        try:
            self.visitors.reserve(secret, size)
        except InputError as error:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from error
        answer = bytearray()

        async def listen(message: Message) -> None:
            answer.extend(message.get("body", b""))
            # The last part goes out only once the files are known to be the visitor's.
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.visitors.take(secret, size, uploaded(bytes(answer)))
                taken.append(True)
            await send(message)

        taken: list[bool] = []
        # Compressed, the answer could not be read here.
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
        try:
            await self.app(scope, receive, listen)
        finally:
            if not taken:
                self.visitors.take(secret, size, [])

    async def _beat(
        self, secret: str, session: str, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        self._require_session(secret, session)
        self.visitors.connect(secret, session)
        try:
            await self.app(scope, receive, send)
        finally:
            self.visitors.hang_up(secret, session)

    def _require_session(self, secret: str, session: str) -> None:
        if not self.visitors.bind(secret, session):
            raise Refusal(HTTPStatus.FORBIDDEN, "This page is somebody else's.")

    def _require_host(self, scope: MutableMapping[str, Any]) -> None:
        """Another name for this machine is how a foreign page in the same browser would reach it (DNS rebinding)."""
        if self.hosts is None:
            return
        try:
            host = urlsplit(f"//{_header(scope, b'host')}").hostname
        except ValueError:
            host = None
        if host not in self.hosts:
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "This page is not known by that name.")


def _header(scope: MutableMapping[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _cookies(scope: MutableMapping[str, Any]) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(_header(scope, b"cookie")).items()}
    except CookieError:
        return {}


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    extra = [(name.encode(), value.encode()) for name, value in {**_HEADERS, **headers}.items()]
    names = {name for name, _ in extra if name != b"set-cookie"}

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in names]
            message = {**message, "headers": [*kept, *extra]}
        await send(message)

    return wrapped
