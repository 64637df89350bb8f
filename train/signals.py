"""Which signals a run obeys."""

import signal
from collections.abc import Iterable

# Terminals, schedulers (SLURM, submitit) and clouds send one of these before the time is up.
STOP = ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")


def caught(names: Iterable[str]) -> list[signal.Signals]:
    """Returns the signals of these names, without SIGHUP if nohup had it ignored."""
    signals = [signal.Signals[name] for name in names]
    return [s for s in signals if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN]
