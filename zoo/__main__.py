"""Prints tables of models, and exports one.

python -m zoo list [PATTERN]    all models, or those that match a wildcard, in Markdown
python -m zoo summary NAME      one model layer by layer
python -m zoo export [NAME] --weights=... --to=stablehlo|onnx|safetensors|saved_variables
                                a file that other programs run or read
python -m zoo look IMAGE --weights=...
                                what in a picture a model goes by
python -m zoo filters --weights=...
                                the filters of its first layer
python -m zoo fields NAME       receptive fields of its stages
python -m zoo chart [PATTERN]   accuracy over multiply-adds
python -m zoo charts [PATTERN]  and per parameter, tables of papers, ILSVRC; --measure=MODELS: time,
                                memory and energy over batch size, on this machine
"""

import argparse
import ast
import importlib
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from zoo import registry, summary, tables
from zoo.export import command
from zoo.look import charts_command
from zoo.look import command as look


def table(pattern: str = "*") -> str:
    """A Markdown table of the models whose names match a wildcard such as "resnet*".

    One row per model: year, image size, parameters, multiply-adds, and the published accuracy with
    its source.
    """
    rows = [
        "| model | year | image | parameters | GMACs | top-1 % | source of the accuracy |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    infos = [registry.info(name) for name in registry.list_models(pattern)]
    for info in sorted(infos, key=lambda info: (info.year, info.family, info.gmacs, info.name)):
        size = f"{info.image_size}x{info.image_size}x{info.channels}"
        accuracy = "" if info.top1 is None else f"{info.top1:.2f}"
        rows.append(
            f"| `{info.name}` | {info.year} | {size} | {info.num_params:,} | {info.gmacs:.4g} "
            f"| {accuracy} | {info.accuracy_source if accuracy else ''} |"
        )
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; `arguments` replaces that of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m zoo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the table of models")
    listing.add_argument("pattern", nargs="?", default="*", help='a wildcard such as "resnet*"')
    layers = commands.add_parser("summary", help="one model layer by layer")
    layers.add_argument("name", help="a registered model")
    layers.add_argument("--format", choices=tables.FORMS, default="table", help="(table)")
    layers.add_argument("--by", choices=("layer", "stage"), default="layer", help="rows (layer)")
    layers.add_argument("--batch", type=int, default=1, help="images, for MACs and memory (1)")
    layers.add_argument("--image_size", type=int, help="side of the images in pixels (its own)")
    layers.epilog = "Any other attribute of the model: --num_classes=10 --drop_path=0.1 ..."
    command.add_arguments(commands.add_parser("export", help="a file that other programs run"))
    look.add_commands(commands)
    charts_command.add_command(commands)
    for one in commands.choices.values():
        what = "Python file or module that registers a model of your own"
        one.add_argument("--import", dest="imports", default="", metavar="FILE.py", help=what)
    options, others = parser.parse_known_args(arguments)
    if others and options.command != "summary":
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    try:
        if options.imports.endswith(".py"):
            sys.path.append(str(Path(options.imports).absolute().parent))  # of modules beside it
            runpy.run_path(options.imports)
        elif options.imports:
            importlib.import_module(options.imports)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        parser.error(f"--import={options.imports}: {error}")
    if options.command == "export":
        sys.exit(command.run(options))
    if options.command in ("look", "filters", "fields", "chart"):
        sys.exit(look.run(options))
    if options.command == "charts":
        sys.exit(charts_command.run(options))
    if options.command == "list":
        if not registry.list_models(options.pattern):
            parser.error(f"no model matches {options.pattern!r}; `python -m zoo list` shows all")
        print(table(options.pattern))
        return
    try:
        size = dict(by=options.by, batch=options.batch, image_size=options.image_size)
        print(summary.table(options.name, options.format, **size, **_attributes(others)))
    except (ValueError, TypeError) as error:
        parser.error(str(error))


def _attributes(arguments: list[str]) -> dict[str, Any]:
    """Attributes of a model from arguments such as --num_classes=10; what is no number is text."""
    found = {}
    for argument in arguments:
        name, is_given, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not is_given:
            raise ValueError(f"unrecognized argument {argument}: attributes are --NAME=VALUE")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
