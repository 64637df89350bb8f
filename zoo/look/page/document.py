"""The text of the page: its parts, and what it shows, in one file."""

import html
import json
import re
from importlib import resources
from typing import Any

STYLES = ("page.css",)
SCRIPTS = ("draw.js", "network.js", "arithmetic.js", "convolution.js", "start.js")


def render(page: dict[str, Any]) -> str:
    """Returns the HTML of a page; it needs no other file and asks for none.

    Args:
      page: See `page_of`.
    """
    # "<" could end the script element that the data lie in.
    data = json.dumps(page, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "title": html.escape(f"Inside {page['model']['name']}"),
        "style": "\n".join(map(_asset, STYLES)),
        "script": "\n".join(map(_asset, SCRIPTS)),
        "data": data,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (resources.files("zoo.look.page") / "assets" / name).read_text()
