"""Files that others may have written: regular ones only, read up to a limit.

Opening a FIFO waits for a writer, and a device may never end; both can bear the name of an image.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from input_pipeline.example import DataError

# Of an image file, a record or a file in a tar; ImageNet's largest image has 16 million.
MAX_BYTES = 2**28

State = tuple[int, int]  # size in bytes, time of the last change in ns


def open_descriptor(path: str | Path) -> int:
    """Opens a file to be read and returns its descriptor; links are followed.

    Raises:
      OSError: it cannot be opened, or is no regular file.
    """
    try:
        # Not blocking, or a FIFO would be waited for before it is looked at.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a name with a zero byte
        raise OSError(f"{path!r} is no name of a file: {error}") from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(f"{path} is not a regular file, but a folder, FIFO, socket or device")


def open_regular(path: str | Path, buffering: int = 0) -> BinaryIO:
    """Opens a file to be read, by default without a buffer; see `open_descriptor`."""
    return os.fdopen(open_descriptor(path), "rb", buffering)


def read_regular(path: str | Path, max_bytes: int) -> bytes:
    """Returns the content of a file.

    Raises:
      OSError: it cannot be read, is no regular file or is larger than `max_bytes`.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise OSError(f"{path} has {size:,} bytes, and {max_bytes:,} is the limit")
        # Not more than its size, because some files below /proc say 0 and never end.
        content = file.read(size)
        while len(content) < size and (more := file.read(size - len(content))):
            content += more  # network file systems hand out a part at a time
    return content


def states(paths: Sequence[Path]) -> dict[Path, State]:
    """Returns the states of the files that a data set consists of.

    Raises:
      DataError: there are none, or one is missing or no regular file.
    """
    if not paths:
        raise DataError("The split holds no records. Name another split, or prepare it again.")
    found = {}
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            raise DataError(
                f"The file {path} cannot be read: {error}. Copy or prepare the data set again."
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise DataError(
                f"{path} is no regular file, and should be a file of records. Copy or prepare the "
                "data set again."
            )
        found[path] = (status.st_size, status.st_mtime_ns)
    return found
