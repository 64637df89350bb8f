"""Mixup and cutmix are equal to timm's and torchvision's, and know no devices."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.augment.mixing import (
    Draws,
    Mixing,
    cutmix_box,
    mix,
    one_hot_targets,
    partners,
    uncut_share,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


def cases_of(key: str):
    def cases(folder: Path) -> dict:
        return {case.get("id", str(n)): case for n, case in enumerate(read(folder).get(key, []))}

    return cases


def read(folder: Path) -> dict:
    path = folder / "mixing.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def drawn(case: dict, batch: int) -> Draws:
    """The draws of a golden, for each image."""
    lam = case.get("lam", case.get("lam_adjusted"))
    cutmix = np.array(case.get("use_cutmix", case["kind"] == "cutmix"))
    boxes = np.zeros((len(lam) if isinstance(lam, list) else 1, 4), np.int32)
    sides = ("top", "bottom", "left", "right")
    if "box" in case:
        boxes[0] = [case["box"][side] for side in sides]
    if "boxes_top_bottom_left_right_lam" in case:
        given = case["boxes_top_bottom_left_right_lam"]  # none where lambda is 1
        for row, box in zip(np.flatnonzero(cutmix & (np.array(lam) < 1)), given, strict=True):
            boxes[row] = box[:4]
        cutmix &= np.array(lam) < 1
    each = [np.array(lam).reshape(-1), cutmix.reshape(-1), boxes]
    if case.get("mode") == "pair":
        each = [np.concatenate([values, values[::-1]]) for values in each]
    repeats = batch // len(each[0])
    return Draws(*(jnp.asarray(np.repeat(values, repeats, axis=0)) for values in each))


@pytest.mark.quick
@pytest.mark.recipe_goldens(case=cases_of("cases"))
def test_a_mixture_is_the_golden(case, recipe_goldens):
    given = read(recipe_goldens)["input"]
    images = eval(given["images"], {"RandomState": np.random.RandomState, "float32": np.float32})
    labels = jnp.asarray(given["labels"])
    targets = one_hot_targets(labels, given["num_classes"], case.get("smoothing", 0.0))
    draws = drawn(case, len(images))
    mixed, mixed_targets = mix(
        jnp.asarray(images),
        targets,
        draws,
        convention=case["convention"],
        correct_lam=case.get("correct_lam", True),
    )
    expected = np.load(recipe_goldens / "mixing.npz")
    np.testing.assert_allclose(mixed, expected[case["id"] + ":images"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        mixed_targets, expected[case["id"] + ":targets"], rtol=1e-6, atol=1e-6
    )


@pytest.mark.quick
@pytest.mark.recipe_goldens(case=cases_of("cutmix_boxes"))
def test_a_box_is_the_golden(case):
    height, width = case["height"], case["width"]
    for convention in ("timm", "torchvision"):
        expected = case[convention]
        with jax.enable_x64(True):  # as those programs draw lambda
            box = cutmix_box(
                *(height, width, np.float64(case["lam"]), case["centre_y"], case["centre_x"]),
                convention,
            )
        assert box.tolist() == [expected[side] for side in ("top", "bottom", "left", "right")]
        assert uncut_share(box, height, width) == pytest.approx(expected["lam_used"], rel=1e-6)


def batch_of(size: int) -> tuple[jax.Array, jax.Array]:
    images = jax.random.normal(jax.random.key(1), (size, 6, 5, 3))
    return images, jnp.arange(size) % 7


SETTINGS = {"num_classes": 7, "mixup": 0.8, "cutmix": 1.0, "smoothing": 0.1}


@pytest.mark.parametrize(
    "mode", ["batch", *(pytest.param(mode, marks=pytest.mark.full) for mode in ("pair", "elem"))]
)
def test_a_group_is_mixed_like_a_batch_of_its_own_images(mode):
    """Whatever the batch: partners are of the group, and so is what is drawn for it."""
    images, labels = batch_of(12)
    mixing = jax.jit(Mixing(**SETTINGS, mode=mode, group=4))
    mixed, targets = mixing(jax.random.key(3), images, labels)
    for others in (slice(4, 12), slice(8, 12)):
        changed = images.at[others].add(1.0)
        again, again_targets = mixing(jax.random.key(3), changed, labels.at[others].set(0))
        kept = slice(0, others.start)
        np.testing.assert_array_equal(again[kept], mixed[kept])
        np.testing.assert_array_equal(again_targets[kept], targets[kept])


@pytest.mark.full
def test_how_often_and_how_much():
    mixing = Mixing(
        10, mixup=1.0, cutmix=1.0, switch_probability=0.25, probability=0.8, mode="elem"
    )
    draw = jax.jit(Mixing.draw, static_argnums=(0, 2, 3))
    draws = draw(mixing, jax.random.key(0), 20_000, (32, 32))
    mixed = draws.lam < 1
    assert mixed.mean() == pytest.approx(0.8, abs=0.02)
    assert draws.cutmix.mean() == pytest.approx(0.25, abs=0.02)
    assert draws.lam[mixed].mean() == pytest.approx(0.5, abs=0.02)  # Beta(1, 1)
    assert draws.lam[mixed].var() == pytest.approx(1 / 12, abs=0.005)
    sure = draw(Mixing(10, cutmix=1.0), jax.random.key(0), 6, (32, 32))
    assert (
        sure.cutmix.all()
        and (sure.lam == sure.lam[0]).all()
        and (sure.boxes == sure.boxes[:1]).all()
    )


@pytest.mark.full
def test_one_draw_for_each_batch_pair_or_element():
    counts, settings = {}, {"num_classes": 7, "mixup": 0.8}
    for mode in ("batch", "pair", "elem"):
        mixing = Mixing(**settings, mode=mode, group=6)
        draw = jax.jit(lambda key, mixing=mixing: mixing.draw(key, 12, (8, 8)).lam)
        lam = draw(jax.random.key(5))
        counts[mode] = len(np.unique(lam))
        if mode == "pair":
            np.testing.assert_array_equal(lam, partners(lam, group=6))
    assert counts == {"batch": 2, "pair": 6, "elem": 12}


@pytest.mark.quick
def test_switched_off_there_are_smoothed_labels_left():
    images, labels = batch_of(6)
    mixing = jax.jit(Mixing(**SETTINGS))
    mixed, targets = mixing(jax.random.key(0), images, labels, on=False)
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_allclose(targets, one_hot_targets(labels, 7, 0.1), rtol=1e-6)


@pytest.mark.quick
def test_partners():
    values = jnp.arange(6)
    assert partners(values).tolist() == [5, 4, 3, 2, 1, 0]
    assert partners(values, group=3).tolist() == [2, 1, 0, 5, 4, 3]
    assert partners(values, convention="torchvision", group=3).tolist() == [2, 0, 1, 5, 3, 4]


@pytest.mark.quick
def test_what_cannot_be_is_told():
    with pytest.raises(ValueError, match="choose one of timm, deit, torchvision"):
        Mixing(10, convention="keras")
    with pytest.raises(ValueError, match="even number of images"):
        Mixing(10, mode="pair", group=3)
    with pytest.raises(ValueError, match="groups of 4"):
        Mixing(10, mixup=1.0, group=4).draw(jax.random.key(0), 6, (8, 8))
