"""`python -m train.predict` on MNIST's digits, with the weights in the package."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import train.workspace
import zoo
from input_pipeline.example import DataError
from train import predict as program
from train.errors import TrainError
from train.use import formats, predictions
from train.use.predictions import Result
from train.use.weights import open_model
from zoo.weights import own, pretrained
from zoo.weights.pretrained import PretrainedModel

ROOT = Path(__file__).parents[3]
WEIGHTS = "--weights=zoo/lenet5.mnist"
TRUE = "7210414959"  # the first of MNIST's test images


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A folder of digits as PNG files, in folders below too, and what else lies in folders."""
    packed = ROOT / "input_pipeline/data/mnist/t10k-images-idx3-ubyte.gz"
    pixels = np.frombuffer(gzip.decompress(packed.read_bytes()), np.uint8, offset=16)
    folder = tmp_path_factory.mktemp("digits")
    for number, digit in enumerate(pixels.reshape(-1, 28, 28)[: len(TRUE)]):
        path = folder / ("more" if number > 7 else "") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(digit).save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def trained():
    return open_model("zoo/lenet5.mnist")


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments): the exit status, stdout and stderr of the program."""
    monkeypatch.setattr(train.workspace, "use_compile_cache", lambda _: None)

    def call(*arguments) -> tuple[int, str, str]:
        code = program.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_files_folders_and_patterns(digits):
    names = [f"{number}.png" for number in range(8)] + ["more/8.png", "more/9.png"]
    every = [str(digits / name) for name in names]
    find = predictions.find_images
    assert find([str(digits)]) == every
    assert find([f"{digits}/*"]) == every[:8]
    assert sorted(find([f"{digits}/**/*.png"])) == sorted(every)
    assert find([every[3], str(digits / "notes.txt"), str(digits), every[3]])[:2] == [
        every[3],
        str(digits / "notes.txt"),  # as it was asked for by its name
    ]
    for wrong in ("nothing.png", str(digits / "*.jpg"), str(digits / "x")):
        with pytest.raises(DataError, match="There is no file, folder or image"):
            find([every[0], wrong])


def test_a_folder_without_images_is_told(tmp_path):
    with pytest.raises(DataError, match="There is no image in the folder"):
        predictions.find_images([str(tmp_path)])


@pytest.mark.parametrize("batch_size", [3, 32])
def test_results_are_those_of_the_model(batch_size, digits, trained, monkeypatch):
    files = predictions.find_images([str(digits)])
    shapes, program_of = set(), predictions._program

    def recorded(model):
        compiled = program_of(model)
        return lambda variables, pixels: (shapes.add(pixels.shape), compiled(variables, pixels))[1]

    monkeypatch.setattr(predictions, "_program", recorded)
    results = list(predictions.predict(trained, files, top=3, batch_size=batch_size))
    logits = jax.jit(trained.model.apply)(trained.variables, trained.preprocessing(files))
    for result, best, file in zip(results, zoo.decode(logits, 3, trained), files, strict=True):
        assert result.file == file and not result.error
        assert [pair[:2] for pair in result.best] == [pair[:2] for pair in best]
        expected = [probability for *_, probability in best]
        assert [p for *_, p in result.best] == pytest.approx(expected, rel=1e-4)
    assert "".join(result.best[0][1] for result in results) == TRUE
    shapes -= {(1, 32, 32, 1)}  # of counting the classes
    assert shapes == {(min(batch_size, 10), 32, 32, 1)}  # one program, also for the rest


def test_unreadable_images_are_between_the_others(digits, trained, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    os.mkfifo(tmp_path / "fifo.png")
    wrong = [str(tmp_path / name) for name in ("broken.jpg", "fifo.png", "missing.png")]
    files = [wrong[0], str(digits / "0.png"), *wrong[1:], str(digits / "1.png")]
    results = list(predictions.predict(trained, files, top=1, batch_size=2))
    assert [result.file for result in results] == files
    assert [bool(result.error) for result in results] == [True, False, True, True, False]
    assert all(Path(r.file).name in r.error and not r.best for r in results if r.error)
    assert [result.best[0][1] for result in results if result.best] == ["7", "2"]


def test_no_files_no_results(trained):
    assert list(predictions.predict(trained, [])) == []


def test_unknown_classes_are_told_before_anything_is_computed(digits, trained):
    params = dict(trained.variables["params"])
    params["head"] = {name: array[..., :7] for name, array in params["head"].items()}
    seven = zoo.create("lenet5", num_classes=7)
    nameless = PretrainedModel(seven, {"params": params}, zoo.info("lenet5"), trained.preprocessing)
    files = [str(digits / "0.png")]
    with pytest.raises(ValueError, match="There are 7 logits, and no label set has"):
        predictions.predict(nameless, files)
    (result,) = predictions.predict(nameless, files, classes=list("abcdefg"), top=9)
    assert sorted(name for _, name, _ in result.best) == list("abcdefg")


RESULTS = [
    Result("a, b.jpg", [("n01", "cat", 0.75), ("n02", "dog", 0.25)]),
    Result("broken.jpg", (), "it is broken"),
    Result("c.jpg", [("1", "1", 0.1 + 0.2)]),
]
ROWS = [
    ("a, b.jpg", 1, "n01", "cat", 0.75),
    ("a, b.jpg", 2, "n02", "dog", 0.25),
    ("c.jpg", 1, "1", "1", 0.1 + 0.2),
]


def text(form: str, results=RESULTS) -> str:
    stream = io.StringIO()
    formats.write(iter(results), form, stream)
    return stream.getvalue()


def test_the_table():
    assert text("table") == (
        "a, b.jpg\n   75.00 %  cat  n01\n   25.00 %  dog  n02\nc.jpg\n   30.00 %  1\n"
    )


def test_csv_and_json_hold_every_digit():
    head, *lines = csv.reader(text("csv").splitlines())
    assert tuple(head) == formats.COLUMNS
    assert [(f, int(r), i, name, float(p)) for f, r, i, name, p in lines] == ROWS
    assert json.loads(text("json")) == [
        {
            "file": "a, b.jpg",
            "predictions": [
                {"label": "cat", "score": 0.75, "id": "n01"},
                {"label": "dog", "score": 0.25, "id": "n02"},
            ],
        },
        {"file": "c.jpg", "predictions": [{"label": "1", "score": 0.1 + 0.2, "id": "1"}]},
    ]
    assert json.loads(text("json", [])) == [] and len(text("csv", []).splitlines()) == 1


def test_parquet(tmp_path):
    from pyarrow import parquet

    formats.write(iter(RESULTS), "parquet", tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    assert tuple(table.column_names) == formats.COLUMNS
    assert [tuple(row.values()) for row in table.to_pylist()] == ROWS
    formats.write(iter([]), "parquet", tmp_path / "empty.parquet")
    assert parquet.read_table(tmp_path / "empty.parquet").num_rows == 0


@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_file_is_whole_or_not_there(form, tmp_path):
    def results():
        yield RESULTS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        formats.write(results(), form, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_the_format_is_that_of_the_ending():
    found = [formats.format_of(out) for out in ("", "a.csv", "b.JSON", "c.parquet", "d.txt")]
    assert found == ["table", "csv", "json", "parquet", "table"]
    assert formats.format_of("a.csv", "json") == "json"


def test_what_parquet_needs_is_named(monkeypatch):
    with pytest.raises(TrainError, match="name a file"):
        formats.format_of("", "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TrainError, match=r"pip install 'flax-zoo\[parquet\]'"):
        formats.format_of("a.parquet")


def test_the_program(run, digits, tmp_path):
    code, out, err = run(WEIGHTS, digits, "--top=1")
    assert code == 0 and [line.split()[-1] for line in out.splitlines()[1::2]] == list(TRUE), err
    code, out, err = run(WEIGHTS, digits, f"--out={tmp_path / 'x.json'}", "--top=2")
    predicted = json.loads((tmp_path / "x.json").read_text())
    assert code == 0 and not out and len(predicted) == 10
    assert all(len(picture["predictions"]) == 2 for picture in predicted)


def test_unreadable_images_are_named_and_counted(run, digits, tmp_path):
    (tmp_path / "broken.jpg").write_text("x")
    code, out, err = run(WEIGHTS, digits, tmp_path / "broken.jpg", "--format=csv")
    assert code == 3 and len(out.splitlines()) == 51
    assert "broken.jpg is not an image" in err and "1 of 11 images were not read" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([WEIGHTS, "nothing.png"], "There is no file, folder or image nothing.png"),
        (["DIGIT"], "Name either weights, such as --weights=zoo/lenet5.mnist, or a run"),
        ([WEIGHTS, "--workdir=runs/x", "DIGIT"], "Name either weights"),
        (["--workdir=runs/x", "--model=lenet5", "DIGIT"], "knows its model"),
        (["--workdir=runs/x", "DIGIT"], "There is no file runs/x"),
        (["--weights=zoo/lenet5", "DIGIT"], "No weights 'lenet5' ship with the package"),
        ([WEIGHTS, "--classes=cifar100", "DIGIT"], "10 logits, and 'cifar100' has 100 classes"),
        ([WEIGHTS, "--format=parquet", "DIGIT"], "name a file"),
        ([WEIGHTS, "--out=no/folder/x.csv", "DIGIT"], "No such file or directory"),
    ],
)
def test_errors_are_for_people(run, digits, arguments, message):
    arguments = [a.replace("DIGIT", str(digits / "0.png")) for a in arguments]
    code, out, err = run(*arguments)
    assert code == 1 and not out and message in err and "Traceback" not in err


@pytest.mark.parametrize("wrong", [[], ["--top=0", "x"], ["--format=xml", "x"], ["--tops=5", "x"]])
def test_a_wrong_command_line_has_its_own_status(run, wrong):
    with pytest.raises(SystemExit) as exit:
        run(*wrong)
    assert exit.value.code == 2


def contiguous(tensors):
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def test_a_run_and_files_of_weights(run, digits, tmp_path):
    """--workdir, and --weights with --model, give what --weights=zoo/lenet5.mnist gives."""
    (tmp_path / pretrained.FILE_NAME).write_bytes(own.path("lenet5.mnist").read_bytes())
    trained = zoo.load(tmp_path)
    save_file(contiguous(zoo.to_torch("lenet5", trained.variables)), tmp_path / "x.safetensors")
    expected = run(WEIGHTS, digits, "--format=csv")
    assert run(f"--workdir={tmp_path}", digits, "--format=csv") == expected
    assert run(f"--weights={tmp_path}", digits, "--format=csv") == expected
    file = f"--weights={tmp_path / 'x.safetensors'}"
    code, out, _ = run(file, "--model=lenet5", digits, "--format=csv", "--classes=mnist")
    best = [row["label"] for row in csv.DictReader(out.splitlines()) if row["rank"] == "1"]
    assert code == 0 and "".join(best) == TRUE


def test_a_file_of_ones_own_classes(run, digits, trained, tmp_path):
    """A fine-tuned classifier of four classes, whose names are in a text file."""
    tensors = contiguous(zoo.to_torch("lenet5", trained.variables))
    tensors |= {name: array[:4] for name, array in tensors.items() if array.shape[0] == 10}
    save_file(tensors, tmp_path / "four.safetensors")
    (tmp_path / "names.txt").write_text("zero\none\ntwo\nthree\n")
    file, digit = f"--weights={tmp_path / 'four.safetensors'}", digits / "3.png"
    names = f"--classes={tmp_path / 'names.txt'}"
    code, out, _ = run(file, "--model=lenet5", names, digit, "--top=9")
    assert code == 0 and out.splitlines()[1].endswith("zero  0") and len(out.splitlines()) == 5
    code, _, err = run(file, "--model=lenet5", digit)
    assert code == 1 and "do not fit" in err
    code, _, err = run(file, "--model=lenet5", digit, "--classes=nothing.txt")
    assert code == 1 and "nothing.txt is neither a label set (imagenet-1k, " in err


def test_a_reader_that_has_seen_enough(digits, tmp_path):
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m train.predict {WEIGHTS} $0 | true"]
        + [str(digits)],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": "", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
