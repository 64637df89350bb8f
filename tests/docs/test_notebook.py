"""The notebook in examples/ runs from its first to its last cell."""

import json
import pathlib

import matplotlib
import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / "examples" / "look_inside.ipynb"


@pytest.fixture
def no_display():
    from matplotlib import pyplot

    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    pyplot.close("all")  # what other tests have left
    yield pyplot
    pyplot.close("all")
    matplotlib.use(before)


@pytest.mark.full
def test_all_cells_run(no_display, capsys, quick_compilation):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names: dict = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "class 7" in printed and "dead channels: [" in printed
    assert len(no_display.get_fignums()) == 4
    values = names["pictures"].values
    assert (values[-1] > values[0]).all()
