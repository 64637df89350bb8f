"""Numbers and pictures as text that a page holds: PNG and JPEG, and floats, in base64."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def floats(values: np.ndarray) -> str:
    """Returns an array as base64 of its float32 values, the last axis fastest."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def short(values: Any) -> list[float]:
    """Returns numbers with five digits, for JSON."""
    return [float(f"{value:.5g}") for value in np.ravel(values).tolist()]


def picture(pixels: np.ndarray, quality: int = 88) -> str:
    """Returns an image [H, W, 3] in [0, 1] as the address of a picture.

    Small ones are PNG, larger ones JPEG.
    """
    from PIL import Image

    values = np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)
    if values.shape[-1] == 1:
        values = values[..., 0]
    small = max(values.shape[:2]) <= 64
    file = io.BytesIO()
    kind: dict[str, Any] = {"format": "PNG"} if small else {"format": "JPEG", "quality": quality}
    Image.fromarray(values).save(file, **kind)
    return _address(file, "png" if small else "jpeg")


def sprite(cells: Sequence[np.ndarray]) -> dict[str, Any]:
    """Returns maps [h, w] of one size as one grey picture, each from its lowest to highest value.

    Returns:
      {"src": address, "h", "w", "columns", "lo": [...], "hi": [...]}.
    """
    from PIL import Image

    height, width = cells[0].shape
    columns = max(1, min(len(cells), 4096 // max(1, width), math.ceil(math.sqrt(len(cells)))))
    rows = math.ceil(len(cells) / columns)
    sheet = np.zeros((rows * height, columns * width), np.uint8)
    low, high = [], []
    for number, cell in enumerate(cells):
        lo, hi = float(cell.min()), float(cell.max())
        scaled = (cell - lo) / (hi - lo) if hi > lo else np.zeros_like(cell)
        y, x = number // columns * height, number % columns * width
        sheet[y : y + height, x : x + width] = np.round(scaled * 255)
        low.append(lo)
        high.append(hi)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, format="PNG", optimize=True)
    address = _address(file, "png")
    size = {"h": height, "w": width, "columns": columns}
    return {"src": address, **size, "lo": short(low), "hi": short(high)}


def reduced(maps: np.ndarray, side: int) -> np.ndarray:
    """Returns maps [h, w, C] with sides of at most `side`, as means over areas."""
    from PIL import Image

    height, width, channels = maps.shape
    factor = min(1.0, side / max(height, width))
    if factor == 1.0:
        return maps
    size = max(1, round(width * factor)), max(1, round(height * factor))
    area = Image.Resampling.BOX
    cells = [
        np.asarray(Image.fromarray(maps[..., number].astype(np.float32)).resize(size, area))
        for number in range(channels)
    ]
    return np.stack(cells, axis=-1)


def _address(file: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
