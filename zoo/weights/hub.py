"""Files of the Hugging Face hub, by its own package: its cache, tokens and environment variables.

The package keeps a file of weights under its SHA-256. With that it is compared here each time.
"""

import hashlib
import os
import re
import time
from pathlib import Path

from zoo.weights import shards
from zoo.weights.download import DownloadError

# What timm and transformers call a file of weights, best first.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_ATTEMPTS = 3  # beside those of the package


def fetch_weights(repository: str, revision: str | None = None) -> Path:
    """Returns the path of a repository's weights, or of their index, with all its parts beside it.

    Raises:
      DownloadError: They cannot be had; see `fetch`.
      ValueError: The index is damaged.
    """
    for name in WEIGHTS:
        path = fetch(repository, name, revision)
        if path and name.endswith(shards.SUFFIX):
            for part in sorted(set(shards.weight_map(path.read_bytes()).values())):
                if not fetch(repository, part, revision):
                    raise DownloadError(f"hf-hub:{repository} has no {part}, which {name} names.")
        if path:
            return path
    raise DownloadError(f"hf-hub:{repository} has no weights: no {', '.join(WEIGHTS)}.")


def fetch(repository: str, name: str, revision: str | None = None) -> Path | None:
    """Returns the path of a repository's file, or None where the repository has no such file.

    Args:
      repository: "owner/name".
      name: Name of the file in it.
      revision: Branch, tag or commit; by default the main branch.

    Raises:
      DownloadError: The file cannot be had; the message says why, what to fetch and from where.
      ValueError: `repository` cannot be the name of one.
    """
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError:
        raise DownloadError(
            f"hf-hub:{repository} needs the package huggingface_hub: pip install 'flax-zoo[hub]'."
        ) from None
    whole = f"hf-hub:{repository}" + (f"@{revision}" if revision else "")
    for attempt in range(_ATTEMPTS):
        try:
            path = Path(hf_hub_download(repository, name, revision=revision))
        except errors.HFValidationError as error:
            raise ValueError(f"{whole!r} is no 'hf-hub:owner/name@revision': {error}") from error
        except errors.LocalEntryNotFoundError as error:
            reason = f"it is not in the cache, and the hub does not answer: {_cause(error)}"
            passes = _passes(error)
        except errors.EntryNotFoundError:
            return None
        except errors.RepositoryNotFoundError as error:
            reason = "there is no such repository, or it may not be read without `hf auth login`"
            raise DownloadError(f"{whole} cannot be had: {reason}. {_cause(error)}") from error
        except errors.RevisionNotFoundError as error:
            raise DownloadError(f"{whole} cannot be had: there is no such revision.") from error
        # HfHubHTTPError, sizes that do not agree, and what the library beneath raises where a
        # connection breaks, which is another one in each version.
        except Exception as error:
            reason = _cause(error)
            passes = _passes(error) or not hasattr(error, "response")
        else:
            _check(path)
            return path
        if not passes:
            break
        if attempt < _ATTEMPTS - 1:
            time.sleep(2**attempt)
    command = f"hf download {repository}" + (f" --revision {revision}" if revision else "")
    raise DownloadError(
        f"{name} of {whole} cannot be had: {reason}. To do without a network, run `{command}` on "
        f"another machine, and copy its cache (HF_HOME) here, or its files into a folder for "
        f"zoo.load('local-dir:FOLDER')."
    )


def _check(path: Path) -> None:
    """Raises DownloadError where a file of the cache has not the SHA-256 that is its name there."""
    blob = path.parent / os.readlink(path) if path.is_symlink() else path
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        with blob.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != blob.name:
            raise DownloadError(
                f"{path} is damaged: its SHA-256 is {found} and should be {blob.name}. Remove "
                f"{blob.resolve()}, and it is downloaded again."
            )


def _passes(error: BaseException | None) -> bool:
    """Returns whether the hub refused in a way that goes by: too many requests, or a fault."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status in (408, 429) or status >= 500
        error = error.__cause__
    return False


def _cause(error: BaseException) -> str:
    """Returns the first line of the message of an error, without the full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
