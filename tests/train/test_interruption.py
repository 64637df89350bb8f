import os
import signal
import threading

import pytest

from train.errors import Interrupted
from train.interruption import Interruption
from train.signals import STOP

pytestmark = pytest.mark.quick


def test_work_is_done_and_its_errors_are_raised():
    with Interruption() as interruption:
        assert interruption.call(lambda a, b: a + b, 1, 2) == 3
        with pytest.raises(ZeroDivisionError):
            interruption.call(lambda: 1 / 0)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_work_behind_that_cannot_be_stopped(signum):
    never = threading.Event()

    def work():
        os.kill(os.getpid(), signum)
        never.wait()

    with Interruption() as interruption:
        with pytest.raises(Interrupted) as caught:
            interruption.call(work)
    assert caught.value.signum == signum
    never.set()


def test_a_second_signal_changes_nothing():
    with Interruption() as interruption:
        interruption.check()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signum)
        with pytest.raises(Interrupted) as caught:
            interruption.check()
    assert caught.value.signum == signal.SIGTERM


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("name", STOP)
def test_signals_that_schedulers_send_are_requests(name):
    signum = signal.Signals[name]
    before = signal.signal(signum, signal.SIG_DFL)  # under nohup SIGHUP is ignored, and stays so
    try:
        with Interruption() as interruption:
            signal.raise_signal(signum)
            with pytest.raises(Interrupted) as caught:
                interruption.check()
        assert caught.value.signum == signum
    finally:
        signal.signal(signum, before)


def test_a_signal_can_save_and_go_on():
    with Interruption(stop=["SIGTERM"], save=["SIGUSR1"]) as interruption:
        assert not interruption.save_requested()
        signal.raise_signal(signal.SIGUSR1)
        assert interruption.save_requested() and not interruption.save_requested()
        assert not interruption.requested and not interruption.check()


def test_nohup_stays_in_force():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            interruption.check()
    finally:
        signal.signal(signal.SIGHUP, before)
