"""Files that others may have written: regular ones only, read up to a limit.

Opening a FIFO waits for a writer, and a device may never end; both can bear the name of an image.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: str | Path) -> BinaryIO:
    """Opens a file to be read, without a buffer; links are followed.

    Raises:
      OSError: it cannot be opened, or is no regular file.
    """
    try:
        # Not blocking, or a FIFO would be waited for before it is looked at.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a name with a zero byte
        raise OSError(f"{path!r} is no name of a file: {error}") from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb", buffering=0)
    os.close(descriptor)
    raise OSError(f"{path} is not a regular file, but a folder, FIFO, socket or device")


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
