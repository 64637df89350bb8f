"""Joining the processes of a run on several hosts."""

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
        }
        who = f"the {config.count} processes of {config.coordinator}"
    try:
        jax.distributed.initialize(**where, initialization_timeout=config.timeout)
    except (RuntimeError, ValueError) as error:
        raise TrainError(
            f"Process {config.index} could not join {who} within {config.timeout} s: "
            f"{str(error).strip().splitlines()[0]}. Start the same command on every host, each "
            "with its own hosts.index from 0 on, check that the coordinator's port can be reached, "
            "or raise hosts.timeout."
        ) from error
