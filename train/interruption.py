"""SIGTERM and SIGINT as a request to stop, which the run obeys where it can save its state."""

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
    """Context manager that catches SIGTERM and SIGINT; to be entered from the main thread.

    Attributes:
      signum: the first signal received, or None. Later ones change nothing: the state is being
        saved already.
    """

    def __init__(self):
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, _) -> None:
        action = "saving a checkpoint" if self.signum is None else "still saving, please wait"
        # print is not reentrant, and a signal may arrive in the middle of one.
        os.write(2, f"\n{signal.Signals(signum).name}: {action}\n".encode())
        self.signum = self.signum or signum

    @property
    def requested(self) -> bool:
        """Whether to stop at once. Several hosts stop together instead, at the next `check`."""
        return self.signum is not None and jax.process_count() == 1

    def check(self) -> None:
        """Raises Interrupted if a signal was received; on all hosts if one of them received it."""
        signum = self.signum or 0
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            signum = int(np.max(multihost_utils.process_allgather(np.int32(signum))))
        if signum:
            raise Interrupted(signum)

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
