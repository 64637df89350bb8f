"""Signals as a request to stop or to save, which the run obeys where it can save its state."""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from train.errors import Interrupted
from train.signals import STOP, caught

POLL_SECONDS = 0.1


class Interruption:
    """Context manager that catches signals; to be entered from the main thread.

    Args:
      stop: names of the signals that save and end the run.
      save: names of those that save only.

    Attributes:
      signum: the first signal to stop that was received, or None. Later ones change nothing: the
        state is being saved already.
    """

    def __init__(self, stop: Iterable[str] = STOP, save: Iterable[str] = ()):
        self.signum: int | None = None
        self._save = False
        self._handlers = dict.fromkeys(caught(stop), self._on_stop)
        self._handlers |= dict.fromkeys(caught(save), self._on_save)
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for signum, handler in self._handlers.items():
                self._previous[signum] = signal.signal(signum, handler)
        return self

    def __exit__(self, *_) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _on_stop(self, signum: int, _) -> None:
        action = "saving a checkpoint" if self.signum is None else "still saving, please wait"
        _say(f"{signal.Signals(signum).name}: {action}")
        self.signum = self.signum or signum

    def _on_save(self, signum: int, _) -> None:
        _say(f"{signal.Signals(signum).name}: saving a checkpoint, and going on")
        self._save = True

    @property
    def requested(self) -> bool:
        """Whether to stop at once. Several hosts stop together instead, at the next `check`."""
        return self.signum is not None and jax.process_count() == 1

    def save_requested(self) -> bool:
        """Whether to save at once, and go on; several hosts save at the next `check`."""
        if jax.process_count() > 1:
            return False
        requested, self._save = self._save, False
        return requested

    def check(self) -> bool:
        """Raises Interrupted if a signal to stop was received, by this host or another one.

        Returns:
          Whether one of several hosts was asked to save.
        """
        signum, save = self.signum or 0, False
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            ours = np.array([signum, self._save], np.int32)
            signum, save = np.reshape(multihost_utils.process_allgather(ours), (-1, 2)).max(0)
            self._save = False
        if signum:
            raise Interrupted(int(signum))
        return bool(save)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Returns `function(*args)`, but raises Interrupted as soon as a signal is received.

        For work that cannot be stopped half-way (XLA compiles in C++, a data set is prepared): it
        runs in a thread of its own and continues there, so after Interrupted the process has to end
        by `os._exit`. Several hosts must save together, so with them the signal waits for the end
        of the work.
        """
        result: dict[str, Any] = {}
        done = threading.Event()

        def run() -> None:
            try:
                result["value"] = function(*args)
            except BaseException as error:  # raised again in the caller's thread
                result["error"] = error
            finally:
                done.set()

        threading.Thread(target=run, daemon=True).start()
        while not done.wait(POLL_SECONDS):
            if self.requested and self.signum is not None:
                raise Interrupted(self.signum)
        if "error" in result:
            raise result["error"]
        return result["value"]


def _say(text: str) -> None:
    os.write(2, f"\n{text}\n".encode())  # print cannot be entered twice, nor in its middle
