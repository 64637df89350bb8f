"""python -m train.plan --config=configs/resnet50.py --topology=v5e:4x4 [--config.KEY=VALUE ...]

Compiles the recipe's training step for a TPU slice, on any machine, and prints what it would need
there. Several topologies, separated by commas, give a table of weak scaling: each chip keeps the
batch that it has on the first one, or --batch_per_chip.
"""

import json
import os
import resource
import sys
from pathlib import Path

from absl import flags

from train.plan.pod import open_pod, set_environment

_TOPOLOGY = flags.DEFINE_list("topology", [], "Slices such as v5e:16x16, separated by commas.")
_BATCH = flags.DEFINE_integer("batch_per_chip", 0, "Images per chip; 0: the recipe's batch size.")
_JSON = flags.DEFINE_string("json", "", "File that receives all figures.")
_LARGEST = flags.DEFINE_bool("largest_batch", False, "Search for the largest batch that fits.")


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    set_environment()
    from train.command_line import WrongCommandLine, fail, parse, usage, wants_help

    if wants_help(arguments):
        print(usage(__doc__ or "", _TOPOLOGY, _BATCH, _JSON, _LARGEST))
        return 0
    try:
        config = parse(arguments)
    except WrongCommandLine as error:
        return fail(str(error), 2)

    from input_pipeline.example import DataError
    from train.errors import TrainError
    from train.plan.figures import make_plans
    from train.plan.tables import describe, scaling_table

    try:
        if _JSON.value:  # before the minutes of compiling
            Path(_JSON.value).touch()
        pods = [open_pod(name) for name in _TOPOLOGY.value or [""]]
        plans = make_plans(config, pods, _BATCH.value, _LARGEST.value)
    except (TrainError, DataError, OSError) as error:
        return fail(str(error), 1)
    print("\n\n".join(map(describe, plans)))
    if len(plans) > 1:
        print(f"\n{scaling_table(plans)}")
    if _JSON.value:
        Path(_JSON.value).write_text(json.dumps(plans, indent=2) + "\n")
    return 0


def _restart_with_unlimited_stack() -> None:
    """Starts this program again without a stack limit, if there is one.

    For v6e the compiler recurses so deeply that it dies by signal 11 (libtpu 0.0.42.1, ResNet-50).
    Its threads get the limit with which the process began: raising it now does not help.
    """
    limit, hard_limit = resource.getrlimit(resource.RLIMIT_STACK)
    if limit == resource.RLIM_INFINITY:
        return
    if hard_limit != resource.RLIM_INFINITY:  # all topologies but v6e work
        if any("v6e" in argument for argument in sys.argv):
            print(
                "The stack of this process is limited to "
                f"{hard_limit // 2**20} MiB and cannot be raised, so the TPU compiler may die for "
                "v6e (signal 11). Run it where `ulimit -Hs` says unlimited.",
                file=sys.stderr,
            )
        return
    resource.setrlimit(resource.RLIMIT_STACK, (hard_limit, hard_limit))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    _restart_with_unlimited_stack()
    code = main(sys.argv)
    sys.stdout.flush()
    os._exit(code)  # threads of the compiler may still be running
