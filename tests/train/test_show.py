"""The contact sheet shows what training is given; other representations reach the model."""

import jax
import numpy as np
import pytest
from PIL import Image

from configs import base
from input_pipeline import show
from input_pipeline.example import DataError
from train import build
from train import show as program
from train.data import open_data
from train.durations import Intervals
from train.errors import TrainError
from train.model_file import eval_preprocessing
from train.sharding import make_mesh
from train.step import init_state

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture
def config():
    config = base.get_config()
    config.model.name, config.batch_size = "lenet5", 8
    config.data.name = "synthetic:size=28,channels=1"
    return config


def negative(key, images):
    return 255 - images


def test_a_row_is_an_image_and_its_draws(config):
    config.augment.operations = (negative,)
    rows = program.pictures(config, open_data(config), images=3, draws=2)
    assert [len(row) for row in rows] == [3, 3, 3] and rows[0][0].shape == (32, 32, 1)
    for original, *draws in rows:
        assert original.std() > 20
        for draw in draws:
            np.testing.assert_array_equal(draw, 255 - original)
    assert any((rows[0][0] != row[0]).any() for row in rows)


def test_draws_differ_and_the_sheet_holds_all(config, tmp_path):
    config.augment.crop, config.augment.padding = "padded", 3
    config.mix.mixup = 0.8
    rows = program.pictures(config, open_data(config), images=2, draws=3)
    assert len({picture.tobytes() for picture in rows[0][1:]}) > 1
    show.save(rows, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 96 + 4, 4 * 100 + 8, 3)  # each picture three times as large
    np.testing.assert_array_equal(sheet[100:196:3, 112:208:3, :1], rows[1][1])


def test_another_representation_is_the_models_input_in_training_and_evaluation(config):
    config.augment.representation = "rgb+fourier_magnitude"
    data = open_data(config)
    images = np.stack([data.eval_transform(data.train[n], None) for n in range(4)])
    normalized = np.asarray(data.normalize(images))
    assert normalized.shape == (4, 32, 32, 2)
    np.testing.assert_array_equal(data.augment(jax.random.key(0), images), normalized)
    task = build.make_task(config, data, Intervals.from_config(config, 40), make_mesh(1, 1))
    kernel = jax.eval_shape(lambda: init_state(task)).params["conv1"]["kernel"]
    assert kernel.shape[2] == 2
    of_file = eval_preprocessing(data)  # what zoo.load gives later
    assert of_file.input_channels == 2
    np.testing.assert_allclose(of_file.normalize(images), normalized, atol=1e-4)


def test_a_representation_that_the_images_do_not_have_is_an_error(config):
    config.augment.representation = "hsv"
    with pytest.raises(TrainError, match="hsv is made of 3 channels, not of 1"):
        open_data(config)


def test_where_no_picture_can_be_written_none_is_made(tmp_path):
    show.check(tmp_path / "sheet.jpg")
    with pytest.raises(DataError, match=r"sheet\.txt: a picture ends in \.png"):
        show.check(tmp_path / "sheet.txt")
    with pytest.raises(DataError, match="there is no folder"):
        show.check(tmp_path / "no" / "sheet.png")
