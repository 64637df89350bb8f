"""python -m zoo look, filters, chart, fields: pictures and tables of what a network sees."""

import argparse
import sys
from pathlib import Path
from typing import Any

WAYS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "saliency", "guided_backprop", "deconvnet")
_OF_STAGES = WAYS[:3]
_PICTURES = (".png", ".jpg", ".pdf", ".svg")


def add_commands(commands: Any) -> None:
    """Adds the commands to the parsers of `python -m zoo`."""
    look = commands.add_parser("look", help="what in a picture a model goes by, as a picture")
    look.add_argument("image", help="file of the picture")
    _add_weights(look)
    look.add_argument("--how", choices=WAYS, default="grad_cam", help="(grad_cam)")
    look.add_argument("--at", default="", help="stage of the maps (the last)")
    look.add_argument("--target", default="", help="class, by name, id or number (the first)")
    look.add_argument("--out", default="look.png", help="the picture (look.png)")
    filters = commands.add_parser("filters", help="the first layer's filters, as a picture")
    _add_weights(filters)
    filters.add_argument("--out", default="filters.png", help="the picture (filters.png)")
    chart = commands.add_parser("chart", help="accuracy over multiply-adds, as a picture")
    chart.add_argument("pattern", nargs="?", default="*", help='a wildcard such as "resnet*"')
    what = "only accuracies of this source, such as torchvision: protocols differ"
    chart.add_argument("--source", default="", help=what)
    chart.add_argument("--out", default="chart.png", help="the picture (chart.png)")
    fields = commands.add_parser("fields", help="receptive fields of a model's stages, a table")
    fields.add_argument("name", help="a registered model")


def _add_weights(to: argparse.ArgumentParser) -> None:
    to.add_argument("--weights", required=True, help="what zoo.load takes: a name, a file, a run")
    to.add_argument("--model", default="", help="the model in a file that does not say it")


def run(options: argparse.Namespace) -> int:
    """Runs a command; returns the exit status."""
    try:
        out = Path(getattr(options, "out", "x.png")).expanduser()
        if out.suffix not in _PICTURES:
            raise ValueError(f"--out={out}: a picture ends in {', '.join(_PICTURES)}.")
        {"look": _look, "filters": _filters, "chart": _chart, "fields": _fields}[options.command](
            options, out
        )
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _load(options: argparse.Namespace) -> Any:
    import zoo

    return zoo.load(options.weights, **({"model": options.model} if options.model else {}))


def _look(options: argparse.Namespace, out: Path) -> None:
    import jax
    import numpy as np

    from zoo.look import attribution, pictures

    loaded = _load(options)
    images = loaded.preprocessing([options.image])
    logits = np.asarray(jax.jit(loaded.model.apply)(loaded.variables, images))[0]
    number, name = _class_of(options.target, logits, loaded)
    stages = [stage.name for stage in loaded.info.stages if stage.stride]
    if options.how in _OF_STAGES and not (options.at or stages):
        raise ValueError(f"{loaded.info.name} has no stage with positions: take --how=saliency.")
    at = (options.at or stages[-1],) if options.how in _OF_STAGES else ()
    case = loaded.model, loaded.variables, images, np.array([number])
    heat = np.asarray(getattr(attribution, options.how)(*case, *at))[0]
    heat = np.abs(heat).max(-1) if heat.ndim == 3 else heat
    probability = np.exp(logits - logits.max())[number] / np.exp(logits - logits.max()).sum()
    title = f"{name} ({probability:.1%}): {' '.join((options.how, *at))}"
    pictures.draw_map(pictures.seen_pixels(loaded.preprocessing, options.image), heat, title, out)
    print(f"{out}: {title}")


def _class_of(target: str, logits: Any, loaded: Any) -> tuple[int, str]:
    """The number and the name of a class: the first of all, or what `target` says."""
    from zoo import labels

    count = len(logits)
    try:
        ids, names = labels.classes_of(loaded, count)
    except ValueError:  # nothing is known but their number
        names = ids = tuple(map(str, range(count)))
    if not target:
        number = int(logits.argmax())
        return number, names[number]
    for known in (names, ids, tuple(map(str, range(count)))):
        if target in known:
            number = list(known).index(target)
            return number, names[number]
    raise ValueError(f"--target={target}: none of the model's {count} classes is called so.")


def _filters(options: argparse.Namespace, out: Path) -> None:
    from zoo.look import pictures

    loaded = _load(options)
    filters = pictures.first_filters(loaded.variables)
    pictures.save_pixels(pictures.grid(filters), out)
    count, height, width, _ = filters.shape
    print(f"{out}: {count} filters of {height}x{width} pixels of {loaded.info.name}")


def _chart(options: argparse.Namespace, out: Path) -> None:
    from zoo import registry
    from zoo.look import pictures

    infos = [registry.info(name) for name in registry.list_models(options.pattern)]
    chosen = [i for i in infos if i.top1 is not None and options.source in i.accuracy_source]
    chosen = [i for i in chosen if i.image_size > 64]  # ImageNet's
    if not chosen:
        raise ValueError(f"No ImageNet model {options.pattern} has a figure of {options.source!r}.")
    pictures.draw_chart(chosen, out)
    print(f"{out}: {len(chosen)} models")


def _fields(options: argparse.Namespace, out: Path) -> None:
    from zoo import registry
    from zoo.look import receptive_fields

    info = registry.info(options.name)
    model = registry.create(options.name)
    print(f"{'output':12} {'size':>6} {'stride':>6} {'start':>6}")
    for name, field in receptive_fields(model, info.image_size, info.channels).items():
        size, stride, start = ("whole" if abs(x) == float("inf") else f"{x:g}" for x in field)
        print(f"{name:12} {size:>6} {stride:>6} {start:>6}")
