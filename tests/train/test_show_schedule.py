"""A recipe shows its learning rate."""

import pytest

from configs import base
from train.errors import TrainError
from train.show_schedule import show


def recipe(**section):
    config = base.get_config()
    config.data.name, config.batch_size, config.duration = "imagenet2012", 1024, "90 epochs"
    for key, value in section.items():
        config.schedule[key] = value
    return config


def rows(text):
    return [line.split() for line in text.splitlines()[1:]]


@pytest.mark.quick
def test_table_and_picture(tmp_path, capsys):
    boundaries, factors = ("30 epochs", "60 epochs"), (0.1, 0.1)
    config = recipe(name="steps", boundaries=boundaries, factors=factors)
    show(config, str(tmp_path / "rates.png"))
    output = capsys.readouterr()
    table = rows(output.out)
    assert table[0] == ["0", "0.00", "0.1"] and table[-1][1:] == ["90.00", "0.001"]
    before, after = table[[row[2] for row in table].index("0.01") - 1 :][:2]  # both sides of a jump
    assert before[2] == "0.1" and float(after[1]) - float(before[1]) < 0.1
    assert (tmp_path / "rates.png").read_bytes()[:4] == b"\x89PNG" and "rates.png" in output.err


def test_data_that_are_not_there_and_pictures_of_another_kind(capsys):
    config = recipe(name="linear")
    config.data.name = "folder:/nowhere"
    show(config, examples=10_240)
    assert rows(capsys.readouterr().out)[-1][0] == "899"
    with pytest.raises(TrainError, match="a picture ends in"):
        show(config, "rates.txt", examples=10_240)
    with pytest.raises(TrainError, match="there is no folder nowhere"):
        show(config, "nowhere/rates.png", examples=10_240)
