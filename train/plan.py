"""python -m train.plan --config=configs/resnet50.py --topology=v5e:4x4 [--config.key=value ...]

Compiles the recipe's training step for a slice of TPUs, on any machine, and says what it would take
there. Several topologies, with commas between them, give a table of weak scaling: each chip keeps
the batch that it has on the first, or --batch_per_chip.
"""

import json
import os
import resource
import sys
from pathlib import Path

from absl import flags

from train.pod import open_pod, set_environment

PARTS = ("compute", "memory", "links")

_TOPOLOGY = flags.DEFINE_list("topology", [], "Slices such as v5e:16x16, with commas between.")
_BATCH = flags.DEFINE_integer("batch_per_chip", 0, "Images a chip; 0: the recipe's batch size.")
_JSON = flags.DEFINE_string("json", "", "File that receives all figures.")
_LARGEST = flags.DEFINE_bool("largest_batch", False, "Look for the largest batch that fits.")


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    set_environment()
    from train.command_line import WrongCommandLine, fail, parse

    try:
        config = parse(arguments)
    except WrongCommandLine as error:
        return fail(str(error), 2)

    from input_pipeline.example import DataError
    from train.errors import TrainError

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


def make_plans(config, pods: list, batch_per_chip: int = 0, largest: bool = False) -> list[dict]:
    """The figures of the recipe's step on each slice, with the same batch a chip on all."""
    import jax

    from train import roofline

    jax.config.update("jax_enable_compilation_cache", False)  # compile seconds are a figure too
    plans = []
    for pod in pods:
        plan = roofline.step_figures(config, pod, batch_per_chip)
        batch_per_chip = plan["batch_per_chip"]
        if largest:
            plan |= _largest_batch(config, pod, plan)
        plans.append(plan)
    return plans


def _largest_batch(config, pod, plan: dict) -> dict:
    from train import roofline

    def peak(batch: int) -> float:
        tried = plan
        if batch != plan["batch_per_chip"]:
            tried = roofline.step_figures(config, pod, batch)
        if not tried["fits"]:
            raise roofline.TooLarge(tried["memory"]["peak"], tried["memory"]["available"])
        return tried["memory"]["peak"]

    memory = plan["memory"]
    fixed = memory["parameters"] + memory["optimizer"] + memory["other_state"]
    fits, fails = roofline.largest_batch(peak, memory["available"], fixed, plan["batch_per_chip"])
    return {"largest_batch_per_chip": fits, "too_large_batch_per_chip": fails}


def describe(plan: dict) -> str:
    """The figures for people."""
    memory = plan["memory"]
    what = (
        f"{plan['model']} ({plan['dtype']}, BatchNorm {plan['batch_norm']}) on {plan['topology']}, "
        f"{plan['chips']} chips x {plan['batch_per_chip']} images"
    )
    needs = f"{_gib(memory['peak'])} of {_gib(memory['available'])} GiB a chip"
    state = ", ".join(
        f"{name.replace('_', ' ')} {_gib(memory[name])}"
        for name in ("parameters", "optimizer", "other_state", "temporaries")
        if name in memory
    )
    lines = [
        f"{what}: fits, {needs}" if plan["fits"] else f"DOES NOT FIT: {what} needs {needs}",
        f"  memory a chip, GiB    {state}",
    ]
    if "largest_batch_per_chip" in plan:
        lines.append(f"  largest batch a chip  {_largest_words(plan)}")
    if not plan["fits"]:
        return "\n".join([*lines, f"  compiled in           {plan['compile_seconds']:.0f} s"])
    seconds = plan["seconds"]
    parts = ", ".join(f"{part} {1e3 * seconds[part]:.2f}" for part in PARTS)
    exchanges = "; ".join(
        f"{each['count']} {kind}, {each['bytes'] / 1e6:.1f} MB"
        for kind, each in plan["collectives"].items()
    )
    lines += [
        f"  a step and chip       {plan['flops'] / 1e12:.3g} TFLOP, {plan['bytes'] / 1e9:.3g} GB "
        f"to and from HBM ({plan['bytes_with_on_chip'] / 1e9:.3g} GB with the chip's own memory)",
        f"  collectives a step    {exchanges or 'none'}",
        f"  roofline, ms a step   {1e3 * seconds['step']:.2f}, bound by {plan['bound']} ({parts}); "
        f"{1e3 * seconds['step_waiting_for_links']:.2f} if nothing hides the links",
        f"  images a second       {plan['images_per_second_per_chip']:.0f} a chip, "
        f"{plan['images_per_second']:.0f} in all; {100 * plan['mfu']:.1f} % MFU",
        f"  the whole recipe      {plan['steps']} steps, {_time(plan['recipe_seconds'])}",
        f"  compiled in           {plan['compile_seconds']:.0f} s",
    ]
    return "\n".join(lines)


def scaling_table(plans: list[dict]) -> str:
    """Weak scaling: throughput a chip beside that of the first slice, the links hidden or not."""
    lines = [
        "| topology | chips | images | ms a step | images/s | scaling | links last | recipe |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for plan in plans:
        start = f"| {plan['topology']} | {plan['chips']} | {plan['batch_size']} |"
        if not plan["fits"]:
            lines.append(f"{start} does not fit | | | | |")
            continue
        lines.append(
            f"{start} {1e3 * plan['seconds']['step']:.2f} | {plan['images_per_second']:.0f} | "
            f"{_scaling(plans[0], plan, 'step')} | "
            f"{_scaling(plans[0], plan, 'step_waiting_for_links')} | "
            f"{_time(plan['recipe_seconds'])} |"
        )
    return "\n".join(lines)


def _scaling(first: dict, plan: dict, step: str) -> str:
    """In per cent; the batch a chip is the same on all, so the times tell."""
    return f"{100 * first['seconds'][step] / plan['seconds'][step]:.1f} %" if first["fits"] else ""


def _largest_words(plan: dict) -> str:
    fits, fails = plan["largest_batch_per_chip"], plan["too_large_batch_per_chip"]
    found = f"{fits} fits" if fits else "none was found to fit"
    return found + (f", {fails} does not" if fails else "")


def _gib(number: float) -> str:
    return f"{number / 2**30:.2f}"


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _restart_with_unlimited_stack() -> None:
    """Starts this program anew where its stack is limited.

    The compiler recurses for v6e so deeply that it dies by signal 11 (libtpu 0.0.42.1, ResNet-50).
    It takes its limits from those with which the process began: raising them now does not help.
    """
    limit, highest = resource.getrlimit(resource.RLIMIT_STACK)
    if limit == resource.RLIM_INFINITY:
        return
    if highest != resource.RLIM_INFINITY:  # all but v6e work
        if any("v6e" in argument for argument in sys.argv):
            print(
                "The stack of this process is limited to "
                f"{highest // 2**20} MiB and cannot be raised, and the TPU compiler may die for "
                "v6e of that (signal 11). Run it where `ulimit -Hs` says unlimited.",
                file=sys.stderr,
            )
        return
    resource.setrlimit(resource.RLIMIT_STACK, (highest, highest))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    _restart_with_unlimited_stack()
    code = main(sys.argv)
    sys.stdout.flush()
    os._exit(code)  # threads of the compiler may still be running
