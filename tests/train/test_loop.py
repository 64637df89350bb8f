"""Whole runs of `python -m train` on real digits: what they leave behind and what they survive."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess

import pytest


@pytest.mark.quick
def test_a_run_explains_itself(uninterrupted):
    run = uninterrupted
    assert [line["step"] for line in run.lines("train")] == [20, 40, 60, 80, 100, 120]
    assert [line["step"] for line in run.lines("eval")] == [50, 100, 120]
    first, last = run.lines("train")[0], run.lines("train")[-1]
    assert last["loss"] < 0.7 * first["loss"]
    assert {"epoch", "top1", "top5", "images_per_second", "learning_rate"} < last.keys()
    assert run.lines("eval")[-1]["top1"] > 0.75
    for name in ("config.json", "environment.json", "curves.png"):
        assert (run.workdir / name).stat().st_size > 100
    assert list(run.workdir.glob("events.out.tfevents.*"))
    assert json.loads((run.workdir / "config.json").read_text())["batch_size"] == 40


@pytest.mark.quick
def test_each_image_is_evaluated_once(uninterrupted):
    assert [line["examples"] for line in uninterrupted.lines("eval")] == [515] * 3


@pytest.mark.full
def test_evaluation_does_not_depend_on_the_batch_size(make_run, uninterrupted):
    run = make_run(eval__batch_size=103)
    run.finish()
    for ours, theirs in zip(run.lines("eval"), uninterrupted.lines("eval"), strict=True):
        assert ours["top1"] == theirs["top1"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


@pytest.mark.full
def test_a_finished_run_is_left_alone_and_says_so(make_run):
    run = make_run(duration="20 steps")
    run.finish()
    before = (run.workdir / "metrics.jsonl").read_text()
    output = run.finish()
    assert (run.workdir / "metrics.jsonl").read_text() == before
    top1 = run.lines("eval")[-1]["top1"]
    assert "is complete at step 20" in output and f"top1 {top1:.2%}" in output


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_kill_and_resume_gives_the_same_bits(make_run, uninterrupted, seed):
    run = make_run()
    moments = random.Random(seed)
    for _ in range(2):
        process = run.start()
        lines = len(run.all_lines()) + moments.randint(0, 4)
        run.wait_for(process, lambda lines=lines: len(run.all_lines()) >= lines)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1 * moments.random())
        process.kill()
        process.communicate()
    run.finish()
    assert run.figures() == uninterrupted.figures()
    assert run.leaves(120) == uninterrupted.leaves(120)


@pytest.mark.full
@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGINT])
def test_a_signal_in_training_saves_at_once(make_run, uninterrupted, signum):
    run = make_run(checkpoint__every="1000 steps", data__on_device="no", data__workers=0)
    process = run.start()
    run.wait_for(process, lambda: run.lines("train"))
    process.send_signal(signum)
    process.send_signal(signum)  # impatience must not break the checkpoint
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signum, output
    assert "To resume, run: " in output
    (step,) = run.checkpoints()
    assert 20 <= step < 120
    run.finish()
    assert [line["step"] for line in run.lines("eval")] == [50, 100, 120]
    assert run.lines("eval")[-1]["top1"] == pytest.approx(
        uninterrupted.lines("eval")[-1]["top1"], abs=0.01
    )


@pytest.mark.full
def test_a_signal_that_the_loaders_processes_get_too_and_a_second_run_in_the_workdir(make_run):
    run = make_run(data__on_device="no", data__workers=2, duration="20000 steps")
    process = run.start(start_new_session=True)
    run.wait_for(process, lambda: run.lines("train"))
    config = (run.workdir / "config.json").stat().st_mtime_ns
    assert f"is in use: process {process.pid} on " in run.finish(code=1)
    assert (run.workdir / "config.json").stat().st_mtime_ns == config and process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert run.checkpoints()[-1] >= 20


@pytest.mark.full
def test_a_signal_in_evaluation_saves_and_evaluates_later(make_run):
    slow = dict(duration="20 steps", data__on_device="no", data__workers=0, eval__batch_size=1)
    slow["data__eval_split"] = "test[:3000]"
    run = make_run(**slow)
    process = run.start()
    run.wait_for(process, lambda: run.lines("train"))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert run.checkpoints() == [20] and not run.lines("eval")
    run.finish()
    assert [(line["step"], line["examples"]) for line in run.lines("eval")] == [(20, 3000)]


@pytest.mark.full
def test_a_signal_in_compilation_saves_the_start(make_run, tmp_path):
    run = make_run(model__name="resnet18", batch_size=2, duration="1 steps", data__image_size=32)
    run.command += [f"--config.compile_cache={tmp_path}"]
    process = run.start()
    # Written when the state is there and all that is left before the first step is to compile.
    run.wait_for(process, (run.workdir / "environment.json").exists)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143, output
    assert run.checkpoints() == [0] and not run.lines("train")


@pytest.mark.full
def test_streamed_data_train_as_resident_data(make_first_steps, assert_first_steps):
    run = make_first_steps(data__on_device="no", data__workers=0)
    run.finish()
    assert_first_steps(run)


DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param({}, marks=pytest.mark.full),
        {"mesh__fsdp": 2},
        pytest.param({"mesh__fsdp": 8}, marks=pytest.mark.full),
    ],
)
def test_eight_devices_give_the_losses_of_one(make_first_steps, assert_first_steps, mesh):
    run = make_first_steps(DEVICES, **mesh)
    run.finish()
    assert_first_steps(run)


@pytest.mark.full
def test_a_checkpoint_of_eight_devices_is_resumed_with_one(make_first_steps, assert_first_steps):
    run = make_first_steps(DEVICES, mesh__fsdp=8, checkpoint__every="3 steps")
    run.finish()
    shutil.rmtree(run.workdir / "checkpoints" / "5")
    run.command += ["--config.mesh.fsdp=1"]
    run.environment["XLA_FLAGS"] = ""
    assert "other values of mesh.fsdp" in run.finish()
    assert_first_steps(run)  # steps 4 and 5 on one device


@pytest.mark.full
def test_a_corrupt_checkpoint_falls_back_to_the_one_before(make_run, uninterrupted):
    run = make_run()
    run.finish()
    assert run.checkpoints() == [90, 120]
    largest = max((run.workdir / "checkpoints/120").rglob("*"), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    output = run.finish()
    assert "checkpoints/120 is damaged" in output and "checkpoints/90" in output
    assert run.figures() == uninterrupted.figures()
    assert run.leaves(120) == uninterrupted.leaves(120)
    assert (run.workdir / "checkpoints/damaged/120").is_dir()


@pytest.mark.full
def test_a_checkpoint_of_another_model_is_refused(make_run):
    run = make_run(duration="20 steps")
    run.finish()
    (run.workdir / "config.json").unlink()  # which would tell the difference before
    run.command += ["--config.model.name=lenet5"]
    output = run.finish(code=1)
    assert "another model" in output and "params/conv1/bias" in output
    assert run.checkpoints() == [20]


def test_a_loss_that_is_not_finite_stops_the_run(make_run):
    run = make_run(schedule__learning_rate=1e30, schedule__warmup="25 steps", log__every="5 steps")
    run.command += ["--config.checkpoint.every=1 steps"]
    output = run.finish(code=1)
    assert re.search(r"The loss is not finite at step \d \(learning rate .*e\+", output)
    assert "The last good checkpoint is" in output
    assert max(run.checkpoints()) <= 3


@pytest.mark.full
def test_a_label_outside_the_classes_is_named(make_run):
    output = make_run(model__num_classes=5).finish(code=1)
    assert "has the label" in output and "labels must be 0 to 4" in output
    output = make_run(model__num_classes=5, data__on_device="no", data__workers=0).finish(code=1)
    assert "labels must be 0 to 4" in output


def test_a_batch_that_does_not_divide_is_refused(make_run):
    output = make_run(DEVICES, batch_size=42).finish(code=1)
    assert "batch_size=42 does not divide over 8 devices" in output


@pytest.mark.full
def test_an_unreadable_image_stops_the_run_or_is_counted(make_run, tmp_path):
    import numpy as np
    from PIL import Image

    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = np.random.RandomState(i).randint(0, 255, (40, 50, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    (tmp_path / "train/cat/2.jpg").write_bytes(b"no image")
    (tmp_path / "test/dog/1.jpg").write_bytes(b"no image")
    settings = dict(data__name=f"folder:{tmp_path}", data__train_split="train", batch_size=4)
    settings |= dict(duration="4 steps", data__eval_split="test", data__workers=0)
    settings |= dict(eval__batch_size=4)
    assert "cat/2.jpg" in make_run(**settings).finish(code=1)
    run = make_run(**settings, data__unreadable="skip")
    run.finish()
    (line,) = run.lines("eval")
    assert line["examples"] == 7 and line["skipped"] >= 2


@pytest.mark.full
def test_a_run_starts_from_the_weights_of_another(make_run, uninterrupted):
    settings = {"init.weights": str(uninterrupted.workdir), "init.skip": "", "duration": "20 steps"}
    run = make_run(**settings, optimizer__freeze="^fc1/", optimizer__name="sgd")
    output = run.finish()
    assert f"Starting with {uninterrupted.workdir}; random: nothing." in output
    assert run.lines("train")[0]["loss"] < uninterrupted.lines("train")[0]["loss"] / 2
    before, after = uninterrupted.leaves(120), run.leaves(20)
    same = {path for path in after if path in before and after[path] == before[path]}
    assert "['params']['fc1']['kernel']" in same and "['params']['fc2']['kernel']" not in same
    assert (
        json.loads((run.workdir / "init.json").read_text())["weights"] == settings["init.weights"]
    )
