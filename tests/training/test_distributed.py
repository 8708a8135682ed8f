"""Several real processes over loopback, through the real command; and how they are told where the others are."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.small_run import read_log, write_config
from idfsr_jax.method.model import load_model
from idfsr_jax.training.distributed import NoCluster, connection, largest_of_all, spare_threads, start_processes
from idfsr_jax.training.sole_use import sole_use

ROOT = Path(__file__).parents[2]
STEPS = 8


def test_explicit_addresses_are_read():
    assert connection("node7:1234,2,8", {}) == {
        "coordinator_address": "node7:1234",
        "num_processes": 8,
        "process_id": 2,
        "cluster_detection_method": "deactivate",
    }
    assert connection("[::1]:1234,0,1", {})["coordinator_address"] == "[::1]:1234"
    assert connection("auto", {}) == {}


def test_launchers_are_told_apart():
    assert connection("slurm", {"SLURM_PROCID": "0"}) == {"cluster_detection_method": "slurm"}
    ranks = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    four = ranks | {"OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp://10.0.0.1:4242"}
    assert connection("mpi", four) == {"cluster_detection_method": "ompi"}
    five = connection("mpi", ranks | {"JAX_COORDINATOR_ADDRESS": "node0:1234"})
    assert (five["coordinator_address"], five["num_processes"], five["process_id"]) == ("node0:1234", 4, 3)
    assert five["local_device_ids"] == 1
    with pytest.raises(NoCluster, match="set JAX_COORDINATOR_ADDRESS=HOST:PORT"):
        connection("mpi", ranks)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("pmi", "--distributed pmi: cannot be understood; give auto, slurm, mpi, or HOST:PORT,INDEX,COUNT"),
        ("node7,0,2", "--distributed node7,0,2: cannot be understood"),
        ("node7:1234,0", "--distributed node7:1234,0: cannot be understood"),
        ("node7:1234,2,2", "--distributed node7:1234,2,2: cannot be; give auto"),
        ("node7:99999,0,2", "--distributed node7:99999,0,2: cannot be; give auto"),
        ("slurm", "--distributed slurm: SLURM_PROCID is not set; start the processes with srun."),
        ("mpi", "--distributed mpi: OMPI_COMM_WORLD_RANK is not set; start the processes with Open MPI's mpirun."),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(where, sentence):
    with pytest.raises(NoCluster, match=re.escape(sentence)):
        connection(where, {})


def test_no_cluster_is_a_sentence(tmp_path):
    config = tmp_path / "mine.py"
    config.write_text(
        f"from idfsr_jax.config import *\nconfig = Config(train=TrainConfig(out={str(tmp_path / 'o')!r}))"
    )
    launched = ("SLURM_", "OMPI_", "KUBERNETES_", "JAX_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(launched)}
    command = [sys.executable, "-m", "idfsr_jax.cli", "train", str(config), "--distributed", "auto"]
    done = subprocess.run(
        command,
        env=environment | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    hint = "start it with srun or mpirun, or give HOST:PORT,INDEX,COUNT."
    assert (done.returncode, done.stderr) == (2, f"idfsr: --distributed auto: no cluster was found here; {hint}\n")


def test_devices_of_one_process_never_have_all_threads_waiting(monkeypatch):
    monkeypatch.setenv("NPROC", "2")
    spare_threads(1)
    assert os.environ["NPROC"] == "2"
    spare_threads(8)
    assert int(os.environ["NPROC"]) > 8
    monkeypatch.setenv("NPROC", "64")
    spare_threads(8)
    assert os.environ["NPROC"] == "64"


def test_one_process_alone_starts_nothing():
    start_processes("")
    assert not jax.distributed.is_initialized()


def test_alone_one_agrees_at_once():
    agreed = largest_of_all()
    assert [agreed(number) for number in (0, 15, 0)] == [0, 15, 0]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _slurm(port: int, index: int, count: int) -> dict[str, str]:
    """What Slurm would tell a process; JAX makes the port of the job's number."""
    return {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": str(count),
            "SLURM_PROCID": str(index), "SLURM_LOCALID": "0", "JAX_COORDINATOR_PORT": str(port)}  # fmt: skip


