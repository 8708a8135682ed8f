"""The parts of one command's time: python -m benchmarks.parts FILE fit|restore ARGUMENT ...

Runs `idfsr` with the arguments in this process, and writes the seconds of each part to FILE, as JSON. A part that lies
within another one counts there no more.
"""

import importlib
import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

_LIBRARIES = {
    "fit": ("idfsr_jax.restore.restorer", "idfsr_jax.restore.fitting", "rich.progress"),
    "restore": ("idfsr_jax.restore.restorer", "idfsr_jax.commands.restoring"),
}
_FUNCTIONS = {
    "the model read": ("restorer.load_model", "loaded.load_recognisers", "fitting.frozen_of"),
    "photographs read": ("restorer.gather_photographs",),
    "photographs and faces described": ("loaded.photograph_descriptors", "loaded.small_unit"),
    "the condition": ("restorer.condition_of",),
    "the fit": ("fitting.fit_person",),
    "sampled": ("restorer.sample_found",),
    "written": ("result.Restoration.save", "identity.Identity.save"),
}
"""Parts by the functions of `idfsr_jax.restore` that they consist of, where these are called."""
_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "programs traced",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "programs lowered",
    "/jax/core/compile/backend_compile_duration": "programs compiled, or read from the cache",
}
PROCESSOR = "processor, both cores"


class _Clock:
    """Seconds by part; a stack of those that are running, each with the seconds of what ran within it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.inner = [0.0]

    def add(self, part: str, seconds: float, inner: float = 0.0) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds - inner
        self.inner[-1] += seconds

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.inner.append(0.0)
            began = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = perf_counter() - began
                self.add(part, seconds, self.inner.pop())

        return call


def main() -> int:
    """Runs the command, and writes its parts."""
    began = perf_counter()
    out, *arguments = sys.argv[1:]
    clock = _Clock()

    def libraries() -> None:
        for name in ("idfsr_jax.cli", *_LIBRARIES[arguments[0]]):
            importlib.import_module(name)

    clock.timed("libraries loaded", libraries)()
    _watch(clock)
    from idfsr_jax import cli

    code = cli.main(arguments)
    clock.seconds["the rest"] = perf_counter() - began - sum(clock.seconds.values())
    Path(out).write_text(json.dumps(clock.seconds | {PROCESSOR: process_time()}))
    return code


def _watch(clock: _Clock) -> None:
    """Has the clock take the time of all parts."""
    import jax.monitoring

    for part, names in _FUNCTIONS.items():
        for name in names:
            module, *path, last = name.split(".")
            if f"idfsr_jax.restore.{module}" not in sys.modules:
                continue
            owner: Any = sys.modules[f"idfsr_jax.restore.{module}"]
            for each in path:
                owner = getattr(owner, each)
            setattr(owner, last, clock.timed(part, getattr(owner, last)))

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event in _EVENTS:
            clock.add(_EVENTS[event], duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)


if __name__ == "__main__":
    sys.exit(main())
