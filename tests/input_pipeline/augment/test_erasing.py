"""Random erasing: the goldens' boxes and sizes, and what is drawn."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import augment
from input_pipeline.augment.erasing import draw_boxes, erasing_size, random_erasing

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("quick_compilation")]


def read(folder: Path) -> dict:
    path = folder / "mixing.json"
    return json.loads(path.read_text()) if path.is_file() else {}


@pytest.mark.recipe_goldens
def test_sizes_are_the_goldens(recipe_goldens):
    for case in read(recipe_goldens).get("erasing_sizes", []):
        height, width = case["image_height"], case["image_width"]
        with jax.enable_x64(True):  # as those programs draw
            area, aspect = (jnp.float64(case[key]) for key in ("area", "aspect_h_over_w"))
            found = erasing_size(height, width, area, aspect)
        assert [int(value) for value in found] == [case["height"], case["width"], case["fits"]]


@pytest.mark.recipe_goldens
def test_boxes_are_the_goldens(recipe_goldens):
    goldens = read(recipe_goldens)
    known = {"RandomState": np.random.RandomState, "float32": np.float32}
    for case in goldens.get("erasing", []):
        images = eval(goldens["input"]["images"], known)
        expected = np.load(recipe_goldens / "mixing.npz")
        box = [case[side] for side in ("top", "left", "height", "width")]
        value = case["value"] * (images.shape[-1] // len(case["value"]))
        found = augment.erase(jnp.asarray(images), *box, jnp.asarray(value))
        np.testing.assert_array_equal(found, expected[f"{case['id']}:images"])


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(3), count)


def test_boxes_are_inside_and_have_the_drawn_area():
    draw = jax.jit(jax.vmap(lambda key: draw_boxes(key, 40, 60, count=3)))
    top, left, height, width = np.moveaxis(np.asarray(draw(keys(5000))), -1, 0)
    assert (top >= 0).all() and (top + height <= 40).all()
    assert (left >= 0).all() and (left + width <= 60).all()
    number = (height > 0).sum(1)
    assert np.bincount(number, minlength=4)[1:] == pytest.approx([5000 / 3] * 3, rel=0.1)
    alone = number == 1
    area = (height * width).sum(1)[alone] / 2400
    assert 0.015 < area.min() and area.max() < 0.35
    assert area.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)


def test_a_quarter_of_the_images_are_erased_by_noise():
    images = jnp.full((400, 16, 16, 3), 9.0)
    erase = jax.jit(random_erasing, static_argnums=2)
    result = np.asarray(erase(jax.random.key(0), images, 0.25))
    erased = (result != 9).any(axis=(1, 2, 3))
    assert erased.mean() == pytest.approx(0.25, abs=0.06)
    noise = result[result != 9]
    assert noise.mean() == pytest.approx(0, abs=0.05) and noise.std() == pytest.approx(1, abs=0.05)
    # Each image from its own key.
    again = erase(jax.random.split(jax.random.key(0), 400)[::-1], images, 0.25)
    np.testing.assert_array_equal(again[::-1], result)


@pytest.mark.parametrize("mode, colours", [("constant", 1), ("color", 1), ("pixel", 5)])
def test_modes(mode, colours):
    images = jnp.full((1, 12, 12, 3), 9.0, jnp.bfloat16)
    result = jax.jit(random_erasing, static_argnums=(2, 3))(jax.random.key(1), images, 1.0, mode)
    assert result.dtype == jnp.bfloat16
    box = np.asarray(result, np.float32)[(np.asarray(result) != 9).all(-1)]
    assert len(np.unique(box, axis=0)) >= colours
    assert (len(np.unique(box, axis=0)) == 1) == (mode != "pixel")
    assert (box == 0).all() == (mode == "constant")


def test_a_wrong_mode_is_told():
    with pytest.raises(ValueError, match="pixel, color, constant"):
        random_erasing(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), 1.0, "noise")
