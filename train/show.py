"""python -m input_pipeline.show --config=RECIPE [--out=sheet.png] [--config.KEY=VALUE ...]

Draws a contact sheet of what a recipe does to images of its training split: in each row an image as
evaluation sees it, and the model's input in several draws of the training augmentation, by the
functions that training calls; mixup and cutmix mix the images of a column. Normalization is undone
for the picture.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from input_pipeline import loader, show
from input_pipeline.example import known_label
from train.augmentation import Mix, make_mixing
from train.data import Data
from zoo import representation

# Another program of one process, as in tests, may have a flag of this name: either may be first.
_OUT = flags.DEFINE_string("out", "", "The picture (sheet.png).", allow_override=True)
_IMAGES = flags.DEFINE_integer("images", 6, "Number of images.", lower_bound=1)
_DRAWS = flags.DEFINE_integer("draws", 8, "Draws of the augmentation for each.", lower_bound=1)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    from train.command_line import WrongCommandLine, fail, parse, usage, wants_help

    if wants_help(arguments):
        print(usage(__doc__ or "", _OUT, _IMAGES, _DRAWS))
        return 0
    try:
        config = parse(arguments)
    except WrongCommandLine as error:
        return fail(str(error), 2)

    from input_pipeline.example import DataError
    from train.data import open_data
    from train.errors import TrainError

    path = Path(_OUT.value or "sheet.png")
    try:
        show.check(path)
        rows = pictures(config, open_data(config), _IMAGES.value, _DRAWS.value)
        show.save(rows, path)
    except (TrainError, DataError, OSError, ValueError) as error:
        return fail(str(error), 1)
    print(f"{len(rows)} images in {_DRAWS.value} draws each: {path}")
    return 0


def pictures(config: ConfigDict, data: Data, images: int, draws: int) -> list[list[np.ndarray]]:
    """Returns for each image the original and the draws, uint8 [H, W, 1 or 3].

    Args:
      config: the recipe, whose seed determines the draws.
      data: its data.
      images, draws: how many.
    """
    count = min(images, len(data.train))
    # Images from the whole split, as files are often sorted by class.
    examples = [data.train[int(n)] for n in np.linspace(0, len(data.train) - 1, count)]
    key = jax.random.key(config.seed)
    originals = np.stack([data.eval_transform(example, None) for example in examples])
    if data.eval_shape[:-3]:  # several views, of which the middle one will do
        originals = originals[:, data.eval_shape[0] // 2]
    columns, labels = [originals], np.stack([known_label(example) for example in examples])
    augment, mix = jax.jit(data.augment), _mixing(config, data, count)
    for draw in range(draws):
        batch = np.stack(
            [
                data.train_transform(example, loader.generator(config.seed, draw * count + n))
                for n, example in enumerate(examples)
            ]
        )
        own_key = jax.random.fold_in(key, draw)
        inputs = augment(own_key, batch)
        if mix:
            inputs, _ = mix(jax.random.fold_in(own_key, 5), inputs, labels, 0)
        shown = as_pixels(data, np.asarray(inputs, np.float32))
        columns += [shown] if shown.ndim == 4 else list(shown.swapaxes(0, 1))
    return [list(row) for row in zip(*columns, strict=True)]


def _mixing(config: ConfigDict, data: Data, count: int) -> Mix | None:
    """Mixup and cutmix of the recipe, among `count` images."""
    config = config.copy_and_resolve_references()
    config.batch_size, config.mix.group = count, 0
    return make_mixing(config, data.num_classes, data.examples_per_epoch)


def as_pixels(data: Data, inputs: np.ndarray) -> np.ndarray:
    """Undoes the normalization of the model's input [..., H, W, C].

    Returns:
      uint8 [..., H, W, 1 or 3]: of a representation with other channels the first three, or one.
    """
    start = data.preprocessing
    names = start.representation
    mean, std = representation.statistics(names, start.mean, start.std)
    if start.channel_order == "BGR":
        inputs = inputs[..., ::-1]
    values = 255 * (inputs * np.asarray(std, np.float32) + np.asarray(mean, np.float32))
    return np.clip(np.round(values), 0, 255).astype(np.uint8)[..., : 3 if len(mean) > 2 else 1]


if __name__ == "__main__":
    sys.exit(main(sys.argv))
