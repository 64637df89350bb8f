"""python -m train.evaluate --weights=NAME[,NAME...] --data=NAME [--split=SPLIT] [--results=FILE]

Says how good models are on a data set, beside their published accuracy: a row for each. Models are
named by their weights as in train.predict, by a pattern (--models='resnet50*', of zoo.list_weights)
or by their runs (--workdir=runs/lenet; without --data on the run's own). Each image is shown once,
in the views of --views. With --results the rows are kept in a file, and a command that is started
again goes on where it was stopped.

The data set is a name of tfds, folder:PATH (its classes named as the model's, by synset or name) or
mnist and others, see docs/data.md; of folder:PATH without splits, --split=all is all of it.

The exit status is 0 if all models were evaluated, 1 if one was not, and 2 for a wrong command line.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from train.console import open_streams
from train.use import options

if TYPE_CHECKING:
    from train.use.evaluation import Protocol
    from zoo.weights.pretrained import PretrainedModel

# As in train.use.views, which imports JAX.
VIEWS = ("center", "flip", "ten_crop", "ten_crop_square", "googlenet_144", "dense")
AVERAGES = ("probabilities", "logits", "log_probabilities")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the command line; exits with 2 if it is wrong."""
    parser = options.parser(__doc__ or "")
    add = parser.add_argument
    add("--weights", type=_words, default=(), help="names or files of weights, with commas")
    add("--models", default="", help="pattern of zoo.list_weights, instead of --weights")
    add("--workdir", type=_words, default=(), help="folders of runs, instead of --weights")
    add("--model", default="", help="the model in a file that does not say it")
    options.add_import(parser)
    add("--data", default="", help="name of the data set")
    add("--split", default="", help="its split (the one for evaluation)")
    add("--data_dir", default="", help="folder of prepared data sets (tfds's)")
    add("--unreadable", choices=("stop", "skip"), default="skip", help="images (skip)")
    add("--views", choices=VIEWS, default="center")
    add("--scales", type=options.positives, default=(), help="shorter sides, such as 224,256,288")
    add("--average", choices=AVERAGES, default=AVERAGES[0], help="of the views (probabilities)")
    add("--positions", choices=AVERAGES, default=AVERAGES[1], help="average of a map (logits)")
    options.add_image_size(parser)
    add("--ensemble", nargs="?", const="equal", help="one row for all models: equal, or 0.3,0.7")
    add("--restrict", action="store_true", help="choose among the classes of the data set only")
    add("--real_labels", default="", help="real.json of reassessed-imagenet (ReaL)")
    add("--results", default="", help="CSV file to which rows are added")
    add("--confusion", default="", help="which class is taken for which: .png, .pdf, .svg or .csv")
    options.add_batches(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    given = parse(arguments)  # before JAX is imported, so that a typo shows at once
    from input_pipeline.example import DataError
    from train.errors import TrainError
    from train.memory import keep_freed_memory
    from train.use import confusion
    from train.use.evaluation import Protocol
    from train.use.results import Results
    from train.use.weights import register_models
    from train.workspace import use_compile_cache

    keep_freed_memory()
    use_compile_cache("auto")
    try:
        results = Results(given.results)
        protocol = Protocol(given.views, given.scales, given.average, given.positions)
        register_models(given.imports)
        groups = named(given)
        if given.confusion:
            confusion.check_ending(given.confusion)
            if len(groups) > 1 or given.real_labels:
                raise TrainError("--confusion is of one model, and of one label for each image.")
        failed = 0
        for names in groups:
            try:
                row(names, given, protocol, results)
            except BrokenPipeError:
                raise
            except (TrainError, DataError, ValueError, OSError) as error:
                failed += 1
                print(f"{'+'.join(names)}: {error}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except (TrainError, DataError, ValueError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 1 if failed else 0


def named(given: argparse.Namespace) -> list[Sequence[str]]:
    """Returns the names of weights or runs of each row.

    Raises:
      TrainError: not exactly one of --weights, --models and --workdir is given, or nothing is of
        the pattern.
    """
    import zoo
    from train.errors import TrainError

    ways = [x for x in (given.weights, given.models, given.workdir) if x]
    if len(ways) != 1:
        raise TrainError("Name models by one of --weights, --models and --workdir.")
    names = ways[0]
    if given.models and not (names := zoo.list_weights(given.models)):
        raise TrainError(f"No weights are called {given.models}; see zoo.list_weights().")
    return [tuple(names)] if given.ensemble else [(name,) for name in names]


def row(names: Sequence[str], given: argparse.Namespace, protocol: "Protocol", results) -> None:
    """Evaluates what is called so, adds a row to the results, and prints it."""
    from tqdm import tqdm

    from train.use import confusion
    from train.use.data import open_for, real_labels
    from train.use.evaluation import Classifier, evaluate
    from train.use.weights import open_model, shares

    source = open_for(given)
    key = dict(
        weights="+".join(names),
        data=source.dataset,
        split=source.split,
        views=protocol.views,
        scales=" ".join(map(str, protocol.scales)),
        average=averages(protocol),
        image_size=given.image_size or "own",
        classes="of the data" if given.restrict else "all",
        labels=given.real_labels or "own",
        shares=given.ensemble or "",
    )
    if results.has(key):
        print(f"{key['weights']}: is in {given.results} already.")
        return
    runs = bool(given.workdir)
    models = [
        open_model("" if runs else x, x if runs else "", given.model, None, given.image_size)
        for x in names
    ]
    start = time.monotonic()
    scores = evaluate(
        [
            (Classifier(m, protocol), w)
            for m, w in zip(models, shares(given.ensemble, len(names)), strict=True)
        ],
        source,
        batch_size=given.batch_size,
        threads=given.threads,
        restrict=given.restrict,
        real_labels=real_labels(given.real_labels),
        progress=lambda batches, total: tqdm(batches, key["weights"], total, disable=None),
    )
    if given.confusion:
        confusion.write(given.confusion, scores.confusion, class_names(models[0], scores, source))
    line = key | describe(models) | vars(scores) | {"images": scores.examples}
    line |= {"top1": 100 * scores.top1, "top5": 100 * scores.top5}
    print(sentence(key["weights"], scores, line), flush=True)
    results.add(line | {"seconds": round(time.monotonic() - start, 1)})


def averages(protocol: "Protocol") -> str:
    """Returns what is averaged, as the table of results says it."""
    usual = protocol.views != "dense" or protocol.positions == "logits"
    return protocol.average if usual else f"{protocol.average}; positions: {protocol.positions}"


def class_names(model: "PretrainedModel", scores: Any, source: Any) -> list[str]:
    """Returns a name for each of the model's classes: its own, those of the data, or numbers."""
    from zoo import labels

    count = len(scores.confusion)
    try:
        _, names = labels.classes_of(model, count)
    except ValueError:
        names = ()
    for known in (names, source.class_names):
        if len(known) == count and any(known):
            return list(known)
    return [str(number) for number in range(count)]


def describe(models: "Sequence[PretrainedModel]") -> dict[str, Any]:
    """Returns what a row says of the models besides their scores; of runs nothing is published."""
    import jax

    from zoo.weights.pretrained import OF_A_RUN

    info, preprocessing = models[0].info, models[0].preprocessing
    parameters = sum(x.size for m in models for x in jax.tree.leaves(m.variables["params"]))
    alone = len(models) == 1
    published = alone and info.accuracy_source != OF_A_RUN
    return {
        "model": "+".join(model.info.name for model in models),
        "parameters": parameters,
        "crop": preprocessing.crop if alone else None,
        "interpolation": preprocessing.interpolation if alone else None,
        "published_top1": info.top1 if published else None,
        "published_top5": info.top5 if published else None,
    }


def sentence(name: str, scores: Any, line: dict[str, Any]) -> str:
    """Returns a row as people read it."""
    published = [f"{line[k]:.2f}" for k in ("published_top1", "published_top5") if line[k]]
    text = f"{name}: top1 {100 * scores.top1:.2f} %, top5 {100 * scores.top5:.2f} %"
    text += f", loss {scores.loss:.4f} of {scores.examples:,} images"
    text += f" ({scores.skipped:,} left out)" if scores.skipped else ""
    return f"{text}; published {' and '.join(published)} %" if published else text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


if __name__ == "__main__":
    options.run(main, "Stopped. With --results the same command goes on.")
