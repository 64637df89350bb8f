"""Connects the processes of a run on several hosts."""

import threading
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from train.errors import TrainError


def join(config: ConfigDict) -> None:
    """Initializes `jax.distributed` if `config.coordinator` is set; otherwise does nothing.

    Args:
      config: the section `hosts` of a recipe.

    Raises:
      TrainError: not all processes connected within `config.timeout` seconds.
    """
    if not config.coordinator:
        return
    if config.coordinator == "auto":  # JAX detects SLURM, Open MPI, Kubernetes and TPU pods
        arguments, group = {}, "the hosts of this cluster"
    else:
        arguments = {
            "coordinator_address": config.coordinator,
            "num_processes": config.count,
            "process_id": config.index,
            "initialization_timeout": 2 * config.timeout,
        }
        group = f"the {config.count} processes of {config.coordinator}"
    problem = _call_within(config.timeout, lambda: jax.distributed.initialize(**arguments))
    if problem:
        raise TrainError(
            f"Process {config.index} could not join {group}: {problem}. Start the same command on "
            "every host, each with its own hosts.index from 0 on, check that the coordinator's "
            "port can be reached, or raise hosts.timeout."
        )


def _call_within(seconds: int, connect: Callable[[], None]) -> str:
    """Calls `connect` and returns what went wrong, or "".

    It runs in a thread, because jaxlib aborts the process when its own timeout expires.
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
    return outcome[0] if outcome else f"not all of them connected within {seconds} s"
