"""Writes the table of models anew into docs/models.md.

python docs/tools/models_table.py
"""

import re
from pathlib import Path

from zoo.__main__ import table

PAGE = Path(__file__).parent.parent / "models.md"
MARKED = re.compile(r"(?<=<!-- models -->\n\n).*?(?=\n\n<!-- /models -->)", re.DOTALL)


def written(page: Path = PAGE) -> str:
    """The table that stands in the page."""
    (rows,) = MARKED.findall(page.read_text())
    return rows


if __name__ == "__main__":
    PAGE.write_text(MARKED.sub(lambda _: table(), PAGE.read_text()))
