"""The exceptions that end a run on purpose; each message is one paragraph for the user."""

import contextlib
from collections.abc import Iterator

from input_pipeline.example import DataError

# Arguments of `input_pipeline.open`, by which its messages speak, and the config keys behind them.
CONFIG_KEYS = {
    "data_dir": "data.dir",
    "manual_dir": "data.manual_dir",
    "on_unreadable": "data.unreadable",
    "max_pixels": "data.max_pixels",
    "class_order": "data.class_order",
}


class TrainError(Exception):
    """The run cannot continue; the message says what is wrong, where, and what to do."""


class Interrupted(Exception):
    """The run was stopped by SIGTERM or SIGINT, and its state is saved if there was any.

    Attributes:
      signum: number of the signal; the process should exit with 128 + signum.
    """

    def __init__(self, signum: int, message: str = ""):
        super().__init__(message)
        self.signum = signum


@contextlib.contextmanager
def config_keys_in_errors() -> Iterator[None]:
    """Adds to each DataError raised inside the config keys of the arguments that it mentions."""
    try:
        yield
    except DataError as error:
        message = str(error)
        hints = [
            f"{argument} is --config.{key}"
            for argument, key in CONFIG_KEYS.items()
            if argument in message and f"--config.{key}" not in message
        ]
        if not hints:
            raise
        raise type(error)(f"{message} (For python -m train, {', '.join(hints)}.)") from error
