"""A server's memory: kept from growing with every request."""

import ctypes
import sys

_M_ARENA_MAX = -8
"""Of glibc's <malloc.h>."""
_ARENAS = 2


def keep_few_arenas() -> bool:
    """Lets all threads share two pools of memory; to be called before there are many threads.

    glibc gives every thread a pool of its own, up to eight for each core, and what a restoration frees in one of them
    is of no use to the next restoration in another: of 900 requests each left half a megabyte behind, though Python and
    JAX had freed everything.

    Returns:
      Whether the C library has such a setting; others need none.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, _ARENAS) == 1
