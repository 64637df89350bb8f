import sys

import pytest

from zoo import registry
from zoo.__main__ import main

pytestmark = pytest.mark.quick


def test_list_takes_a_wildcard(capsys):
    main(["list", "lenet*"])
    out = capsys.readouterr().out
    assert "| `lenet5` | 1998 | 32x32x1 | 61,706 | 0.0004165 |" in out
    assert "vgg" not in out


def test_no_match_is_an_error(capsys):
    with pytest.raises(SystemExit):
        main(["list", "nothing*"])
    assert "no model matches 'nothing*'" in capsys.readouterr().err


def test_a_file_that_registers_a_model_imports_modules_beside_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setitem(registry._models, "net_of_a_file", None)  # so that it goes again
    (tmp_path / "of_my_net.py").write_text("CHANNELS = 3\n")
    (tmp_path / "my_net.py").write_text(
        "import zoo\nfrom of_my_net import CHANNELS\nfrom zoo.models.lenet import lenet5\n\n\n"
        "@zoo.register(image_size=32, channels=CHANNELS, top1=1.5, accuracy_source='mine')\n"
        "def net_of_a_file(**attributes):\n    return lenet5(**attributes)\n"
    )
    main(["list", "net_of_a_file", f"--import={tmp_path / 'my_net.py'}"])
    assert "| `net_of_a_file` |" in capsys.readouterr().out
