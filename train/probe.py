"""python -m train.probe --weights=NAME --data=NAME [--shots=1,5,10,25] [--at=embedding]

Says how well the frozen features of a model tell the classes of a data set apart, with few examples
of each: the features are computed once, and a linear classifier is fitted to those of --shots
images a class, for --seeds draws of them. --at=pixels is the same without a model's knowledge.

The classifiers are least_squares (nothing to tune, as in big_vision), logistic and svm; of one
class against all others, --classifier=one_class_svm or mahalanobis with --target=CLASS, which give
the area under the ROC curve. The model is named as in train.predict.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from train.console import open_streams
from train.use import options


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the command line; exits with 2 if it is wrong."""
    parser = options.parser(__doc__ or "")
    add = parser.add_argument
    options.add_model(parser)
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
    add(
        "--shots",
        type=options.positives,
        default=(1, 5, 10, 25),
        help="examples a class (1,5,10,25)",
    )
    add("--seeds", type=options.positive, default=3, help="number of draws (3)")
    options.add_image_size(parser)
    add("--results", default="", help="CSV file of the figures of all draws")
    options.add_batches(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    given = parse(arguments)  # before JAX is imported, so that a typo shows at once
    from input_pipeline.example import DataError
    from train.errors import TrainError
    from train.memory import keep_freed_memory
    from train.workspace import use_compile_cache, write_atomically

    keep_freed_memory()
    use_compile_cache("auto")
    try:
        rows = probe(given)
        if given.results:
            lines = [("shots", "seed", "figure"), *rows]
            text = "".join(",".join(map(str, line)) + "\n" for line in lines)
            write_atomically(Path(given.results).expanduser(), text)
    except BrokenPipeError:
        raise
    except (TrainError, DataError, ValueError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 0


def probe(given: argparse.Namespace) -> list[tuple[int, int, float]]:
    """Fits and measures all classifiers; prints a line for each number of shots.

    Returns:
      (shots, seed, accuracy or area under the curve) of each.
    """
    import numpy as np
    from tqdm import tqdm

    import input_pipeline
    from train.data import own_data
    from train.use import probes
    from train.use.data import open_split
    from train.use.features import features_of, labels_of
    from train.use.weights import open_model, register_models

    name, folder = given.data, given.data_dir or None
    register_models(given.imports)  # and data sets
    split = given.test_split or input_pipeline.eval_split(own_data(name), folder)
    train, test = (open_split(name, which, data_dir=folder) for which in (given.split, split))
    target = _target(given, train.class_names)
    size = given.image_size
    trained = open_model(given.weights, given.workdir, given.model, None, size)
    labels, test_labels = labels_of(train), labels_of(test)
    draws = {
        (shots, seed): probes.choose(labels, shots, seed)
        for shots in given.shots
        for seed in range(given.seeds)
    }
    needed = np.unique(np.concatenate([*draws.values()]))
    settings: dict[str, Any] = dict(at=given.at, batch_size=given.batch_size)
    settings["threads"] = given.threads
    settings["progress"] = lambda batches, total: tqdm(batches, "features", total, disable=None)
    features = features_of(trained, train, needed.tolist(), **settings)
    test_features = features_of(trained, test, range(len(test)), **settings)

    rows = []
    for (shots, seed), chosen in draws.items():
        here = np.searchsorted(needed, chosen)
        if target is None:
            scorer = probes.CLASSIFIERS[given.classifier](features[here], labels[chosen])
            figure = probes.accuracy(scorer, test_features, test_labels)
        else:
            of_target = here[labels[chosen] == target]
            scorer = probes.ONE_CLASS[given.classifier](features[of_target])
            figure = probes.auc(scorer(test_features), test_labels == target)
        rows.append((shots, seed, figure))
    what = "accuracy" if target is None else f"area under the curve of {given.target}"
    for shots in given.shots:
        found = 100 * np.array([figure for n, _, figure in rows if n == shots])
        print(
            f"{shots:>4} shots: {what} {found.mean():.2f} ± {found.std():.2f} % "
            f"of {len(test):,} images, {len(found)} draws",
            flush=True,
        )
    return rows


def _target(given: argparse.Namespace, class_names: tuple[str, ...]) -> int | None:
    """The label of --target, or None where all classes are told apart.

    Raises:
      TrainError: the classifier needs a target and has none, or the other way round.
    """
    from train.errors import TrainError
    from train.use import probes

    if (given.classifier in probes.ONE_CLASS) != bool(given.target):
        raise TrainError(
            f"--classifier={given.classifier} and --target={given.target!r} do not go together:"
            f" {' and '.join(probes.ONE_CLASS)} tell one class from all others, which --target "
            "names."
        )
    if not given.target:
        return None
    if given.target not in class_names:
        raise TrainError(
            f"--target={given.target} is none of the classes: {', '.join(class_names[:20])}."
        )
    return class_names.index(given.target)


if __name__ == "__main__":
    options.run(main)
