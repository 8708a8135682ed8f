import logging
import sys
import threading
from pathlib import Path

import pytest

from idfsr_jax.training.full_disk import FullDisk, close_event_writer, full_disk_explained, is_full_disk


@pytest.fixture(autouse=True)
def logger():
    """Orbax's, as it was before each test."""
    logger = logging.getLogger("absl")
    before = list(logger.filters)
    yield logger
    logger.filters[:] = before


FULL = Path("/dev/full")  # where every write fails as on a full disk
needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")


@needs_full
def test_a_full_disk_is_a_sentence(tmp_path):
    with pytest.raises(FullDisk, match="run: the disk is full; make room"), full_disk_explained(tmp_path / "run"):
        FULL.write_text("something")


def test_it_is_known_by_what_a_library_made_of_it(tmp_path):
    with pytest.raises(FullDisk), full_disk_explained(tmp_path):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write 5 bytes: No space left on device [os_error_code='28']")
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("the save failed") from error
    except RuntimeError as error:
        assert is_full_disk(error)


def test_other_errors_pass(tmp_path):
    with pytest.raises(KeyError), full_disk_explained(tmp_path):
        raise KeyError("x")
    assert not is_full_disk(PermissionError(13, "Permission denied"))


def test_only_the_tracebacks_of_a_full_disk_are_not_logged(tmp_path, caplog, logger):
    with full_disk_explained(tmp_path), caplog.at_level(logging.ERROR, "absl"):
        for error in (OSError(28, "No space left on device"), OSError(5, "Input/output error")):
            try:
                raise error
            except OSError:
                logger.exception("a thread failed with %s", error)
    assert [record.getMessage() for record in caplog.records] == ["a thread failed with [Errno 5] Input/output error"]
    assert not logger.filters
    with pytest.raises(FullDisk), full_disk_explained(tmp_path):
        raise OSError(28, "No space left on device")
    assert logger.filters  # a thread may still be saving


def test_only_threads_that_meet_a_full_disk_end_without_a_word(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(threading, "excepthook", lambda error: said.append(error.exc_value.errno))
    usual = threading.excepthook

    def end_with(error: OSError) -> None:
        def fail() -> None:
            raise error

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()

    with full_disk_explained(tmp_path):
        for number in (28, 5, 122):
            end_with(OSError(number, "the system's words"))
    assert said == [5] and threading.excepthook is usual
    end_with(OSError(28, "No space left on device"))
    assert said == [5, 28]
    with pytest.raises(FullDisk), full_disk_explained(tmp_path):
        raise OSError(28, "No space left on device")
    end_with(OSError(28, "No space left on device"))  # a thread may still be writing
    assert said == [5, 28]


def test_event_files_are_closed_on_a_full_disk_without_a_word(tmp_path):
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    writer.add_scalar("loss", 1.0, 1)
    events = writer.file_writer.event_writer
    flushed = events._ev_writer.flush

    def flush() -> None:
        raise OSError(28, "No space left on device")

    events._ev_writer.flush = flush
    close_event_writer(writer)
    events._ev_writer.flush = flushed
    assert not events._worker.is_alive()
    events.close()  # as at exit


@pytest.mark.timeout(900)
def test_a_run_on_a_full_disk_loses_nothing(monkeypatch, capfd):
    from benchmarks import full_disk

    # To be started again as a module inside a namespace, it needs to know its name.
    monkeypatch.setattr(sys, "argv", ["full_disk", "--left", "100", "--steps", "24"])
    code = full_disk.main()
    if code == 3:
        pytest.skip("nobody but root may mount here")
    assert code == 0
    assert "| 100 | 2 | 1 |" in capfd.readouterr().out
