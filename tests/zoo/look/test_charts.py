"""python -m zoo charts, and the numbers under the pictures."""

import csv
import re
import time
from xml.etree import ElementTree

import pytest
from PIL import Image

import zoo
from zoo import counts
from zoo.__main__ import main
from zoo.look import charts, measure
from zoo.look.measure import Measured


def run(*arguments, capsys, code=0):
    with pytest.raises(SystemExit) as end:
        main(["charts", *arguments])
    assert end.value.code == code
    printed = capsys.readouterr()
    return printed.err if code else printed.out


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_drawn(folder, name):
    """All three files of a chart are there and whole."""
    with Image.open(folder / f"{name}.png") as image:
        assert min(image.size) > 300
    return ElementTree.fromstring((folder / f"{name}.svg").read_text()), rows_of(
        folder / f"{name}.csv"
    )


def test_accuracy_of_one_protocol(tmp_path, capsys):
    out = run("squeeze*", f"--out={tmp_path}", "--only=accuracy,density", capsys=capsys)
    assert out.splitlines() == [
        *(f"{tmp_path / name}: .png, .svg, .csv" for name in ("accuracy", "density")),
        str(tmp_path / "charts.html"),
    ]
    page = (tmp_path / "charts.html").read_text()
    assert re.findall('data="(.*?)"', page) == ["accuracy.svg", "density.svg"]
    svg, rows = assert_drawn(tmp_path, "accuracy")
    assert {row["model"] for row in rows} == set(zoo.list_models("squeeze*"))
    (row,) = (row for row in rows if row["model"] == "squeezenet1_1")
    assert (int(row["params"]), float(row["top1"])) == (1_235_496, 58.178)
    assert int(row["macs"]) == counts.count("squeezenet1_1").macs
    titles = [element.text for element in svg.iter() if element.tag.endswith("title")]
    assert any(title.startswith("squeezenet1_1: 58.18 %, 1.235 M parameters") for title in titles)
    run("*", f"--out={tmp_path}", "--only=accuracy", "--crops=10", capsys=capsys)
    assert {row["model"] for row in rows_of(tmp_path / "accuracy.csv")} == {
        *("plain18", "plain34", "zfnet", "zfnet_big")
    }
    strict = ["--no_distilled", "--no_pretraining", "--pixels=224"]
    run("*it_*", f"--out={tmp_path}", "--only=accuracy", *strict, capsys=capsys)
    names = {row["model"] for row in rows_of(tmp_path / "accuracy.csv")}
    assert "deit_s" in names and not names & {"deit_s_distilled", "vit_s_16", "crossvit_s"}


def test_all_models_take_less_than_a_minute(tmp_path, capsys):
    start = time.process_time()
    run(f"--out={tmp_path}", "--only=accuracy", capsys=capsys)
    assert time.process_time() - start < 60
    protocols = [zoo.info(name) for name in zoo.list_models()]
    expected = [info for info in protocols if info.protocol and info.image_size > 64]
    assert len(rows_of(tmp_path / "accuracy.csv")) == len(expected)


@pytest.mark.parametrize("name", ["transformers", "senet", "ilsvrc"])
def test_tables_of_papers(name, tmp_path, capsys):
    run(f"--out={tmp_path}", f"--only={name}", capsys=capsys)
    _, rows = assert_drawn(tmp_path, name)
    assert len(rows) == len(charts.read_rows(name))
    if name == "ilsvrc":
        depths = {row["entry"]: row["depth_counted"] for row in rows}
        assert depths["GoogLeNet"] == "22" and depths["ResNet"] == "152" and not depths["XRCE"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only=speed"], "--only=speed: charts are accuracy"),
        (["lenet*", "--only=accuracy"], "No ImageNet model lenet*"),
        (["--measure=lenet5", "--batches=one"], "--batches=one"),
        (["--measure=lenet5", "--batches=0"], "--batches=0"),
        (["--measure=lenet55"], "There is no model 'lenet55'"),
    ],
)
def test_what_is_wrong_is_told(arguments, message, tmp_path, capsys):
    assert message in run(*arguments, f"--out={tmp_path}", capsys=capsys, code=1)


@pytest.mark.full
def test_what_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "_SECONDS", 0.02)
    out = run("--measure=lenet5", "--batches=1,4", f"--out={tmp_path}", capsys=capsys)
    assert "lenet5, 4 images: " in out and "throughput" in out
    _, rows = assert_drawn(tmp_path, "time")
    assert [(row["model"], row["batch"]) for row in rows] == [*(("lenet5", "1"), ("lenet5", "4"))]
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert_drawn(tmp_path, "operations")


def test_what_the_system_does_not_tell_has_no_chart():
    found = [Measured("lenet5", batch, 32, 0.01 * batch, None, 3.0) for batch in (1, 2)]
    drawn = charts.measured(found)
    assert set(drawn) == {"time", "throughput", "energy", "operations"}
    assert drawn["energy"].rows[1]["images_per_second"] == pytest.approx(100)


def test_the_backend_of_a_program_stays(tmp_path):
    import matplotlib
    from matplotlib import pyplot

    before, figures = matplotlib.get_backend(), pyplot.get_fignums()
    matplotlib.use("svg")
    try:
        charts.save_chart(charts.senet(), tmp_path / "senet")
        assert matplotlib.get_backend() == "svg" and pyplot.get_fignums() == figures
    finally:
        matplotlib.use(before)
