"""python -m train --config=configs/lenet.py [--config.KEY=VALUE ...] [--workdir=FOLDER]

Trains a model as a recipe says, or resumes the run that the workdir holds. With --seeds=0,1,2 there
is one run after the other in WORKDIR/seed-0, WORKDIR/seed-1, ..., and a table of them at the end.
"""

import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from train.command_line import WrongCommandLine, fail, parse, usage, wants_help
from train.console import open_streams
from train.script import invocation
from train.signals import STOP, caught

_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config name> if empty.")
_SEEDS = flags.DEFINE_list("seeds", [], "Seeds of several runs, such as 0,1,2.")


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    open_streams()
    if wants_help(arguments):
        print(usage(__doc__ or "", _WORKDIR, _SEEDS))
        return 0
    command = shlex.join([*invocation("train"), *arguments[1:]])
    resume = f"Stopped. To resume, run: {command}"
    for signum in caught(STOP):  # the loop takes over when there is a state
        signal.signal(signum, lambda signum, _: os._exit(fail(resume, 128 + signum)))
    try:
        config = parse(arguments)
        runs = runs_of(config, _WORKDIR.value or default_workdir(_recipe()), _SEEDS.value)
    except WrongCommandLine as error:
        return fail(str(error), 2)

    from input_pipeline.example import DataError  # after the flags, so that a typo shows at once
    from train.errors import Interrupted, TrainError
    from train.loop import train_and_evaluate
    from train.memory import keep_freed_memory

    keep_freed_memory()
    try:
        for number, (config, workdir) in enumerate(runs, 1):
            if runs[1:]:
                print(f"Run {number} of {len(runs)}: {workdir}", flush=True)
            train_and_evaluate(config, workdir)
        if runs[1:]:
            from train.use import comparison

            groups = comparison.open_groups([folder for _, folder in runs])
            print(comparison.as_text(comparison.rows(groups, ["top1"])))
    except (TrainError, DataError) as error:
        return fail(str(error), 1)
    except Interrupted as error:
        return fail(resume, 128 + error.signum)
    return 0


def runs_of(config: ConfigDict, workdir: str, seeds: list[str]) -> list[tuple[ConfigDict, str]]:
    """Returns the recipe and the folder of each run.

    Raises:
      WrongCommandLine: a seed is no whole number, or is given twice.
    """
    if not seeds:
        return [(config, workdir)]
    valid = all(seed.strip().isdecimal() for seed in seeds)
    if not valid or len(set(map(int, seeds))) < len(seeds):
        raise WrongCommandLine(f"--seeds={','.join(seeds)}: different whole numbers, as in 0,1,2.")
    runs = []
    for seed in map(int, seeds):
        of_seed = config.copy_and_resolve_references()
        of_seed.seed = seed
        runs.append((of_seed, f"{workdir}/seed-{seed}"))
    return runs


def _recipe() -> str:
    """The value of --config."""
    flag: Any = flags.FLAGS["config"]  # that of a configuration, which knows its file
    return flag.config_filename


def default_workdir(config: str) -> str:
    """Returns runs/lenet for configs/lenet.py, and runs/lenet-smoke for configs/lenet.py:smoke."""
    file, _, argument = config.partition(":")
    return f"runs/{Path(file).stem}" + (f"-{argument}" if argument else "")


if __name__ == "__main__":
    code = main(sys.argv)
    if "input_pipeline.loader" in sys.modules:
        sys.modules["input_pipeline.loader"].stop_workers()
    with contextlib.suppress(OSError, ValueError):  # nobody reads any more
        sys.stdout.flush()
    os._exit(code)  # a thread may still be compiling or loading
