import importlib
import os
import textwrap
from concurrent.futures.process import BrokenProcessPool

import pytest

from idfsr_jax.data import workers
from idfsr_jax.data.folder import Photograph


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """An `extract` that other processes can import: it crashes on one name, and reports what its process is like."""
    (tmp_path / "stand_in_for_extract.py").write_text(
        textwrap.dedent("""
            import os
            import sys
            from idfsr_jax.data.extract import Refusal

            def extract(path, name, chips):
                if "crash" in name:
                    os._exit(3)
                threads = os.environ.get("OMP_NUM_THREADS")
                return Refusal(name, "seen", f"{os.getpid()} {'jax' in sys.modules} {threads}")
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(workers, "extract", importlib.import_module("stand_in_for_extract").extract)


def _photographs(tmp_path, names):
    return [Photograph(name, tmp_path / name, "Al", "train", 0, 0) for name in names]


def test_a_crash_costs_one_photograph_and_order_is_kept(stand_in, tmp_path):
    names = ["1", "2", "crash", "4", "5", "6"]
    results = list(workers.extract_all(_photographs(tmp_path, names), ["dlib"], workers=2, ahead=4))
    assert [result.photo for result in results] == names
    assert [result.reason for result in results] == ["seen"] * 2 + ["crashed the reader"] + ["seen"] * 3
    seen = [result.message.split() for result in results if result.reason == "seen"]
    assert str(os.getpid()) not in {pid for pid, _, _ in seen}
    assert {jax for _, jax, _ in seen} == {"False"}  # A worker with JAX in it would take a second to start.
    assert {threads for _, _, threads in seen} == {"1"}


def test_photographs_that_come_after_a_crash_are_read(stand_in, tmp_path):
    """Also where the pool was broken before they were handed to it."""
    names = ["crash", "2", "3", "crash too", "5", "6"]
    results = workers.extract_all(_photographs(tmp_path, names), ["dlib"], workers=1, ahead=1)
    assert [result.reason for result in results] == ["crashed the reader", *["seen"] * 2] * 2


def test_a_broken_pool_gives_its_exception_as_a_result(stand_in, tmp_path):
    crash, good = _photographs(tmp_path, ["crash", "1"])
    pool = workers._pool(1)
    with pytest.raises(BrokenProcessPool):
        workers._submitted(pool, crash, ["dlib"]).result()
    with pytest.raises(BrokenProcessPool):
        workers._submitted(pool, good, ["dlib"]).result()


def test_the_environment_is_left_as_it_was(stand_in, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    results = workers.extract_all(_photographs(tmp_path, ["1", "2", "3"]), ["dlib"], workers=1, ahead=2)
    next(results)
    results.close()  # The consumer gives up in the middle.
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
