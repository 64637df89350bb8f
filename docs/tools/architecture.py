"""Draws docs/architecture.svg: the rooms of the project, and who imports whom.

python docs/tools/architecture.py
"""

import dataclasses
import html
from collections.abc import Iterator
from pathlib import Path

PICTURE = Path(__file__).parent.parent / "architecture.svg"
WIDTH, HEIGHT = 920, 640
OURS, GUEST, FRAME = "#e8eaf6", "#fff3e0", "#fafafa"  # fills


@dataclasses.dataclass(frozen=True)
class Box:
    """A room of the picture: its corner and size in pixels, its name and what is in it."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: tuple[str, ...] = ()
    fill: str = OURS

    @property
    def middle(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2


BOXES = {
    "configs": Box(30, 20, 240, 64, "configs", ("each recipe is a file",)),
    "program": Box(650, 20, 240, 64, "your JAX program", ("imports zoo, nothing else",), GUEST),
    "train": Box(30, 140, 240, 84, "train", ("loop, step, sharding,", "checkpoints, report")),
    "train/use": Box(330, 20, 240, 84, "train/use", ("predict, evaluate, probe,", "compare")),
    "train/plan": Box(330, 140, 240, 84, "train/plan", ("the step compiled for a pod", "of TPUs")),
    "input_pipeline": Box(
        30, 290, 240, 84, "input_pipeline", ("data sets by name", "to batches of uint8 images")
    ),
    "frame": Box(330, 280, 560, 340, "", (), FRAME),
    "zoo": Box(
        350, 300, 520, 64, "zoo", ("create, load, info, features, register, save, list_models",)
    ),
    "zoo/weights": Box(345, 410, 130, 84, "zoo/weights", ("by name, files,", "in and out")),
    "zoo/export": Box(490, 410, 110, 84, "zoo/export", ("ONNX,", "StableHLO")),
    "zoo/registry": Box(615, 410, 130, 84, "zoo/registry", ("names of models,", "their figures")),
    "zoo/models": Box(760, 410, 115, 84, "zoo/models", ("a file for", "each paper")),
    "zoo/layers": Box(350, 530, 240, 64, "zoo/layers", ("Flax modules that models share",)),
    "zoo/kernels": Box(630, 530, 240, 64, "zoo/kernels", ("operations by platform",)),
}
# (from, to, points between in pixels, where they are needed): a solid arrow is an import.
IMPORTS = [
    ("train", "input_pipeline", ()),
    ("train", "zoo", ((150, 257), (440, 257))),
    ("train/plan", "train", ()),
    ("train/use", "train", ((300, 62), (300, 165))),
    ("program", "zoo", ((770, 260),)),
    ("zoo", "zoo/weights", ((410, 390),)),
    ("zoo", "zoo/export", ((545, 390),)),
    ("zoo", "zoo/registry", ((680, 390),)),
    ("zoo/export", "zoo/registry", ()),
    ("zoo/export", "zoo/weights", ()),
    ("zoo/weights", "zoo/layers", ((410, 510),)),
    ("zoo/models", "zoo/registry", ()),
    ("zoo/models", "zoo/layers", ((817, 512), (540, 512))),
    ("zoo/layers", "zoo/kernels", ()),
]
RECIPE = ("configs", "train")  # a dashed arrow: read as a file


def edge(box: Box, towards: tuple[int, int]) -> tuple[int, int]:
    """The point on the box's border from which a straight line leaves for `towards`."""
    (x, y), (to_x, to_y) = box.middle, towards
    if box.x <= to_x <= box.x + box.width:
        return to_x, box.y if to_y < y else box.y + box.height
    return (
        box.x if to_x < x else box.x + box.width
    ), to_y if box.y < to_y < box.y + box.height else y


def arrow(start: str, end: str, between: tuple[tuple[int, int], ...], dashed: bool) -> str:
    first = between[0] if between else BOXES[end].middle
    last = between[-1] if between else BOXES[start].middle
    points = [edge(BOXES[start], first), *between, edge(BOXES[end], last)]
    path = " ".join(f"{x},{y}" for x, y in points)
    style = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="#3949ab" stroke-width="1.8"{style} '
        'marker-end="url(#head)"/>'
    )


def box(room: Box) -> Iterator[str]:
    yield (
        f'<rect x="{room.x}" y="{room.y}" width="{room.width}" height="{room.height}" rx="8" '
        f'fill="{room.fill}" stroke="#9fa8da"/>'
    )
    x, y = room.middle[0], room.middle[1] - 9 * len(room.lines) + 5
    if room.title:
        yield f'<text x="{x}" y="{y}" font-size="16" font-weight="bold">{room.title}</text>'
    for number, line in enumerate(room.lines, 1):
        text = html.escape(line)
        yield f'<text x="{x}" y="{y + 18 * number}" font-size="13">{text}</text>'


def picture() -> str:
    """The SVG file's text."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" text-anchor="middle" fill="#1a237e">',
        "<title>Who imports whom in this project</title>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="#3949ab"/></marker>'
        "</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="white"/>',
    ]
    for room in BOXES.values():
        lines += box(room)
    lines += [arrow(start, end, between, dashed=False) for start, end, between in IMPORTS]
    lines.append(arrow(*RECIPE, (), dashed=True))
    lines.append('<text x="162" y="116" font-size="13" text-anchor="start">read as a file</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture())
