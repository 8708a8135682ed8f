"""The page's server: Gradio behind the guard, on one socket, until it is stopped."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from idfsr_jax.app.guard import Guard
from idfsr_jax.app.limits import LOOPBACK_NAMES, is_login
from idfsr_jax.app.visitors import Visitors
from idfsr_jax.io.files import try_lock
from idfsr_jax.restore.photographs import MAX_PHOTOGRAPHS

_PREFIX, _LOCK = "idfsr-app-", ".lock"
_SWEEP_SECONDS = 15.0
_WRONG_LOGIN_SECONDS = 1.0
_M_ARENA_MAX, _ARENAS = -8, 4
"""A setting of glibc's <malloc.h>, and what it is set to."""


@dataclass(frozen=True)
class Service:
    """How the page is served.

    Attributes:
      max_upload_mb: of one file, in MB; all uploads of a visitor together may have ten times as many.
      queue: how many requests may wait.
      visitors: how many there may be at once.
      logins: passwords by user; empty where nobody has to log in, and then only the names of this machine are heard.
    """

    max_upload_mb: int = 20
    queue: int = 8
    visitors: int = 32
    logins: Mapping[str, str] = field(default_factory=dict, repr=False)


def serve(restorer: Any, listening: socket.socket, service: Service) -> None:
    """Serves the page until the process is interrupted or told to end; no file of a visitor remains.

    Args:
      restorer: a `Restorer`.
      listening: where to.
      service: how.
    """
    with _ending_on_sigterm(), running(restorer, listening, service) as server:
        server.run(sockets=[listening])


@contextlib.contextmanager
def running(restorer: Any, listening: socket.socket, service: Service) -> Iterator[Any]:
    """A server that has yet to be run (`uvicorn.Server`), and a folder for its visitors, removed in the end."""
    import uvicorn

    remove_abandoned(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder,
        open(Path(folder) / _LOCK, "wb") as lock,
    ):
        try_lock(lock)
        quota = 10 * service.max_upload_mb * 1_000_000
        visitors = Visitors(Path(folder), quota=quota, most=service.visitors)
        with _sweeping(visitors):
            app = application(restorer, visitors, service)
            config = uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=3,
                h11_max_incomplete_event_size=65_536,
                ws="none",
                server_header=False,
            )
            yield uvicorn.Server(config)


def keep_few_arenas() -> bool:
    """Lets all threads share four pools of memory; to be called before there are many threads.

    glibc gives every thread a pool of its own, up to eight for each core, and what a restoration frees in one of them
    is of no use to the next restoration in another: of 900 requests each left half a megabyte behind, though Python and
    JAX had freed everything. Fewer than four cost time: in a process that has compiled its programs itself, and not
    read them from the cache, threads wait for one another, and a restoration takes 1.4 times as long with two.

    Returns:
      Whether the C library has such a setting; others need none.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, _ARENAS) == 1


def remove_abandoned(parent: Path) -> None:
    """Removes what servers left that were killed: a lock of theirs holds no longer. Those of other users stay."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with open(folder / _LOCK, "rb") as lock:
                if try_lock(lock):
                    shutil.rmtree(folder)


def application(restorer: Any, visitors: Visitors, service: Service) -> Guard:
    """The whole as an ASGI application. From here on Gradio's cache is the visitors' folder."""
    os.environ["GRADIO_TEMP_DIR"] = str(visitors.root)
    # Both are read when Gradio is first imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio
    from fastapi import FastAPI

    from idfsr_jax.app.desk import Desk
    from idfsr_jax.app.page import build_page, stylesheet, theme

    page = build_page(Desk(restorer, visitors), queue=service.queue)
    page.state_session_capacity = 4 * service.visitors
    app = gradio.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        max_file_size=service.max_upload_mb * 1_000_000,
        auth=_door(service.logins) if service.logins else None,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=theme(),
        css=stylesheet(),
    )
    most = min(MAX_PHOTOGRAPHS, 10) * service.max_upload_mb * 1_000_000
    guard = Guard(app, visitors, None if service.logins else LOOPBACK_NAMES, max_upload=most)
    if not service.logins:
        return guard
    inner = next(route.app for route in app.routes if isinstance(getattr(route, "app", None), gradio.routes.App))
    # Gradio keeps the tokens that it gave, and asks for them in few of its routes.
    names = (f"access-token-{inner.cookie_id}", f"access-token-unsecure-{inner.cookie_id}")
    return replace(guard, is_allowed=lambda cookies: any(cookies.get(name) in inner.tokens for name in names))


def _door(logins: Mapping[str, str]) -> Any:
    async def enters(user: str, password: str) -> bool:
        if is_login(logins, user, password):
            return True
        await asyncio.sleep(_WRONG_LOGIN_SECONDS)  # So that guessing takes its time.
        return False

    return enters


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the process by an exception; uvicorn raises the signal once more when it has shut down."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _sweeping(visitors: Visitors) -> Iterator[None]:
    stopped = threading.Event()

    def sweep() -> None:
        while not stopped.wait(_SWEEP_SECONDS):
            visitors.sweep()

    thread = threading.Thread(target=sweep, name="sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
