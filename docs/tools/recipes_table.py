"""Writes the table of recipes anew into docs/recipes.md.

python docs/tools/recipes_table.py
"""

import importlib
import re
from pathlib import Path

from ml_collections import ConfigDict

import configs

PAGE = Path(__file__).parent.parent / "recipes.md"
MARKED = re.compile(r"(?<=<!-- recipes -->\n\n).*?(?=\n\n<!-- /recipes -->)", re.DOTALL)
HEAD = """\
| recipe | model | optimizer | rate | batch | epochs | augmentation | published | state |
| --- | --- | --- | --- | ---: | ---: | --- | --- | --- |"""
# Images of training sets, to tell epochs where a recipe says steps.
IMAGES = {"imagenet2012": 1_281_167, "cifar10": 50_000, "mnist": 60_000, "svhn_cropped": 604_388}


def cases() -> list[tuple[str, str]]:
    """All recipes and their variants: (name of the file, argument); "" where there is one alone."""
    return [(name, variant) for name in configs.names() for variant in variants(name)]


def variants(name: str) -> list[str]:
    """The variants of a recipe, the first one its default; [""] if it has none."""
    return list(getattr(module(name), "VARIANTS", [""]))


def module(name: str):
    """The file of a recipe, as a module."""
    return importlib.import_module(f"configs.{name}")


def table() -> str:
    """The table, in Markdown."""
    return "\n".join([HEAD, *(row(*case) for case in cases())])


def row(name: str, variant: str) -> str:
    """One line of the table."""
    config = module(name).get_config(variant)
    argument = "" if variant == variants(name)[0] else f":{variant}"
    schedule = f"{config.schedule.learning_rate:.4g} {config.schedule.name}"
    cells = [
        f"`{name}{argument}`",
        f"`{config.model.name}`",
        config.optimizer.name,
        schedule,
        f"{config.batch_size:,}",
        epochs(config),
        augmentation(config),
        published(name, variant),
        state(name, variant),
    ]
    return f"| {' | '.join(cells)} |"


def epochs(config: ConfigDict) -> str:
    """The length of a recipe in epochs, or in steps where the data set's size is not known."""
    number, unit = config.duration.split()
    if unit.startswith("step") and (images := IMAGES.get(config.data.name)):
        return f"{float(number) * config.batch_size / images:.3g}"
    return number if unit.startswith("epoch") else f"{float(number):,.0f} {unit}"


def augmentation(config: ConfigDict) -> str:
    """What a recipe does to its training images, in a few words."""
    augment, mix = config.augment, config.mix
    crops = {"random_resized": "resized crops", "resize_random": "crops", "padded": "padded crops"}
    words = [
        crops.get(augment.crop, ""),
        "flips" if augment.flip else "",
        "colour shift" if augment.lighting else "",
        "colour jitter" if any(augment.color_jitter) else "",
        augment.policy,
        f"erasing {augment.erasing:g}" if augment.erasing else "",
        f"mixup {mix.mixup:g}" if mix.mixup else "",
        f"cutmix {mix.cutmix:g}" if mix.cutmix else "",
        f"each image {augment.repeats} times" if augment.repeats > 1 else "",
        f"{config.progressive.stages} stages" if config.progressive.stages > 1 else "",
    ]
    return ", ".join(word for word in words if word)


def published(name: str, variant: str) -> str:
    """The published figure of a variant, from the head of the recipe; "" if it says none."""
    lines = section(name, "Published")
    of_variant = {line[1:].partition(" ")[0]: line.partition(" ")[2] for line in lines[1:]}
    figure = lines[0] if variant == variants(name)[0] else of_variant.get(variant, "")
    return "" if figure.startswith("none") else re.sub(r" \?(?= |,|$)", "?", figure)


def state(name: str, variant: str) -> str:
    """Whether a variant was run, from the head of the recipe: of the first one, or of all."""
    lines = section(name, "Ours")
    first, *more = re.split(r"[,:;]", lines[0])
    if variant == variants(name)[0] or more and more[0].strip() == "all variants":
        return first
    of_variant = {line[1:].partition(" ")[0]: line.partition(" ")[2] for line in lines[1:]}
    return re.split(r"[,:;]", of_variant.get(variant, "not yet run"))[0]


def section(name: str, label: str) -> list[str]:
    """The lines of a label at the head of a recipe; a line that goes on is part of it."""
    story = module(name).__doc__
    found = re.search(rf"^{label} +(.*(?:\n {{10}}.*)*)", story, re.M)
    lines: list[str] = []
    for line in found[1].split("\n") if found else [""]:
        if lines and not line.strip().startswith(":"):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    return lines


def written(page: Path = PAGE) -> str:
    """The table that stands in the page."""
    (rows,) = MARKED.findall(page.read_text())
    return rows


if __name__ == "__main__":
    PAGE.write_text(MARKED.sub(lambda _: table(), PAGE.read_text()))
