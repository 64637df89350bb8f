import pytest

from train.durations import Intervals, to_steps
from train.errors import TrainError

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "words, steps",
    [
        ("500 steps", 500),
        ("1 step", 1),
        ("90 epochs", 9000),
        ("2.5 epochs", 250),
        ("1000 examples", 100),
        ("0 steps", 0),
    ],
)
def test_words_become_steps(words, steps):
    assert to_steps(words, examples=1000, batch_size=10) == steps


@pytest.mark.parametrize("words", ["", "90", "epochs", "-1 steps", "3 weeks", "1e3 steps"])
def test_other_words_are_refused(words):
    with pytest.raises(TrainError, match="not understood"):
        to_steps(words, examples=1000, batch_size=10)


INTERVALS = Intervals(total=100, log=7, evaluate=30, checkpoint=25, steps_per_epoch=12.5)


def test_a_resumed_run_has_the_events_of_the_whole_run():
    zero, one, *whole = INTERVALS.events(0)
    assert (zero, one) == (0, 1) and whole[-1] == 100
    for start in range(99):
        events = list(INTERVALS.events(start))
        expected = {start, start + 1} | {event for event in whole if event > start}
        assert events == sorted(expected)  # and none twice
        steps = [b - a for a, b in zip(events, events[1:], strict=False)]
        assert max(steps) <= INTERVALS.max_steps_per_call
    assert list(INTERVALS.events(99)) == [99, 100] and list(INTERVALS.events(100)) == [100]


def test_the_end_is_evaluated_and_saved():
    assert [s for s in range(101) if INTERVALS.evaluates_at(s)] == [30, 60, 90, 100]
    assert [s for s in range(101) if INTERVALS.saves_at(s)] == [25, 50, 75, 100]
