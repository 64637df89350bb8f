import pytest

from train.durations import Plan, to_steps
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


def stops(plan, start):
    while start < plan.steps:
        start = plan.next_stop(start)
        yield start


def test_a_resumed_run_stops_where_the_whole_run_does():
    plan = Plan(steps=100, log=7, evaluate=30, checkpoint=25, steps_per_epoch=12.5)
    whole = list(stops(plan, 0))
    for start in range(100):
        assert list(stops(plan, start)) == [stop for stop in whole if stop > start]
    assert max(b - a for a, b in zip([0, *whole], whole, strict=False)) <= plan.longest_stretch


def test_the_end_is_evaluated_and_saved():
    plan = Plan(steps=100, log=7, evaluate=30, checkpoint=25, steps_per_epoch=12.5)
    assert [s for s in range(101) if plan.evaluates_at(s)] == [30, 60, 90, 100]
    assert [s for s in range(101) if plan.saves_at(s)] == [25, 50, 75, 100]
