"""Compiled programs kept between runs, so that a command compiles for minutes only once on a machine."""

import functools
import hashlib
import importlib.util
import os
import platform
import tempfile
import warnings
from pathlib import Path

_MAX_BYTES = 2 * 1024**3
_LEAST_SECONDS = 0.0
"""Programs that compile faster are not kept: none, as even a small one takes longer to compile than to read."""


def use_compile_cache() -> None:
    """Lets JAX keep compiled programs in the user's cache folder, `idfsr-jax/xla` in XDG_CACHE_HOME or ~/.cache.

    Whoever has set a cache of JAX's own (JAX_COMPILATION_CACHE_DIR, or in the configuration) keeps it. Where no private
    folder can be made, nothing is kept and nothing is said: a cache is no reason for a command to fail.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    import jax

    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    folder = cache_folder(jax.__version__)
    if folder is None or not _is_private_and_writable(folder):
        return
    # Entries are read and written in the middle of a command, when the disk may have become full.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    if importlib.util.find_spec("filelock") is not None:  # JAX locks a bounded cache by it, and fails without it.
        jax.config.update("jax_compilation_cache_max_size", _MAX_BYTES)


def folder_in_use() -> Path | None:
    """The user's cache folder, if `use_compile_cache` lets JAX keep programs there; else None."""
    import jax

    used = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return Path(used) if used and used == str(_own_folder(jax.__version__)) else None


def cache_folder(jax_version: str) -> Path | None:
    """Where programs compiled by this JAX for this processor belong; None where the user has no home.

    JAX's own keys leave out the features of the processor, and a home folder may be shared by unlike machines.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The XDG specification has relative paths ignored.
        root = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError:
        return None
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()} {_processor_features()}".encode()).hexdigest()
    return root / "idfsr-jax" / "xla" / f"{jax_version}-{digest[:16]}"


_own_folder = functools.cache(cache_folder)


def _processor_features() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration, UnicodeDecodeError):
        return platform.processor()


def _is_private_and_writable(folder: Path) -> bool:
    """Compiled programs are run unchecked, so nobody else may have a hand in them."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
