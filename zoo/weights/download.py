"""Downloads files by https, whole and checked, into one folder.

No package does this that is small and does all of it: `pooch` does not go on after a broken
connection and does not lock, `huggingface_hub` reads from a hub only, `torch.hub` needs PyTorch. So
it is done here, on `urllib`.
"""

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from zoo.weights import torch_file

_ATTEMPTS = 5  # without a byte more
_MAX_ATTEMPTS = 50
_TIMEOUT = 30  # seconds without a byte
_LONGEST_PAUSE = 60
_CHUNK = 2**20


class DownloadError(OSError):
    """Weights cannot be had; the message says what to fetch, from where, and where to put it."""


class _Interrupted(Exception):
    """What may go better the next time; `pause` is what the server asks for, in seconds."""

    def __init__(self, reason: object, pause: float = 0):
        super().__init__(str(reason) or type(reason).__name__)
        self.pause = pause


def cache_folder() -> Path:
    """Returns the folder of downloaded weights.

    It is the environment variable ZOO_WEIGHTS, or flax-zoo/weights in XDG_CACHE_HOME, or
    ~/.cache/flax-zoo/weights.
    """
    if named := os.environ.get("ZOO_WEIGHTS"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "flax-zoo" / "weights"


def place(address: str) -> Path:
    """Returns where a file is kept: in the cache folder, under its server and path.

    Raises:
      ValueError: The address is not one of http or https that ends in the name of a file.
    """
    parts = urllib.parse.urlsplit(address)
    pieces = [urllib.parse.unquote(piece) for piece in parts.path.split("/")[1:]]
    safe = [re.sub(r"[^A-Za-z0-9._+-]", "_", piece) for piece in (parts.netloc, *pieces)]
    if parts.scheme not in ("http", "https") or parts.query or len(safe) < 2:
        raise ValueError(f"{address!r} is not the address of a file, https://SERVER/PATH.")
    if any(not piece.strip(".") or len(piece) > 200 for piece in safe):
        raise ValueError(f"{address!r} has a part that cannot be the name of a file.")
    return cache_folder().joinpath(*safe)


def fetch(address: str, digest: str = "") -> Path:
    """Returns the path of the file at `address`, which is downloaded unless it is there already.

    What was cut short goes on where it stopped. The file appears whole or not at all, and of two
    processes one downloads while the other waits.

    Args:
      address: Where the file is, "https://SERVER/PATH".
      digest: The first digits of its SHA-256, as far as they are known. Where none are, the
        SHA-256 of the first download is kept beside the file, and the file has it ever after.

    Raises:
      DownloadError: The file cannot be had, or has another SHA-256.
      OSError: It cannot be written.
    """
    path = place(address)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            if not path.is_file():  # another process may have been quicker
                _download(address, path, digest)
    _check(address, path, digest)
    return path


def _download(address: str, path: Path, digest: str) -> None:
    part = path.with_name(path.name + ".part")
    most = failures = 0
    for attempt in range(_MAX_ATTEMPTS):
        try:
            _receive(address, part)
            break
        except _Interrupted as error:
            size = _size(part)
            failures = failures + 1 if size <= most else 1
            most = max(most, size)
            if failures == _ATTEMPTS or attempt == _MAX_ATTEMPTS - 1:
                raise DownloadError(f"{address} cannot be had: {error}. {_help(address)}") from None
            time.sleep(min(max(error.pause, 2 ** (failures - 1)), _LONGEST_PAUSE))
    with part.open("rb") as file:
        reason = torch_file.something_else(file.read(512))
        if not reason and not _sha256(part).startswith(digest):
            reason = f"its SHA-256 is {_sha256(part)}, and should begin with {digest}"
        os.fsync(file.fileno())
    if reason:
        part.unlink()
        raise DownloadError(f"{address} is not the file that it should be: {reason}.")
    part.replace(path)
    _beside(part, ".etag").unlink(missing_ok=True)


def _receive(address: str, part: Path) -> None:
    """Receives the file, or what is missing of it."""
    etag = _beside(part, ".etag")
    start = _size(part)
    validator = etag.read_text() if start and etag.is_file() else ""
    headers = {"User-Agent": "flax-zoo", "Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        response = _OPENER.open(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, address, part, start)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(getattr(error, "reason", error)) from None
    with response:
        goes_on = response.status == 206 and (
            response.headers.get("Content-Range") or ""
        ).startswith(f"bytes {start}-")
        if response.status == 206 and not goes_on:
            part.unlink(missing_ok=True)
            raise _Interrupted("the server sent another part of the file than was asked for")
        etag.write_text(_validator(response.headers))
        with part.open("ab" if goes_on else "wb") as file:
            _copy(response, file, start if goes_on else 0, address)


def _refused(error: urllib.error.HTTPError, address: str, part: Path, start: int) -> None:
    """Returns if all of the file is there, and otherwise says whether another try makes sense."""
    if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{start}":
        return
    if error.code == 416:
        part.unlink(missing_ok=True)
    elif error.code not in (408, 429) and error.code < 500:
        reason = f"the server says {error.code} {error.reason}"
        raise DownloadError(f"{address} cannot be had: {reason}. {_help(address)}") from None
    pause = error.headers.get("Retry-After") or ""
    raise _Interrupted(error, float(pause) if pause.isdecimal() else 0) from None


def _copy(response: http.client.HTTPResponse, file: BinaryIO, start: int, address: str) -> None:
    """Copies a response to the end of the file, of which `start` bytes are there."""
    from tqdm import tqdm

    length = response.headers.get("Content-Length") or ""
    expected = int(length) if length.isdecimal() else None
    free = shutil.disk_usage(Path(file.name).parent).free
    if expected and expected > free:
        raise DownloadError(
            f"{address} has {expected:,} bytes, and the disk has room for {free:,}."
        )
    total = None if expected is None else start + expected
    name = address.rpartition("/")[2]
    received = 0
    # No bar where nobody sees it, or for what takes no time.
    with tqdm(
        total=total, initial=start, unit="B", unit_scale=True, desc=name, disable=None, delay=0.5
    ) as bar:
        while True:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(error) from None
            if not chunk:
                break
            file.write(chunk)
            file.flush()
            received += len(chunk)
            bar.update(len(chunk))
    if expected not in (None, received):
        raise _Interrupted(f"it was cut short after {start + received:,} bytes of {total:,}")


def _check(address: str, path: Path, digest: str) -> None:
    """Raises DownloadError unless the file has its SHA-256, which is written down if unknown."""
    recorded = _beside(path, ".sha256")
    found = _sha256(path)
    if not digest and not recorded.is_file():
        temporary = _beside(recorded, f".{os.getpid()}")
        temporary.write_text(found)
        temporary.replace(recorded)
    expected = digest or recorded.read_text().strip()
    if not expected or not found.startswith(expected):
        raise DownloadError(
            f"{path} is damaged or was changed: its SHA-256 is {found}, and should begin with "
            f"{expected or 'digits'}. Remove it, and it is downloaded again from {address}"
            + ("." if digest else f"; if that is another file by now, remove {recorded} too.")
        )


def _help(address: str) -> str:
    return f"To do without, fetch it on another machine and put it at {place(address)}."


def _validator(headers: http.client.HTTPMessage) -> str:
    """Returns what identifies this version of a file, "" if nothing does."""
    etag = headers.get("ETag") or ""
    return headers.get("Last-Modified") or "" if etag.startswith("W/") or not etag else etag


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Waits until no other process downloads to this path."""
    import fcntl

    with _beside(path, ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # which ends with the process, however that ends
        yield


class _StaysSecure(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.HTTPError(newurl, 403, "redirect from https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_StaysSecure)
