"""The file of a run is the model that was evaluated, and its preprocessing that of evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

import zoo
from configs import base
from train import losses
from train.data import open_data
from train.loop import train_and_evaluate
from train.model_file import ModelFile, eval_preprocessing
from zoo.models import resnet


def config_of(model, data, **options):
    config = base.get_config()
    config.model.name, config.data.name = model, data
    config.data.workers, config.mesh.data, config.compile_cache = 0, 1, ""
    config.batch_size, config.duration = 8, "4 steps"
    config.model.options = ConfigDict(options)
    return config


RUNS = {
    "EMA": config_of("mlp", "synthetic:size=28,channels=1"),
    "padding": config_of("lenet5", "synthetic:size=28,channels=1"),
    "photographs": config_of("resnet20_cifar", "synthetic:examples=20"),
    "cropped": config_of("resnet20_cifar", "synthetic:examples=20"),
    "grey to colour": config_of("resnet20_cifar", "synthetic:size=32,channels=1"),
    "scan in bfloat16": config_of("resnet18", "synthetic:examples=20", scan=True),
}
DEFAULT = ("EMA",)
RUNS["EMA"].ema.decay = 0.9
RUNS["cropped"].augment.crop = "random_resized"
RUNS["cropped"].eval.interpolation = "bicubic"
RUNS["scan in bfloat16"].model.dtype = "bfloat16"
RUNS["scan in bfloat16"].data.image_size = 32


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.full] * (name not in DEFAULT)) for name in RUNS],
)
def test_what_zoo_loads_has_the_figures_of_the_last_evaluation(name, tmp_path, quick_compilation):
    config = RUNS[name]
    line = train_and_evaluate(config, tmp_path)
    loaded = zoo.load(tmp_path)
    assert loaded.step == line["step"] == 4 and loaded.info.name == config.model.name
    source = open_data(config).evaluation
    assert loaded.class_names == source.class_names
    examples = [source[i] for i in range(len(source))]
    images = [loaded.preprocessing(_as_file(example.image, tmp_path)) for example in examples]
    labels = jnp.array([example.label for example in examples])
    logits = loaded.model.apply(loaded.variables, jnp.stack(images))
    loss = losses.cross_entropy(logits, labels).mean()
    rel = 2e-2 if config.model.dtype == "bfloat16" else 2e-3  # resized by other libraries
    assert float(loss) == pytest.approx(line["loss"], rel=rel)
    figures = ["loss", "top1", "top5", "examples"]
    figures += ["raw_loss", "raw_top1", "raw_top5"] if config.ema.decay else []
    assert loaded.metrics == {key: line[key] for key in figures}


def _as_file(image, folder):
    if isinstance(image, np.ndarray):
        return image
    path = folder / "image.jpg"
    path.write_bytes(image)
    return path


@pytest.mark.parametrize("name", RUNS)
def test_the_preprocessing_is_that_of_evaluation(name, tmp_path):
    data = open_data(RUNS[name])
    preprocessing = eval_preprocessing(data)
    for index in range(5):
        example = data.evaluation[index]
        pixels = preprocessing.resize(_as_file(example.image, tmp_path))
        expected = data.eval_transform(example, None)
        difference = np.abs(pixels.astype(int) - expected)
        # Bicubic filters of two libraries are clipped in different order.
        assert difference.max() <= (1 if name != "cropped" else 15) and difference.mean() < 0.4
        normalized = np.asarray(data.normalize(pixels[None])[0], np.float32)
        atol = 2e-2 if normalized.dtype != np.float32 or "bfloat16" in name else 2e-6
        np.testing.assert_allclose(preprocessing.normalize(pixels), normalized, atol=atol)


def test_options_that_no_file_can_hold_are_told(tmp_path, capsys, quick_compilation):
    config = config_of("resnet18", "synthetic:examples=20", block=resnet.BasicBlock)
    config.data.image_size = 32
    data = open_data(config)
    ModelFile(tmp_path, config, data).write(None, {})
    assert "does not write model.safetensors: the override block=" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_finished_run_of_version_0_1_gets_its_file(tmp_path, capsys):
    config = RUNS["EMA"]
    train_and_evaluate(config, tmp_path)
    before = zoo.load(tmp_path).variables
    (tmp_path / "model.safetensors").unlink()
    train_and_evaluate(config, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, zoo.load(tmp_path).variables, before)
    assert "is complete at step 4" in capsys.readouterr().out


def test_photographs_are_turned_as_in_training(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (40, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("train/a/1.jpg", "validation/a/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    config = config_of("resnet20_cifar", f"folder:{tmp_path}")
    for config.data.exif_orientation in (False, True):
        data = open_data(config)
        preprocessing = eval_preprocessing(data)
        assert preprocessing.exif_orientation is config.data.exif_orientation
        expected = data.eval_transform(data.evaluation[0], None).astype(int)
        difference = np.abs(preprocessing.resize(tmp_path / "validation/a/1.jpg") - expected)
        assert difference.max() <= 1
