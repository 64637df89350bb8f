"""SIGTERM and SIGINT as a request that the run looks at where it can save its state."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from train.errors import Interrupted

POLL_SECONDS = 0.1


class Interruption:
    """Catches the two signals while it is entered, from the main thread.

    Attributes:
      signum: the first signal that came, or None. Later ones change nothing: the state is being
        saved already.
    """

    def __init__(self):
        self.signum: int | None = None
        self._previous = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, _) -> None:
        word = "saving a checkpoint" if self.signum is None else "still saving, please wait"
        os.write(2, f"\n{signal.Signals(signum).name}: {word}\n".encode())  # print may be in use
        self.signum = self.signum or signum

    @property
    def wanted(self) -> bool:
        """Whether to stop before the end of a stretch. Several hosts stop together, at its end."""
        return self.signum is not None and jax.process_count() == 1

    def check(self) -> None:
        """Raises Interrupted if a signal came; with several hosts, on all of them if on one."""
        signum = self.signum or 0
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            signum = int(np.max(multihost_utils.process_allgather(np.int32(signum))))
        if signum:
            raise Interrupted(signum)

    def call(self, work: Callable[..., Any], *args: Any) -> Any:
        """work(*args), left behind with Interrupted when a signal comes.

        For work that cannot be stopped half-way (XLA compiles in C++, a data set is prepared): it
        runs in a thread of its own, and the process has to end by `os._exit` after an interrupt.
        Several hosts must save together, so there the interrupt waits for the work's end.
        """
        result: dict[str, Any] = {}
        done = threading.Event()

        def run() -> None:
            try:
                result["value"] = work(*args)
            except BaseException as error:  # raised again in the caller's thread
                result["error"] = error
            finally:
                done.set()

        threading.Thread(target=run, daemon=True).start()
        while not done.wait(POLL_SECONDS):
            if self.wanted:
                raise Interrupted(self.signum)
        if "error" in result:
            raise result["error"]
        return result["value"]
