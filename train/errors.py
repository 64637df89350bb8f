"""What stops a run on purpose. Each message is one paragraph for the person who started it."""


class TrainError(Exception):
    """The run cannot go on; the message says what is wrong, where, and what to do."""


class Interrupted(Exception):
    """SIGTERM or SIGINT asked the run to stop, and what there was to save is saved.

    Attributes:
      signum: the signal's number; the exit code is 128 + signum.
    """

    def __init__(self, signum: int, message: str = ""):
        super().__init__(message)
        self.signum = signum
