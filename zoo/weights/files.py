"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_bytes(path: Path, content: bytes | bytearray) -> None:
    """Writes a file atomically; one that exists is replaced.

    Raises:
      OSError: It cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
