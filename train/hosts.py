"""Joining the processes of a run on several hosts."""

import threading
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from train.errors import TrainError


def join(config: ConfigDict) -> None:
    """Connects this process with the others that `config.hosts` names; nothing for a single one.

    Raises:
      TrainError: not all of them came in time.
    """
    if not config.coordinator:
        return
    if config.coordinator == "auto":  # SLURM, Open MPI, Kubernetes and TPU pods tell by themselves
        where, who = {}, "the hosts of this cluster"
    else:
        where = {
            "coordinator_address": config.coordinator,
            "num_processes": config.count,
            "process_id": config.index,
            "initialization_timeout": 2 * config.timeout,
        }
        who = f"the {config.count} processes of {config.coordinator}"
    problem = _within(config.timeout, lambda: jax.distributed.initialize(**where))
    if problem:
        raise TrainError(
            f"Process {config.index} could not join {who}: {problem}. Start the same command on "
            "every host, each with its own hosts.index from 0 on, check that the coordinator's "
            "port can be reached, or raise hosts.timeout."
        )


def _within(seconds: int, connect: Callable[[], None]) -> str:
    """What went wrong with `connect`, or "".

    It runs in a thread, because jaxlib aborts the process where its own timeout runs out.
    """
    outcome: list[str] = []

    def run() -> None:
        try:
            connect()
            outcome.append("")
        except (RuntimeError, ValueError) as error:
            outcome.append(str(error).strip().splitlines()[0])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else f"not all of them came within {seconds} s"