@pytest.fixture
def start(tmp_path, noise_faces, child_environment):
    """A function that starts `idfsr train` in some processes, of two devices each, as a user or Slurm would."""
    started: list[subprocess.Popen] = []
    config = write_config(tmp_path / "spread.py", noise_faces, STEPS, checkpoint_every=4, batch=8)
    # Small as the parameters are, they are to be shared; and the checkpoint of wherever a run is stopped is to stay.
    common = ["--devices.fsdp-least", "64", "--train.keep-checkpoints", "9"]

    def processes(out: Path, count: int, *options: str, slurm: bool = False) -> list[subprocess.Popen]:
        port = _free_port()
        for index in range(count):
            own = {"JAX_NUM_CPU_DEVICES": "2" if count > 1 else "1"} | (_slurm(port, index, count) if slurm else {})
            where = [] if count == 1 else ["--distributed", "slurm" if slurm else f"127.0.0.1:{port},{index},{count}"]
            command = [sys.executable, "-m", "idfsr_jax.cli", "train", str(config), "--train.out", str(out), *common]
            environment = os.environ | child_environment | own
            started.append(
                subprocess.Popen([*command, *where, *options], env=environment, stderr=subprocess.PIPE, text=True)
            )
        return started[-count:]

    yield processes
    for process in started:
        process.kill()
        process.communicate()


def _finish(processes: list[subprocess.Popen]) -> list[int]:
    said = [process.communicate(timeout=400)[1] for process in processes]
    assert all("Traceback" not in text for text in said), said
    return [process.returncode for process in processes]


def _differences(one: Path, other: Path) -> tuple[float, float]:
    """Largest difference of the losses of any step, and of any parameter of the models."""
    ours, theirs = ({line["step"]: line["loss"] for line in read_log(out)} for out in (one, other))
    assert set(ours) == set(theirs) == set(range(1, STEPS + 1))
    assert len(set(ours.values())) > STEPS // 2
    params = [jax.tree.leaves(load_model(out / "model").denoiser) for out in (one, other)]
    loss = max(abs(ours[step] - theirs[step]) for step in ours)
    return loss, max(float(np.abs(a - b).max()) for a, b in zip(*params, strict=True))


@pytest.mark.timeout(1800)
def test_two_processes_train_as_one_does_and_stop_and_go_on_together(start, wait_until, tmp_path):
    alone, pair, later = tmp_path / "alone", tmp_path / "pair", tmp_path / "later"
    assert _finish(start(alone, 1)) == [0]

    # Both share the state between their devices, and the signal reaches only the one that writes nothing.
    processes = start(pair, 2, "--devices.fsdp", "4")
    # The first step is still to be compiled. The one halts, so that the other, which needs it for any step, will listen
    # to signals and go no further, however slow this machine is.
    wait_until((pair / "log.jsonl").exists, *processes)
    processes[0].send_signal(signal.SIGSTOP)
    time.sleep(3)
    processes[1].send_signal(signal.SIGTERM)
    processes[0].send_signal(signal.SIGCONT)
    assert _finish(processes) == [128 + signal.SIGTERM] * 2
    stopped = len(read_log(pair))
    assert 0 < stopped < STEPS
    assert (pair / "checkpoints" / str(stopped)).is_dir()
    assert json.loads((pair / "model" / "model.json").read_text())["steps"] == stopped
    shutil.copytree(pair, later)

    # On they go as two, told so by Slurm, with a copy of the state on each device; and in a copy of the folder as one.
    assert _finish(start(pair, 2, slurm=True)) == [0, 0]
    assert _finish(start(later, 1)) == [0]
    for out in (pair, later):
        assert [line["step"] for line in read_log(out)] == list(range(1, STEPS + 1))
        loss, params = _differences(out, alone)
        # The log has six digits; and Adam turns the rounding of a gradient near zero into a share of a whole step.
        assert loss <= 2e-6 and params <= 3e-6, (out, loss, params)
    assert [path.name for path in (pair / "samples").iterdir()] == [f"{STEPS:07d}.png"]


@pytest.mark.timeout(900)
def test_a_mistake_is_said_by_all_and_leaves_nobody_waiting(start, tmp_path):
    processes = start(tmp_path / "run", 2, "--devices.data", "3", "--train.batch", "12")
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], said
    assert all("devices.data=3: 2 processes have 4 devices and must use all of them; give 0." in text for text in said)
    assert not (tmp_path / "run").exists()


@pytest.mark.timeout(900)
def test_all_processes_leave_a_folder_that_is_in_use(start, tmp_path):
    with sole_use(tmp_path / "run"):
        processes = start(tmp_path / "run", 2)
        said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], said
    assert all("another run is at work in this folder" in text and "Traceback" not in text for text in said), said
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
