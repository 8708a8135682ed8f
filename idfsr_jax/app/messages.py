"""What goes back and forth between browser and server, in the words of ASGI (asgi.readthedocs.io)."""

import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(eq=False)
class Refusal(Exception):
    """An answer instead of the one asked for."""

    status: HTTPStatus
    sentence: str


async def refuse(send: Send, refusal: Refusal) -> None:
    """Sends the refusal instead of an answer."""
    body = json.dumps({"detail": refusal.sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive, most: int) -> bytes:
    """The whole body.

    Raises:
      Refusal: it is longer than `most` bytes.
    """
    body = bytearray()
    while True:
        message = await receive()
        body.extend(message.get("body", b""))
        if len(body) > most:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This request is too long.")
        if not message.get("more_body"):
            return bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """As `receive`, before it was read."""
    given: list[bool] = []

    async def replayed() -> Message:
        if given:
            return await receive()
        given.append(True)
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
      Refusal: it is something else.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise Refusal(HTTPStatus.BAD_REQUEST, "This request cannot be read.")
    return message


def paths_in(value: Any) -> Iterator[str]:
    """Every file that a message names, at any depth."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if isinstance(value.get("path"), str):
                yield value["path"]
            pending += reversed(value.values())
        elif isinstance(value, list):
            pending += reversed(value)


def uploaded(answer: bytes) -> list[Path]:
    """The files that an upload's answer names; none if it failed."""
    try:
        paths = json.loads(answer)
    except ValueError:
        return []
    return [Path(path) for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
