"""A page to test: the tiny model behind the real server, in a thread, on a free port of this machine."""

import asyncio
import contextlib
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.restore.places import Choice, Place, UndecidedFaces

CRASHING_SEED = 4_000_000_000
_GROUP = tuple(Place((10 + 100 * left, 20, 40, 40), np.eye(3)) for left in (0, 1))


@dataclass
class Scripted:
    """A restorer that does as the name of the picture says, where the real one would need minutes or a bug."""

    real: Any
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def faces(self, picture: Path) -> Any:
        """As `restore` sees them."""
        if picture.stem != "group":
            return self.real.faces(picture)
        return np.array(Image.open(picture)), list(_GROUP)

    def restore(self, picture: Path, identity: Any, crops: Any, **options: Any) -> Any:
        """`bug` crashes, `slow` waits, `group` shows two faces between which nobody can tell."""
        self.calls.append((picture.name, options))
        name = picture.stem
        if name == "bug" or options["seed"] == CRASHING_SEED:
            raise ZeroDivisionError("a fault of ours")
        if name == "slow":
            assert self.go_on.wait(60)
        if name == "group":
            image = np.array(Image.open(picture))
            if options["face"] is None:
                raise UndecidedFaces(f"{picture}: shows 2 faces; give --face N.", image, Choice(_GROUP, 1, (0.4, 0.6)))
            picture, options = picture.with_name("small.png"), {**options, "face": None}
            return self.real.restore(image[:8, :8].copy(), identity, crops, **options)
        return self.real.restore(picture, identity, crops, **options)


@pytest.fixture(scope="session")
def gradio() -> Any:
    """Gradio, whose imports warn of this and that."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("gradio", reason="needs Gradio, the extra `app`")


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool]], None]:
    """A function that waits for a condition."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, _astronaut, face_crop) -> Path:
    """A folder of what a visitor may drop, good and bad."""
    folder = tmp_path_factory.mktemp("pictures")

    def save(name: str, image: np.ndarray) -> None:
        Image.fromarray(image).save(folder / name)

    small = np.array(Image.fromarray(face_crop.image).resize((8, 8), Image.Resampling.BOX))
    save("one.png", _astronaut)
    save("darker.png", (_astronaut * 0.7).astype(np.uint8))
    save("nobody.png", np.full((100, 120, 3), 128, np.uint8))
    save("two.png", np.concatenate([_astronaut[:300, 100:400]] * 2, axis=1))
    save("group.png", np.random.default_rng(0).integers(0, 255, (80, 200, 3)).astype(np.uint8))
    save("oblong.png", small[:6])
    for name in ("small.png", "bug.png", "slow.png"):
        save(name, small)
    noise = np.random.default_rng(1).integers(0, 255, (700, 700, 3)).astype(np.uint8)
    save("large.png", noise)
    (folder / "letter.png").write_text("Dear Sir or Madam")
    (folder / "letter.txt").write_text("Dear Sir or Madam")
    return folder


@dataclass(frozen=True)
class Site:
    """A page that is being served."""

    url: str
    restorer: Scripted
    visitors: Any
    root: Path


@pytest.fixture(scope="session")
def serve_page(gradio, restorer, until) -> Callable[..., contextlib.AbstractContextManager[Site]]:
    """A function that serves a page while its context lasts."""
    import uvicorn

    from idfsr_jax.app import serve

    @contextlib.contextmanager
    def served(**options: Any) -> Iterator[Site]:
        from idfsr_jax.app.limits import listen

        scripted = Scripted(restorer)
        with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRADIO_TEMP_DIR", "")  # The server's own, until it ends.
            listening = stack.enter_context(listen("127.0.0.1", 0))
            with warnings.catch_warnings():
                # Gradio makes event loops that nobody closes.
                warnings.simplefilter("ignore", ResourceWarning)
                server = stack.enter_context(serve.running(scripted, listening, serve.Service(**options)))
                asyncio.set_event_loop(None)
                gc.collect()
            assert isinstance(server, uvicorn.Server)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            until(lambda: server.started or not thread.is_alive())
            visitors = server.config.app.visitors
            try:
                yield Site(f"http://127.0.0.1:{listening.getsockname()[1]}", scripted, visitors, visitors.root)
            finally:
                scripted.go_on.set()
                server.should_exit = True
                thread.join(30)
            assert not thread.is_alive()

    return served
