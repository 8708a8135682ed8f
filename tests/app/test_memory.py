"""The server's memory, in a process of its own, as the setting is the whole process's."""

import os
import platform
import subprocess
import sys

import pytest

_COUNT = """
import ctypes, sys, threading
from idfsr_jax.app.serve import keep_few_arenas
if sys.argv[1] == "few":
    assert keep_few_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
barrier = threading.Barrier(8)
def allocate():
    barrier.wait()
    for _ in range(100):
        assert libc.malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's malloc")
def test_many_threads_share_four_pools_of_memory():
    def arenas(kind: str) -> int:
        # Whoever tests may have set it already.
        kept = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
        command = [sys.executable, "-c", _COUNT, kind]
        done = subprocess.run(command, env=kept, capture_output=True, text=True, check=True)
        return done.stdout.count("<heap nr=")

    assert arenas("few") <= 4 < arenas("many")
