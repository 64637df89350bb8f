import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import tensorflow_datasets as tfds

import input_pipeline
from input_pipeline.prepare import builders, prepare

MNIST = builders.EMBEDDED["mnist"]


def run(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "input_pipeline.prepare", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.full
def test_killed_half_way_and_then_two_processes_at_once(tmp_path):
    killed = run("mnist", f"--data_dir={tmp_path}")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("mnist/*incomplete*/*")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "mnist" / "3.0.1").exists()
    both = [run("mnist", f"--data_dir={tmp_path}") for _ in range(2)]
    printed = []
    for process in both:
        out, error = process.communicate(timeout=120)
        printed.append(out)
        assert process.returncode == 0, error
        assert "mnist is ready in" in out and "ownload" not in out
    assert any(f"Preparing mnist in {tmp_path}" in out for out in printed)
    assert os.listdir(tmp_path / "mnist") == ["3.0.1"]  # and nothing of the killed process
    stock = tfds.data_source("mnist", split="train", data_dir=tmp_path, download=False)
    assert len(stock) == 60_000
    assert [stock[i]["label"] for i in range(6)] == [4, 1, 0, 7, 8, 1]


def test_a_second_preparation_does_nothing(mnist_dir):
    before = (mnist_dir / "mnist" / "3.0.1" / "dataset_info.json").stat().st_mtime_ns
    folder = prepare("mnist", mnist_dir)
    assert (folder / "dataset_info.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_files_of_another_data_set_are_refused(name, tmp_path):
    # All three name their files alike: without the check a "fashion_mnist" of digits would result.
    with pytest.raises(input_pipeline.DataError, match=f"is not the original file of {name}"):
        prepare(name, tmp_path, MNIST)
    assert not (tmp_path / name / "3.0.1").exists()


def test_a_file_cut_short_is_refused(tmp_path):
    originals = tmp_path / "originals"
    shutil.copytree(MNIST, originals)
    path = originals / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(input_pipeline.DataError, match=f"{path}.*cut short"):
        prepare("mnist", tmp_path, originals)


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "beans"])
def test_without_a_network_it_says_so_at_once(name, tmp_path, monkeypatch):
    def unresolvable(*_):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolvable)
    monkeypatch.setattr(builders.urllib.request, "getproxies", dict)
    with pytest.raises(input_pipeline.DataError, match=f"no network.*{name} --manual_dir=FOLDER"):
        prepare(name, tmp_path)


@pytest.mark.parametrize("error", [ImportError, RuntimeError])
def test_a_builder_that_needs_tensorflow_is_answered_with_the_extra(error, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error("Error while extracting x.zip: No module named 'tensorflow'")

    monkeypatch.setattr(tfds.builder_cls("beans"), "download_and_prepare", fail)
    monkeypatch.setattr(builders, "require_network", lambda builder: None)
    with pytest.raises(input_pipeline.DataError, match=r"pip install 'flax-zoo\[tensorflow\]'"):
        prepare("beans", tmp_path)


def test_a_full_disk_is_answered_with_where_to_go(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Failed to finalize writing: write() failed: No space left on device")

    monkeypatch.setattr(builders.tfds.core.GeneratorBasedBuilder, "download_and_prepare", fail)
    with pytest.raises(input_pipeline.DataError, match="No space left on device.*data_dir"):
        prepare("mnist", tmp_path)


def test_an_unknown_name_is_answered_with_similar_ones(tmp_path):
    with pytest.raises(input_pipeline.DataError, match="no data set 'minst'.*mnist"):
        prepare("minst", tmp_path)
    with pytest.raises(input_pipeline.DataError, match="no data set 'mnist:1.2.3'"):
        prepare("mnist:1.2.3", tmp_path)


def test_the_command_fails_with_one_paragraph(tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        (["mnist", f"--data_dir={tmp_path / 'file'}"], "cannot be prepared in"),
        (["mnist", f"--manual_dir={tmp_path / 'nowhere'}"], "does not exist"),
    ):
        process = run(*arguments)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 1
        assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_misspelt_name_is_not_advised_to_be_prepared(tmp_path):
    with pytest.raises(input_pipeline.DataError, match="no data set 'mnits'.*Similar names: mnist"):
        input_pipeline.open("mnits", "train", tmp_path)
    with pytest.raises(input_pipeline.DataError, match="Prepare it once.*prepare beans "):
        input_pipeline.open("beans", "train", tmp_path)
