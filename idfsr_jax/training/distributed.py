"""Training in several processes: how they find one another, who writes, and how they agree when to stop."""

import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from idfsr_jax.io.errors import InputError


class NoCluster(InputError):
    """The other processes cannot be found."""


_MOST_MINUTES_APART = 60
_SYNOPSIS = "give auto, slurm, mpi, or HOST:PORT,INDEX,COUNT (the same address for all, INDEX from 0 to COUNT - 1)"


def start_processes(where: str) -> None:
    """Joins this process with the others of its run; to be called before anything touches a device.

    Also where it is alone, for the sake of `spare_threads`.

    Args:
      where: "auto" for what JAX finds by itself (TPU pods, Slurm, Open MPI, Kubernetes); "slurm"; "mpi" for Open MPI;
        "HOST:PORT,INDEX,COUNT" with the address of process 0, this process's index, and the number of processes; or
        "" for one process alone, which needs nothing.

    Raises:
      NoCluster: there is no such thing here, or the text is none of these.
    """
    spare_threads(jax.config.jax_num_cpu_devices)  # type: ignore[attr-defined]
    if not where:
        return
    arguments = connection(where, os.environ)
    try:
        jax.distributed.initialize(**arguments)
    except (ValueError, KeyError) as error:
        hint = "start it with srun or mpirun, or give HOST:PORT,INDEX,COUNT"
        raise NoCluster(f"--distributed {where}: no cluster was found here; {hint}.") from error
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise NoCluster(f"--distributed {where}: the processes did not find one another ({reason}).") from error


def spare_threads(devices: int) -> None:
    """Lets several CPU devices of one process share more threads than they are; before anything touches a device.

    In jaxlib (seen in 0.10.2) each device's linear solve sits on one thread of the common pool and waits for others to
    do part of its work; and a device waits with one thread for each sum that it has in common with others. XLA takes as
    many threads as devices or cores, whichever is more, so that all can be waiting; it reads NPROC as the number of
    cores.

    Args:
      devices: CPU devices of this process.
    """
    cores = os.environ.get("NPROC", "")
    if devices > 1 and not (cores.isdecimal() and int(cores) > devices):
        os.environ["NPROC"] = str(4 * devices + (os.cpu_count() or 1))


def connection(where: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `jax.distributed.initialize`.

    Args:
      where: see `start_processes`; not "".
      environment: variables of this process.

    Raises:
      NoCluster: the text is none of those, or the launcher that it names did not start this process.
    """
    if where == "auto":
        return {}
    if where == "slurm":
        _demand_launcher(where, environment, "SLURM_PROCID", "srun")
        return {"cluster_detection_method": "slurm"}
    if where == "mpi":
        _demand_launcher(where, environment, "OMPI_COMM_WORLD_RANK", "Open MPI's mpirun")
        return _of_open_mpi(environment)
    address, *numbers = where.split(",")
    host, _, port = address.rpartition(":")
    if not host or len(numbers) != 2 or not all(each.strip().isdecimal() for each in (port, *numbers)):
        raise NoCluster(f"--distributed {where}: cannot be understood; {_SYNOPSIS}.")
    index, count = (int(each) for each in numbers)
    if not (index < count and 0 < int(port) < 2**16):
        raise NoCluster(f"--distributed {where}: cannot be; {_SYNOPSIS}.")
    # Deactivated, or Slurm's or MPI's own view of the job would fill in which devices are seen.
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": index,
        "cluster_detection_method": "deactivate",
    }


def _demand_launcher(where: str, environment: Mapping[str, str], variable: str, launcher: str) -> None:
    if variable not in environment:
        raise NoCluster(f"--distributed {where}: {variable} is not set; start the processes with {launcher}.")


def _of_open_mpi(environment: Mapping[str, str]) -> dict[str, Any]:
    """JAX reads the address out of what Open MPI 4 sets; with version 5 the user must say it."""
    if "OMPI_MCA_orte_hnp_uri" in environment:
        return {"cluster_detection_method": "ompi"}
    address = environment.get("JAX_COORDINATOR_ADDRESS")
    if not address:
        raise NoCluster(
            "--distributed mpi: Open MPI 5 does not say where process 0 is; set JAX_COORDINATOR_ADDRESS=HOST:PORT."
        )
    return {
        "coordinator_address": address,
        "num_processes": int(environment["OMPI_COMM_WORLD_SIZE"]),
        "process_id": int(environment["OMPI_COMM_WORLD_RANK"]),
        "local_device_ids": int(environment["OMPI_COMM_WORLD_LOCAL_RANK"]),
        "cluster_detection_method": "deactivate",
    }


def is_main() -> bool:
    """Whether this is the process that writes files and talks."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Waits until every process has come to the point of this name, which must be another one each time.

    Not by a sum over devices: CPU devices that are to exchange something for the first time give up after 30 seconds.
    """
    if jax.process_count() > 1:
        ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=_MOST_MINUTES_APART * 60_000)


def compiled_together(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A compiled function whose first call begins only when every process has compiled it.

    Processes may take very unequal times for that, with a compile cache that one of them has written.

    Args:
      function: of `jax.jit`; in a single process it is returned as it is.
      name: of this wait; see `wait_for_all`.
    """
    if jax.process_count() == 1:
        return function
    compiled: list[Any] = []

    def call(*arguments: Any) -> Any:
        if not compiled:
            compiled.append(function.lower(*arguments).compile())  # type: ignore[attr-defined]
            wait_for_all(name)
        return compiled[0](*arguments)

    return call


def all_agree(yes: bool) -> bool:
    """Whether every process says yes; all must ask, and within some seconds of one another."""
    return bool(np.all(multihost_utils.process_allgather(np.asarray(yes)))) if jax.process_count() > 1 else yes


def largest_of_all() -> Callable[[int], int]:
    """A function of a number, to be called as often by every process.

    It gives all processes the same answer: the largest number that any of them gave two calls ago. That one has
    long arrived, so that nobody waits for it, and no process runs more than two steps ahead of its devices. One
    process alone is given its own number at once.
    """
    if jax.process_count() == 1:
        return lambda number: number
    mesh = Mesh(np.array(jax.devices()), ("all",))
    each, one = NamedSharding(mesh, PartitionSpec("all")), NamedSharding(mesh, PartitionSpec())
    largest = jax.jit(jnp.max, out_shardings=one)
    pending: deque[Any] = deque([0, 0])

    def ask(number: int) -> int:
        given = np.full(jax.local_device_count(), number, np.int32)
        pending.append(largest(jax.make_array_from_process_local_data(each, given)))
        return int(pending.popleft())

    return ask
