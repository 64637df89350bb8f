"""A page that explores one network: one HTML file without a network connection or a framework.

`page_of` collects what the page shows, `render` makes the text of the file.
"""

from zoo.look.page.document import render
from zoo.look.page.network import page_of

__all__ = ["page_of", "render"]
