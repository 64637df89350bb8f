"""python -m input_pipeline.show --config=RECIPE [--out=sheet.png] [--config.KEY=VALUE ...]

A contact sheet of what a recipe does to images: see train/show.py, which this starts, because
recipes are read there. Here is how the sheet is drawn.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from input_pipeline.example import DataError

GAP = 4  # pixels between pictures
SMALLEST = 96  # pixels; smaller pictures are enlarged by a whole factor


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Puts pictures into rows.

    Args:
      rows: of pictures uint8 [H, W, 1] or [H, W, 3], all of one height and width.

    Returns:
      uint8 [height, width, 3] on white; the first column stands apart.
    """
    height, width = rows[0][0].shape[:2]
    times = max(1, -(-SMALLEST // max(height, width)))
    height, width = times * height, times * width
    columns = max(map(len, rows))
    shape = (len(rows) * (height + GAP) - GAP, columns * (width + GAP) + 2 * GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            top = number * (height + GAP)
            left = column * (width + GAP) + (3 * GAP if column else 0)
            large = picture.repeat(times, 0).repeat(times, 1)
            sheet[top : top + height, left : left + width] = large
    return sheet


def check(path: Path) -> None:
    """Sees to it that a picture can be written there, before it is made.

    Raises:
      DataError: there is no such folder, or Pillow writes no pictures of this ending.
    """
    from PIL import Image

    if not path.parent.is_dir():
        raise DataError(f"--out={path}: there is no folder {path.parent}.")
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise DataError(f"--out={path}: a picture ends in .png, .jpg or .webp, for example.")


def save(rows: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """Writes a contact sheet as a picture."""
    from PIL import Image

    Image.fromarray(contact_sheet(rows)).save(path)


if __name__ == "__main__":
    import runpy

    runpy.run_module("train.show", run_name="__main__", alter_sys=True)
