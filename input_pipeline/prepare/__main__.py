"""python -m input_pipeline.prepare NAME [--manual_dir=FOLDER] [--data_dir=FOLDER]

Prepares a data set once, in the format of tfds, so that training can read it.

mnist is included and needs no download. fashion_mnist, kmnist, cifar10 and cifar100 are made from
the files that tfds downloads, or from the same files in --manual_dir. imagenet2012 is made from
ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in --manual_dir. Every other data set is
prepared by tfds; if its builder needs TensorFlow, `pip install 'flax-zoo[tensorflow]'`.
"""

import argparse
import sys

from input_pipeline.example import DataError
from input_pipeline.prepare import default_data_dir, prepare


def main() -> None:
    """Runs the command line; exits with a message if the data set cannot be prepared."""
    usage, _, description = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        usage=usage,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="a tfds name: mnist, cifar10, imagenet2012, ...")
    parser.add_argument("--manual_dir", help="folder of original files")
    parser.add_argument(
        "--data_dir", help=f"folder of the prepared data sets (default: {default_data_dir()})"
    )
    arguments = parser.parse_args()
    try:
        folder = prepare(arguments.name, arguments.data_dir, arguments.manual_dir)
    except DataError as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.name} is ready in {folder}")


if __name__ == "__main__":
    main()
