"""Runs `extract` over many photographs in other processes, results in order."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from idfsr_jax.data.extract import Extracted, Refusal, extract
from idfsr_jax.data.folder import Photograph

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _begin() -> None:
    """Start of a worker: the parent alone answers Ctrl-C, and its sudden death leaves no orphans behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


@contextlib.contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started in here keep numerical libraries to one thread: they share the cores with one another."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the parent runs JAX's threads, which do not survive a fork.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)


def _retry_alone(photograph: Photograph, chips: Sequence[str]) -> Extracted | Refusal:
    """Runs one photograph in a process of its own, to tell which of several brought a worker down."""
    with _pool(1) as pool:
        try:
            return pool.submit(extract, photograph.path, photograph.name, chips).result()
        except BrokenProcessPool:
            message = f"{photograph.name}: the process that read it crashed."
            return Refusal(photograph.name, "crashed the reader", message)


def extract_all(
    photographs: Sequence[Photograph], chips: Sequence[str], workers: int, ahead: int = 192
) -> Generator[Extracted | Refusal, None, None]:
    """Extracts every photograph; yields the results in the order given.

    Args:
      photographs: what to read.
      chips: whose to cut, see `extract`.
      workers: processes; 0 works in this one.
      ahead: results held at most before the consumer takes them (about 0.1 MB each).
    """
    if workers == 0:
        yield from (extract(photograph.path, photograph.name, chips) for photograph in photographs)
        return
    rest = iter(photographs)
    pending: deque[tuple[Photograph, Future]] = deque()
    with _single_threaded_children():
        pool = _pool(workers)
        try:
            while True:
                while len(pending) < ahead and (photograph := next(rest, None)) is not None:
                    pending.append((photograph, _submitted(pool, photograph, chips)))
                if not pending:
                    return
                photograph, future = pending.popleft()
                try:
                    result = future.result()
                except BrokenProcessPool:
                    # All that was in flight is lost with the pool; one of the oldest brought it down.
                    pool.shutdown(wait=True, cancel_futures=True)
                    result = _retry_alone(photograph, chips)
                    pool = _pool(workers)
                    pending = deque((p, _resubmit(pool, p, f, chips)) for p, f in pending)
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, photograph: Photograph, chips: Sequence[str]) -> Future:
    """What a worker will have made of a photograph; of a pool that an earlier photograph broke, its exception."""
    try:
        return pool.submit(extract, photograph.path, photograph.name, chips)
    except BrokenProcessPool as error:
        failed: Future = Future()
        failed.set_exception(error)
        return failed


def _resubmit(pool: ProcessPoolExecutor, photograph: Photograph, future: Future, chips: Sequence[str]) -> Future:
    if future.done() and not future.cancelled() and future.exception() is None:
        return future
    return _submitted(pool, photograph, chips)
