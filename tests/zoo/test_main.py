import pytest

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
