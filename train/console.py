"""Printing that cannot end a run: its reader may close the pipe, or there may be none."""

import os
import sys

from tqdm import tqdm


def open_streams() -> None:
    """Gives the process a stdout and a stderr if it was started without them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def say(text: str) -> None:
    """Prints a line above the progress bar; nothing more once the reader has closed the pipe."""
    try:
        tqdm.write(text)
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):  # ValueError: the file is closed
        sys.stdout = open(os.devnull, "w")
