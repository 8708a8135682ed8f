"""How glibc's malloc treats memory that was freed; other C libraries are left as they are."""

import ctypes
import sys
from collections.abc import Mapping

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Numbers of `mallopt`'s parameters."""


def keep_memory() -> bool:
    """Lets what is freed be used for what is asked for next; the process stays as large as it ever was.

    On a CPU XLA asks for one buffer of hundreds of megabytes at each call of a program. By itself glibc maps it anew
    each time, and the system clears it page by page, which takes 2 to 4% of a training step's time on two cores
    (`benchmarks/kept_memory.py`). To be called before there are threads.

    Returns:
      Whether the C library has such settings.
    """
    # Pools of other threads hold no large block and would map it.
    return _set({_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1})


def keep_few_arenas() -> bool:
    """Lets all threads of a server share two pools of memory; to be called before there are many threads.

    glibc gives every thread a pool of its own, up to eight for each core, and what a restoration frees in one of them
    is of no use to the next restoration in another: of 900 requests each left half a megabyte behind, though Python and
    JAX had freed everything.

    Returns:
      Whether the C library has such a setting; others need none.
    """
    return _set({_ARENA_MAX: 2})


def _set(values: Mapping[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(parameter, value) == 1 for parameter, value in values.items())
