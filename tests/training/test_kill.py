"""The real command, killed in the middle of a run and started again."""

import json
import signal
import subprocess

import pytest

from benchmarks.small_run import demand_same_end, newest_checkpoint, read_log, start, write_config

STEPS = 120


@pytest.fixture
def started(tmp_path, noise_faces, child_environment):
    """A function that starts `idfsr train` into a folder, as a user would."""
    config = write_config(tmp_path / "killed.py", noise_faces, STEPS)
    processes: list[subprocess.Popen] = []

    def begin(out) -> subprocess.Popen:
        processes.append(start(config, out, child_environment))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def _finish(process: subprocess.Popen) -> int:
    process.communicate(timeout=400)
    return process.returncode


@pytest.mark.timeout(1800)
def test_stopped_and_killed_and_started_again_it_ends_as_if_nothing_had_happened(started, wait_until, tmp_path):
    broken, whole = tmp_path / "broken", tmp_path / "whole"

    process = started(broken)
    wait_until(lambda: len(read_log(broken)) >= 3, process)
    process.send_signal(signal.SIGTERM)
    assert _finish(process) == 128 + signal.SIGTERM
    stopped = len(read_log(broken))
    assert stopped < STEPS and newest_checkpoint(broken) == stopped
    assert json.loads((broken / "model" / "model.json").read_text())["steps"] == stopped

    process = started(broken)
    wait_until(lambda: newest_checkpoint(broken) > stopped, process)
    process.send_signal(signal.SIGKILL)
    assert _finish(process) == -signal.SIGKILL
    killed, saved = len(read_log(broken)), newest_checkpoint(broken)
    assert stopped < saved <= killed < STEPS

    assert _finish(started(broken)) == 0
    assert _finish(started(whole)) == 0
    log = read_log(broken)
    # The first step not in the checkpoint comes next, and the steps that were lost are there once.
    assert [line["step"] for line in log] == list(range(1, STEPS + 1))
    assert demand_same_end(broken, whole) == len(log)
    assert len({line["loss"] for line in log}) > STEPS // 2
