"""A visitor of `idfsr app` without a browser: does over HTTP what the page does."""

import contextlib
import json
import mimetypes
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx


class Busy(Exception):
    """The page has no place in its queue."""


class Refused(Exception):
    """The page answered with another status than 200."""


class Visitor(contextlib.AbstractContextManager["Visitor"]):
    """One browser with one open page; as a context it is closed in the end."""

    def __init__(self, url: str, timeout: float = 600.0) -> None:
        """Opens the page, and with it gets a cookie."""
        self.http = httpx.Client(base_url=url, timeout=timeout, trust_env=False)
        self.session = secrets.token_hex(6)
        self.http.get("/").raise_for_status()
        config = self.http.get("/config").raise_for_status().json()
        self._names = {each["id"]: each["props"].get("elem_id") for each in config["components"]}
        self._events = {
            (self._names[component], event): dependency
            for dependency in config["dependencies"]
            for component, event in dependency["targets"]
            if component in self._names
        }

    def __exit__(self, *exception: object) -> None:
        self.http.close()

    def upload(self, *files: Path) -> list[dict[str, Any]]:
        """Uploads files; returns what stands for them in requests.

        Raises:
          Refused: they are too large.
        """
        parts = [("files", (file.name, file.read_bytes(), mimetypes.guess_type(file.name)[0])) for file in files]
        answer = self.http.post("/gradio_api/upload", files=parts)
        if answer.status_code != 200:
            raise Refused(f"{answer.status_code} {answer.text}")
        pairs = zip(answer.json(), files, strict=True)
        return [{"path": path, "orig_name": file.name, "meta": {"_type": "gradio.FileData"}} for path, file in pairs]

    def ask(self, name: str, event: str, data: Sequence[Any], event_data: Any = None) -> dict[str, Any]:
        """Presses a button, and waits for what comes of it: the new values by the names of their components.

        Args:
          name: of the component.
          event: "click", "select", ...
          data: values of the event's inputs.
          event_data: what else belongs to it.

        Raises:
          Busy: it was not queued.
          Refused: nor was it taken otherwise, or it failed.
        """
        return self.wait(name, event, self.join(name, event, data, event_data))

    def join(self, name: str, event: str, data: Sequence[Any], event_data: Any = None) -> str:
        """As `ask`, but returns once the request waits in the queue, with what names it."""
        body = {
            "data": list(data),
            "event_data": event_data,
            "fn_index": self._events[name, event]["id"],
            "trigger_id": next(key for key, value in self._names.items() if value == name),
            "session_hash": self.session,
        }
        joined = self.http.post("/gradio_api/queue/join", json=body)
        if joined.status_code == 503:
            raise Busy(joined.text)
        if joined.status_code != 200:
            raise Refused(f"{joined.status_code} {joined.text}")
        return joined.json()["event_id"]

    def wait(self, name: str, event: str, request: str) -> dict[str, Any]:
        """What came of a request that `join` returned."""
        values = zip(self._events[name, event]["outputs"], self._wait(request)["data"], strict=False)
        return {self._names[component]: value for component, value in values}

    def learn(self, *photographs: Path) -> dict[str, Any]:
        """Step 1."""
        return self.ask(
            "learn", "click", [[{"image": file, "caption": None} for file in self.upload(*photographs)], False]
        )

    def restore(self, picture: dict[str, Any] | None, variants: int = 1, seed: int = 0) -> dict[str, Any]:
        """Step 2, of a picture that was uploaded."""
        return self.ask("restore", "click", [picture, variants, False, seed, False, 0.5])

    def fetch(self, path: str) -> httpx.Response:
        """A file that the page may show."""
        return self.http.get(f"/gradio_api/file={path}")

    def _wait(self, event: str) -> dict[str, Any]:
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message.get("event_id") == event:
                    if not message["success"]:
                        raise Refused(str(message["output"].get("error")))
                    return message["output"]
                if message.get("msg") == "unexpected_error":
                    raise Refused(message["message"])
        raise Refused("the answer never came")
