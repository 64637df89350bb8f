import re
import subprocess
import sys
from pathlib import Path

import pytest

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
        (["--config=configs/lenett.py"], "configs/lenett.py"),
        (["--confg=configs/lenet.py"], "Did you mean: config"),
        ([], "--config=configs/lenet.py"),
        (["--config=configs/lenet.py", "--config.model.name=lenet6"], "'lenet6'.*lenet5"),
    ],
)
def test_a_wrong_command_line_gets_one_clear_line(arguments, expected, tmp_path):
    assert re.search(expected, fails(*arguments, f"--workdir={tmp_path}"))


def test_an_unwritable_workdir_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    message = fails("--config=configs/lenet.py", f"--workdir={tmp_path / 'file' / 'run'}")
    assert f"{tmp_path / 'file' / 'run'} cannot be written to" in message


def test_a_data_set_that_is_not_there_comes_with_its_command(tmp_path):
    message = fails(
        "--config=configs/resnet50.py", f"--workdir={tmp_path}", f"--config.data.dir={tmp_path}"
    )
    assert "python -m input_pipeline.prepare imagenet2012" in message
