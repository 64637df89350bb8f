"""Formats the figures of a plan: some lines for each slice, and a table of weak scaling."""

PARTS = ("compute", "memory", "links")


def describe(plan: dict) -> str:
    """Returns the figures of one slice (see `roofline.step_figures`) as readable text."""
    memory = plan["memory"]
    what = (
        f"{plan['model']} ({plan['dtype']}, BatchNorm {plan['batch_norm']}) on {plan['topology']}, "
        f"{plan['chips']} chips x {plan['batch_per_chip']} images"
    )
    needs = f"{_gib(memory['peak'])} of {_gib(memory['available'])} GiB per chip"
    state = ", ".join(
        f"{name.replace('_', ' ')} {_gib(memory[name])}"
        for name in ("parameters", "optimizer", "other_state", "temporaries")
        if name in memory
    )
    lines = [
        f"{what}: fits, {needs}" if plan["fits"] else f"DOES NOT FIT: {what} needs {needs}",
        f"  memory per chip, GiB  {state}",
    ]
    if "largest_batch_per_chip" in plan:
        lines.append(f"  largest batch/chip    {_describe_largest(plan)}")
    if not plan["fits"]:
        return "\n".join([*lines, f"  compiled in           {plan['compile_seconds']:.0f} s"])
    seconds = plan["seconds"]
    parts = ", ".join(f"{part} {1e3 * seconds[part]:.2f}" for part in PARTS)
    exchanges = "; ".join(
        f"{each['count']} {kind}, {each['bytes'] / 1e6:.1f} MB"
        for kind, each in plan["collectives"].items()
    )
    lines += [
        f"  per step and chip     {plan['flops'] / 1e12:.3g} TFLOP, {plan['bytes'] / 1e9:.3g} GB "
        f"to and from HBM ({plan['bytes_with_on_chip'] / 1e9:.3g} GB with the chip's own memory)",
        f"  collectives per step  {exchanges or 'none'}",
        f"  roofline, ms per step {1e3 * seconds['step']:.2f}, bound by {plan['bound']} ({parts}); "
        f"{1e3 * seconds['step_waiting_for_links']:.2f} if the links are not overlapped",
        f"  images per second     {plan['images_per_second_per_chip']:.0f} per chip, "
        f"{plan['images_per_second']:.0f} in all; {100 * plan['mfu']:.1f} % MFU",
        f"  the whole recipe      {plan['steps']} steps, {_time(plan['recipe_seconds'])}",
        f"  compiled in           {plan['compile_seconds']:.0f} s",
    ]
    return "\n".join(lines)


def scaling_table(plans: list[dict]) -> str:
    """Returns a Markdown table of weak scaling: throughput per chip relative to the first slice.

    The column "scaling" overlaps the links with the rest of the step, "links last" does not.
    """
    lines = [
        "| topology | chips | images | ms/step | images/s | scaling | links last | recipe |",
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
    """Relative throughput in %; the batch per chip is the same on all, so times suffice."""
    return f"{100 * first['seconds'][step] / plan['seconds'][step]:.1f} %" if first["fits"] else ""


def _describe_largest(plan: dict) -> str:
    fits, fails = plan["largest_batch_per_chip"], plan["too_large_batch_per_chip"]
    found = f"{fits} fits" if fits else "none was found to fit"
    return found + (f", {fails} does not" if fails else "")


def _gib(number: float) -> str:
    return f"{number / 2**30:.2f}"


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
