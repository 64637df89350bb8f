"""Several processes as one run."""

import socket

import pytest


@pytest.fixture
def coordinator() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


@pytest.mark.full
@pytest.mark.parametrize("on_device", ["yes", "no"])
def test_two_processes_give_the_losses_of_one(
    make_first_steps, assert_first_steps, coordinator, on_device
):
    run = make_first_steps(
        hosts__coordinator=coordinator,
        hosts__count=2,
        data__on_device=on_device,
        data__workers=0,
    )
    command = list(run.command)
    run.command = [*command, "--config.hosts.index=1"]
    other = run.start()
    run.command = [*command, "--config.hosts.index=0"]
    run.finish()
    output, _ = other.communicate(timeout=60)
    assert other.returncode == 0, output
    assert_first_steps(run)


# Policies, erasing and mixing within groups of ten images, so that hosts make no difference.
AUGMENTED = {
    "augment.policy": "rand-m9-mstd0.5-inc1",
    "augment.erasing": 0.25,
    "augment.repeats": 3,
    "mix.mixup": 0.8,
    "mix.cutmix": 1.0,
    "mix.group": 10,
    "loss.label_smoothing": 0.1,
}


@pytest.mark.full
@pytest.mark.parametrize("on_device", ["yes", "no"])
def test_augmented_pictures_do_not_depend_on_hosts(make_first_steps, coordinator, on_device):
    settings = {key.replace(".", "__"): value for key, value in AUGMENTED.items()}
    settings |= {"data__on_device": on_device, "data__workers": 0}
    alone = make_first_steps(**settings)
    alone.finish()
    run = make_first_steps(hosts__coordinator=coordinator, hosts__count=2, **settings)
    command = list(run.command)
    run.command = [*command, "--config.hosts.index=1"]
    other = run.start()
    run.command = [*command, "--config.hosts.index=0"]
    run.finish()
    output, _ = other.communicate(timeout=60)
    assert other.returncode == 0, output
    for ours, theirs in zip(run.lines("train"), alone.lines("train"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


@pytest.mark.full
def test_a_host_that_does_not_come_is_told(make_run, coordinator):
    run = make_run(hosts__coordinator=coordinator, hosts__count=2, hosts__timeout=3)
    for index in (0, 1):
        command = list(run.command)
        run.command += [f"--config.hosts.index={index}"]
        output = run.finish(code=1)
        run.command = command
        assert f"Process {index} could not join the 2 processes of {coordinator}" in output
