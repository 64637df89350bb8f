import json
import time

import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from train import step
from train.durations import Intervals
from train.errors import TrainError
from train.loop import train_and_evaluate
from train.report import NonFiniteLoss, Report, Speedometer, cut_after

pytestmark = pytest.mark.quick

INTERVALS = Intervals(total=40, log=10, evaluate=20, checkpoint=20, steps_per_epoch=16.0)


@pytest.fixture
def report(tmp_path):
    report = Report(tmp_path, base.get_config(), INTERVALS, start=0)
    yield report
    report.close()


def sums(**values):
    given = {"loss": 30.0, "top1": 5.0, "top5": 9.0, "examples": 10.0, "learning_rate": 0.1}
    return step.empty_metrics() | {k: jnp.float32(v) for k, v in (given | values).items()}


def evaluate(report, step, metrics):
    line = report.evaluation_line(step, metrics)
    report.evaluation(line)
    return line


def lines(folder):
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def test_steps_are_reported_when_the_next_ones_are_dispatched(report, tmp_path):
    report.train(1, sums())
    report.start_timer()
    report.train(10, sums())
    assert lines(tmp_path) == []
    report.train(20, sums(loss=20.0))
    (line,) = lines(tmp_path)
    assert line.pop("images_per_second") > 0 and line.pop("seconds") >= 0
    assert line == {
        "split": "train",
        "step": 10,
        "epoch": 0.625,
        "loss": 3.0,
        "top1": 0.5,
        "top5": 0.9,
        "learning_rate": pytest.approx(0.1),
    }


def test_a_line_is_the_mean_over_all_steps_since_the_last(report, tmp_path):
    report.start_timer()
    report.train(5, sums(loss=10.0))
    report.train(10, sums(loss=90.0, examples=30.0))
    report.flush()
    (line,) = lines(tmp_path)
    assert line["loss"] == 2.5 and line["step"] == 10


def test_the_first_steps_of_a_process_are_not_timed():
    speedometer = Speedometer()
    speedometer.add(10, started=0.0, finished=9.0)  # with all that happens once
    assert speedometer.read() is None
    speedometer.add(30, started=8.0, finished=10.0)  # dispatched while the first still ran
    speedometer.add(50, started=15.0, finished=16.0)  # after an evaluation of 5 s
    assert speedometer.read() == 80 / 2
    speedometer.add(50, started=15.5, finished=18.0)
    assert speedometer.read() == 25


@pytest.mark.parametrize("on_device", ["yes", "no"])
def test_every_window_has_its_own_speed(tmp_path, monkeypatch, on_device):
    """Batches come every 100 ms, the first after 2 s: all windows are about equally fast."""

    def batches(*_, num_steps, **__):
        time.sleep(2)
        for _ in range(num_steps):
            time.sleep(0.1)
            yield {"image": np.zeros((8, 28, 28, 1), np.uint8), "label": np.zeros(8, np.int32)}

    monkeypatch.setattr("train.runners.loader.train_batches", batches)
    config = base.get_config()
    config.model.name, config.data.name = "mlp", "synthetic:size=28,channels=1"
    config.batch_size, config.duration, config.log.every = 8, "20 steps", "5 steps"
    config.data.on_device, config.data.workers = on_device, 0
    config.eval.every, config.mesh.data = config.duration, 1
    config.compile_cache = ""
    train_and_evaluate(config, tmp_path)
    speeds = [line["images_per_second"] for line in lines(tmp_path) if line["split"] == "train"]
    assert len(speeds) == 4
    if on_device == "no":
        assert max(speeds) < 1.1 * 8 / 0.1  # a faster one has not counted all of its time
        assert min(speeds) > 0.5 * sorted(speeds)[2]  # a slower one has counted other time


def test_an_evaluation_line_holds_no_time_but_that_since_the_start(report, tmp_path):
    evaluate(report, 20, sums())
    (line,) = lines(tmp_path)
    assert line.keys() == {"split", "step", "epoch", "seconds", "loss", "top1", "top5", "examples"}
    assert line["examples"] == 10 and report.has_evaluation(20) and not report.has_evaluation(40)


def test_other_metrics_follow_and_those_of_raw_parameters_come_last(report, tmp_path, capsys):
    more = {
        "raw_loss": 40.0,
        "sharpness": 2.5,
        "raw_top1": 8.0,
        "raw_sharpness": 5.0,
        "raw_top5": 9.0,
    }
    evaluate(report, 20, sums(**more))
    (line,) = lines(tmp_path)
    assert list(line)[4:-1] == [
        *("loss", "top1", "top5", "sharpness"),
        *("raw_loss", "raw_top1", "raw_top5", "raw_sharpness"),
    ]
    assert line["sharpness"] == 0.25 and line["raw_top1"] == 0.8
    assert "sharpness 0.25, raw_loss 4, raw_top1 80.00%" in capsys.readouterr().out


def test_losses_that_are_not_finite_are_raised_and_not_written(report, tmp_path):
    report.train(1, sums())
    report.train(10, sums() | {"nonfinite_step": jnp.int32(7)})
    with pytest.raises(NonFiniteLoss) as caught:
        report.flush()
    assert caught.value.step == 7
    with pytest.raises(TrainError, match="not finite"):
        evaluate(report, 20, sums(loss=float("nan")))
    assert lines(tmp_path) == []


def test_the_picture_shows_all_lines(report, tmp_path):
    report.start_timer()
    report.train(10, sums())
    report.flush()
    evaluate(report, 20, sums())
    report.draw()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_seconds_go_on_where_an_earlier_process_stopped(tmp_path):
    before = {"split": "eval", "step": 20, "seconds": 1000.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(before) + "\n")
    with Report(tmp_path, base.get_config(), INTERVALS, start=20) as report:
        assert 1000 <= evaluate(report, 40, sums())["seconds"] < 1100


@pytest.mark.parametrize(
    "rest",
    [
        *('{"split": "train", "st', "\x00\x00\x00", "", "3", "null", "[1]", "{}", "[" * 10**5),
        *('{"split": "train", "step": "20"}', '{"split": "test", "step": 5}', "\ud800"),
    ],
)
def test_lines_behind_the_step_and_half_lines_are_cut(tmp_path, rest):
    path = tmp_path / "metrics.jsonl"
    whole = [json.dumps({"split": "train", "step": s, "loss": 1 / 3}) for s in (10, 20, 30)]
    path.write_bytes(("\n".join(whole) + "\n" + rest).encode(errors="surrogatepass"))
    assert [line["step"] for line in cut_after(path, 20)] == [10, 20]
    assert path.read_text() == "\n".join(whole[:2]) + "\n"
