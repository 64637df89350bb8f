"""`python -m train.look` on a digit, with the weights in the package and with random ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train.workspace
from train import look as program
from train.errors import TrainError
from train.use import looking
from train.use.weights import open_model

ROOT = Path(__file__).parents[3]
WEIGHTS = "--weights=zoo/lenet5.mnist"
FILES = ["page.html", "activations.png", "attribution.png", "filters.png", "units.png"]


@pytest.fixture(scope="module")
def digit(tmp_path_factory) -> Path:
    """The first of MNIST's test images, a seven."""
    packed = ROOT / "input_pipeline/data/mnist/t10k-images-idx3-ubyte.gz"
    pixels = np.frombuffer(gzip.decompress(packed.read_bytes()), np.uint8, offset=16)
    path = tmp_path_factory.mktemp("digit") / "seven.png"
    Image.fromarray(pixels[: 28 * 28].reshape(28, 28)).save(path)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments): the exit status, stdout and stderr of the program."""
    monkeypatch.setattr(train.workspace, "use_compile_cache", lambda _: None)

    def call(*arguments) -> tuple[int, str, str]:
        code = program.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_writes_the_page_and_the_pictures(run, digit, tmp_path, quick_compilation):
    folder = tmp_path / "photos"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.random.RandomState(number).randint(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    out = tmp_path / "look"
    given = f"--image={digit}", f"--out={out}", "--steps=8", "--units=4"
    code, printed, error = run(
        WEIGHTS, *given, f"--data=folder:{folder}", "--split=train", "--threads=1"
    )
    assert code == 0, error
    assert printed.split()[-len(FILES) :] == [str(out / name) for name in FILES]
    for name in FILES[1:]:
        with Image.open(out / name) as image:
            assert min(image.size) > 20
    text = (out / "page.html").read_text()
    assert '"label":"7"' in text and '"label":"stage2 : ' in text and '"top":["data:' in text


@pytest.mark.full
def test_random_weights(run, digit, tmp_path, quick_compilation):
    given = f"--image={digit}", f"--out={tmp_path}", "--steps=2", "--units=conv2:3,logits:1"
    code, printed, error = run("--model=lenet5", *given, "--target=4")
    assert code == 0, error
    text = (tmp_path / "page.html").read_text()
    assert "These weights are random (seed 0)" in text
    assert '"target":{"number":4' in text and '"label":"conv2 : 3"' in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name either weights"),
        (["--model=lenet55"], "There is no model 'lenet55'"),
        (["--model=lenet5", "--image_size=64"], "omit --image_size"),
        ([WEIGHTS, "--target=cat"], "none of the model's 10 classes is called so"),
        ([WEIGHTS, "--units=stage9:1"], "name units as LAYER:CHANNEL"),
        ([WEIGHTS, "--units=stage2:16"], "stage2 has 16 channels"),
        ([WEIGHTS, "--image=none.png"], "none.png"),
        ([WEIGHTS, "--data=mnits"], "mnits"),
    ],
)
def test_says_what_is_wrong(run, digit, tmp_path, arguments, message):
    code, _, error = run(f"--image={digit}", f"--out={tmp_path}", *arguments)
    assert code == 1 and message in error
    assert not [*tmp_path.iterdir()]


def test_help_tells_all(capsys):
    with pytest.raises(SystemExit) as end:
        program.main(["--help"])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    assert all(word in printed for word in ("page.html", "--units", "--data", "random weights"))


def test_a_page_stays_within_its_bound(digit, monkeypatch, quick_compilation):
    session = looking.Session(looking.Look(open_model("zoo/lenet5.mnist"), str(digit)))
    with pytest.raises(TrainError):
        looking.random_model("lenet55", 0)
    asked = []
    monkeypatch.setattr(looking, "MOST_BYTES", 1000)
    monkeypatch.setattr(looking.page, "render", lambda data: "x" * 2000)
    monkeypatch.setattr(looking.page, "page_of", lambda *a, **k: asked.append(k["pixels_of_maps"]))
    session.page()
    assert len(asked) > 5 and asked[1] == asked[0] // 2
