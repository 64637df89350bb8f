"""python -m train.probe --weights=NAME --data=NAME [--shots=1,5,10,25] [--at=embedding]

Says how well the frozen features of a model tell the classes of a data set apart, with few examples
of each: the features are computed once, and a linear classifier is fitted to those of --shots
images a class, for --seeds draws of them. --at=pixels is the same without a model's knowledge.

The classifiers are least_squares (nothing to tune, as in big_vision), logistic and svm; of one
class against all others, --classifier=one_class_svm or mahalanobis with --target=CLASS, which give
the area under the ROC curve. The model is named as in train.predict.
"""

import argparse
import csv
import os
import sys
from pathlib import Path
from typing import Any

from train.console import open_streams


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the command line; exits with 2 if it is wrong."""
    usage, _, description = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        usage=usage, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", default="", help="name of weights, or a file of them")
    add("--workdir", default="", help="folder of a run of python -m train")
    add("--model", default="", help="the model in a file that does not say it")
    add("--data", required=True, help="name of the data set, such as folder:PATH")
    add("--split", default="train", help="from which examples are drawn (train)")
    add("--test_split", default="", help="on which accuracy is measured (the one for evaluation)")
    add("--data_dir", default="", help="folder of prepared data sets (tfds's)")
    add("--at", default="embedding", help="output of the model: embedding, stage4, fc7, pixels")
    add(
        "--classifier",
        choices=("least_squares", "logistic", "svm", "one_class_svm", "mahalanobis"),
        default="least_squares",
    )
    add("--target", default="", help="name of the class that is told from all others")
    add("--shots", type=_numbers, default=(1, 5, 10, 25), help="examples a class (1,5,10,25)")
    add("--seeds", type=int, default=3, help="number of draws (3)")
    add("--image_size", type=int, default=0, help="of the model's input (that of the weights)")
    add("--results", default="", help="CSV file of the figures of all draws")
    add("--batch_size", type=int, default=32, help="images at once (32)")
    add("--threads", type=int, default=0, help="that decode (one for each processor)")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    options = parse(arguments)  # before JAX is imported, so that a typo shows at once
    from input_pipeline.example import DataError
    from train.errors import TrainError
    from train.memory import keep_freed_memory
    from train.workspace import use_compile_cache

    keep_freed_memory()
    use_compile_cache("auto")
    try:
        rows = probe(options)
        if options.results:
            with Path(options.results).open("w", newline="") as file:
                csv.writer(file).writerows([("shots", "seed", "figure"), *rows])
    except (TrainError, DataError, ValueError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 0


def probe(options: argparse.Namespace) -> list[tuple[int, int, float]]:
    """Fits and measures all classifiers; prints a line for each number of shots.

    Returns:
      (shots, seed, accuracy or area under the curve) of each.
    """
    import numpy as np
    from tqdm import tqdm

    import input_pipeline
    from train.use import probes
    from train.use.features import features_of, labels_of
    from train.use.weights import open_model

    name, folder = options.data, options.data_dir or None
    train = input_pipeline.open(name, options.split, folder)
    split = options.test_split or input_pipeline.eval_split(name, folder)
    test = input_pipeline.open(name, split, folder)
    target = _target(options, train.class_names)
    size = options.image_size
    trained = open_model(options.weights, options.workdir, options.model, None, size)
    labels, test_labels = labels_of(train), labels_of(test)
    draws = {
        (shots, seed): probes.choose(labels, shots, seed)
        for shots in options.shots
        for seed in range(options.seeds)
    }
    needed = np.unique(np.concatenate([*draws.values()]))
    settings: dict[str, Any] = dict(at=options.at, batch_size=options.batch_size)
    settings["threads"] = options.threads or os.cpu_count() or 1
    settings["progress"] = lambda batches, total: tqdm(batches, "features", total, disable=None)
    features = features_of(trained, train, needed.tolist(), **settings)
    test_features = features_of(trained, test, range(len(test)), **settings)

    rows = []
    for (shots, seed), chosen in draws.items():
        here = np.searchsorted(needed, chosen)
        if target is None:
            scorer = probes.CLASSIFIERS[options.classifier](features[here], labels[chosen])
            figure = probes.accuracy(scorer, test_features, test_labels)
        else:
            of_target = here[labels[chosen] == target]
            scorer = probes.ONE_CLASS[options.classifier](features[of_target])
            figure = probes.auc(scorer(test_features), test_labels == target)
        rows.append((shots, seed, figure))
    what = "accuracy" if target is None else f"area under the curve of {options.target}"
    for shots in options.shots:
        found = 100 * np.array([figure for n, _, figure in rows if n == shots])
        print(
            f"{shots:>4} shots: {what} {found.mean():.2f} ± {found.std():.2f} % "
            f"of {len(test):,} images, {len(found)} draws",
            flush=True,
        )
    return rows


def _target(options: argparse.Namespace, class_names: tuple[str, ...]) -> int | None:
    """The label of --target, or None where all classes are told apart.

    Raises:
      TrainError: the classifier needs a target and has none, or the other way round.
    """
    from train.errors import TrainError
    from train.use import probes

    if (options.classifier in probes.ONE_CLASS) != bool(options.target):
        raise TrainError(
            f"--classifier={options.classifier} and --target={options.target!r} do not go together:"
            f" {' and '.join(probes.ONE_CLASS)} tell one class from all others, which --target "
            "names."
        )
    if not options.target:
        return None
    if options.target not in class_names:
        raise TrainError(
            f"--target={options.target} is none of the classes: {', '.join(class_names[:20])}."
        )
    return class_names.index(options.target)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in text.split(","))
    if min(numbers) < 1:
        raise ValueError(text)  # argparse says which argument it was
    return numbers


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    os._exit(code) if code == 130 else sys.exit(code)  # threads may be decoding
