import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import configs
from train.command_line import WrongCommandLine, find_recipe

ROOT = Path(__file__).parents[2]


def fails(*arguments):
    """What `python -m train` says when it refuses to start."""
    done = subprocess.run(
        [sys.executable, "-m", "train", *arguments], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode not in (0, None), done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--config=configs/lenet.py", "--config.batchsize=3"], "'batchsize'.*batch_size"),
        (["--config=configs/lenet.py", "--config.model.nam=x"], "'model.nam'.*model.name"),
        (["--config=configs/lenet.py", "--config.batch_size=many"], "batch_size=many"),
        (["--config=configs/lenet.py:smok"], "no argument 'smok'"),
        (
            ["--config=configs/lenett.py"],
            "configs/lenett.py.*closest names are lenet.*Installed.*vgg16",
        ),
        (["--config", "nothing"], "no recipe nothing.*Installed are alexnet, .*vgg16"),
        (["--confg=configs/lenet.py"], "Did you mean: config"),
        ([], "--config=configs/lenet.py"),
        (["--config=configs/lenet.py", "smoke"], "smoke: options begin with two dashes"),
        (["--config=configs/lenet.py", "--config.model.name=lenet6"], "'lenet6'.*lenet5"),
    ],
)
def test_a_wrong_command_line_gets_one_clear_line(arguments, expected, tmp_path):
    assert re.search(expected, fails(*arguments, f"--workdir={tmp_path}"))


RECIPE = """
from configs import lenet


def get_config(arg=""):
    return lenet.get_config(arg)
"""


@pytest.mark.parametrize("name", ["lenet", "lenet.py", "configs/lenet.py", "configs/lenet"])
def test_installed_recipes_are_found_in_any_folder(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert find_recipe(name) == configs.FOLDER / "lenet.py"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["lenet", "configs/lenet.py"])
def test_a_recipe_of_the_folder_comes_first_and_is_told(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "lenet.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    assert find_recipe(name) == Path("configs/lenet.py")
    assert capsys.readouterr().out.startswith("Using configs/lenet.py of this folder instead of")
    (tmp_path / "configs" / "mine.py").write_text(RECIPE)
    assert find_recipe("mine") == Path("configs/mine.py") and capsys.readouterr().out == ""


def test_a_recipe_anywhere_is_found_by_its_path(tmp_path):
    path = tmp_path / "my-recipe.py"
    path.write_text(RECIPE)
    assert find_recipe(str(path)) == path
    with pytest.raises(WrongCommandLine, match="no file of that name in"):
        find_recipe(str(tmp_path / "another.py"))


@pytest.mark.full
def test_a_run_in_an_empty_folder(tmp_path):
    command = [sys.executable, "-m", "train", "--config=configs/lenet.py:smoke"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    workdir = tmp_path / "runs" / "lenet-smoke"
    assert (workdir / "model.safetensors").exists()
    (start,) = json.loads((workdir / "environment.json").read_text())
    assert start["command"][1:] == ["--config=configs/lenet.py:smoke"]  # as it was typed


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize(
    "program, flags",
    [
        ("train", ["--config", "--workdir"]),
        ("train.plan", ["--config", "--topology", "--batch_per_chip", "--largest_batch", "--json"]),
        ("input_pipeline.prepare", ["--manual_dir", "--data_dir"]),
        ("zoo", ["list", "summary"]),
    ],
)
def test_every_program_explains_itself(program, flags, flag):
    done = subprocess.run(
        [sys.executable, "-m", program, flag], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m {program}" in done.stdout and done.stdout.startswith("usage: ")
    for flag in flags:
        assert flag in done.stdout
    if program.startswith("train"):
        for name in configs.names():
            assert re.search(rf"^  {name} +\w", done.stdout, re.M)


@pytest.mark.full
def test_a_wheel_works_in_an_empty_folder(tmp_path):
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet"]
    source = tmp_path / "source"  # setuptools leaves folders there
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", "build", "*.egg-info"))
    build = [*pip, "wheel", "--no-deps", f"--wheel-dir={tmp_path}", source]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", f"--target={site}", wheel], check=True)
    environment = os.environ | {"PYTHONPATH": str(site), "XLA_FLAGS": ""}
    for recipe, code in (("configs/lenet.py:smoke", 0), ("configs/lenett.py", 2)):
        command = [sys.executable, "-m", "train", f"--config={recipe}"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    assert "Installed are alexnet" in done.stderr
    code = "import zoo; print(zoo.__file__, zoo.load('runs/lenet-smoke').step)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(site / "zoo" / "__init__.py"), "3"], done.stderr
    shutil.copy(ROOT / "examples" / "own_parts.py", folder)
    for recipe in ("own_parts.py", "own_parts.py:objects"):
        command = [sys.executable, "-m", "train", f"--config={recipe}"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "confidence" in done.stdout, done.stderr


def test_an_unwritable_workdir_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    message = fails("--config=configs/lenet.py", f"--workdir={tmp_path / 'file' / 'run'}")
    assert f"{tmp_path / 'file' / 'run'} cannot be written to" in message


def test_a_data_set_that_is_not_there_comes_with_its_command(tmp_path):
    message = fails(
        "--config=configs/resnet50.py", f"--workdir={tmp_path}", f"--config.data.dir={tmp_path}"
    )
    assert "python -m input_pipeline.prepare imagenet2012" in message
