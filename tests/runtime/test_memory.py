"""What the C library is told about memory, in processes of their own, as a setting is the whole process's."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's malloc")

ROOT = Path(__file__).parents[2]
_FAULTS = """
import resource, sys, threading
from idfsr_jax.runtime.memory import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
thread = threading.Thread(target=lambda: print(faults(), faults()))
thread.start()
thread.join()
"""
_COUNT = """
import ctypes, sys, threading
from idfsr_jax.runtime.memory import keep_few_arenas
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


def _printed(code: str, kind: str) -> str:
    # Whoever tests may have set it already.
    kept = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    command = [sys.executable, "-c", code, kind]
    return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, check=True).stdout


def test_a_large_block_that_was_freed_is_used_again_without_page_faults():
    again = {kind: int(_printed(_FAULTS, kind).split()[1]) for kind in ("kept", "usual")}
    if again["usual"] == 0:
        pytest.skip("this system counts no page faults")
    # A fault may be of 4 KB or of 2 MB.
    assert again["kept"] < 8 < again["usual"]


def test_many_threads_share_two_pools_of_memory():
    arenas = {kind: _printed(_COUNT, kind).count("<heap nr=") for kind in ("few", "many")}
    assert arenas["few"] <= 2 < arenas["many"]
