"""The command `app`: the web page."""

import importlib.util

from idfsr_jax.commands.options import Encoder, OptionalPath, say
from idfsr_jax.io.arguments import require_between
from idfsr_jax.io.errors import InputError
from idfsr_jax.runtime.compile_cache import use_compile_cache

_NEEDED = ("gradio", "uvicorn", "fastapi")


def app(
    host: str = "127.0.0.1",
    port: int = 7860,
    login_file: OptionalPath = None,
    max_upload_mb: int = 20,
    queue: int = 8,
    visitors: int = 32,
    weights: OptionalPath = None,
    encoder: Encoder = None,
) -> int:
    """Serves a web page that fits and restores, to this machine alone if not told otherwise.

    Args:
      host: Address to serve at; any but this machine's own (127.0.0.1) needs a login.
      port: Port to serve at; 0 for any that is free.
      login_file: File with a line user:password for each user who may enter.
      max_upload_mb: Largest file that can be uploaded, in MB.
      queue: How many requests may wait; further ones are told that the page is busy.
      visitors: How many visitors there may be at once; of more, the one seen least recently is forgotten.
      weights: Folder of a trained model; the one that ships with the package if not given.
      encoder: The face recognisers that the model was trained with, joined by +, if they lie elsewhere now.
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise InputError(
            'the page needs Gradio, which is not installed; install it with `pip install "gradio>=6.31.0"`.'
        )
    require_between(0, 65_535, port=port)
    require_between(1, 1000, max_upload_mb=max_upload_mb, queue=queue, visitors=visitors)
    from idfsr_jax.app.limits import is_loopback, listen, read_logins, require_login

    logins = {} if login_file is None else read_logins(login_file)
    require_login(host, logins)
    with listen(host, port) as listening:
        from idfsr_jax.app.serve import Service, keep_few_arenas, serve
        from idfsr_jax.restore.restorer import Restorer

        keep_few_arenas()
        use_compile_cache()
        restorer = Restorer.load(weights, encoder)
        _ = restorer.encoder  # Whatever is wrong with it is said now, and not to the first visitor.
        restorer.compile_ahead()  # So that the first visitor need not wait for it.
        shown = f"[{host}]" if ":" in host else host
        say(f"The page is at http://{shown}:{listening.getsockname()[1]}/ (Ctrl-C ends it).")
        if not is_loopback(host):
            say("What is sent is not encrypted; put a proxy with TLS in front of it where others share the network.")
        serve(restorer, listening, Service(max_upload_mb, queue, visitors, logins))
    return 0
