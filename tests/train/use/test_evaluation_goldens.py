"""Protocols of evaluation equal those of public references, on weights that anyone can make."""

import dataclasses
import functools
import json
import re
import zlib
from pathlib import Path

import goldens
import numpy as np
import pytest

import zoo
from train.use import views
from train.use.evaluation import Classifier, Protocol, probabilities
from zoo.weights.pretrained import PretrainedModel

pytestmark = [pytest.mark.usefixtures("quick_compilation")]


def entries(folder: Path) -> dict:
    path = folder / "evaluation.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def with_entry(*names: str):
    """The whole file where it has all entries of these names."""

    def cases(folder: Path) -> dict[str, dict]:
        found = entries(folder)
        return {"evaluation": found} if found.keys() >= set(names) else {}

    return cases


@functools.lru_cache(maxsize=2)
def trained(name: str, scales: tuple[tuple[str, float], ...] = (), prefix: str = ""):
    """A model with the weights of the rule, whose names get a prefix before they are filled."""
    tensors = {
        key: (goldens.fill(prefix + key, shape) * dict(scales).get(key, 1)).astype(np.float32)
        for key, shape in goldens.load(name)["state_dict"]
    }
    variables, info = zoo.load_torch(name, tensors), zoo.info(name)
    return PretrainedModel(zoo.create(name), variables, info, zoo.preprocess(info))


def resnet(golden: dict, name: str, prefix: str = "") -> PretrainedModel:
    return trained(name, tuple(golden.get(f"{name}_fill_scale", {}).items()), prefix)


def image(rule: dict) -> np.ndarray:
    """The image of `image_rule`, uint8 [H, W, 3]."""

    def wave(t):
        return abs(t % 510 - 255)

    y, x = np.mgrid[: rule["height"], : rule["width"]]
    a, b = rule["a"], rule["b"]
    made = [
        (wave(a * x + (c + 1) * b * y) + wave(x * y // (29 + 7 * c) + 90 * c)) // 2
        for c in range(3)
    ]
    pixels = np.stack(made, -1).astype(np.uint8)
    if "crc32" in rule:
        assert f"{zlib.crc32(pixels.tobytes()):08x}" == rule["crc32"]
    return pixels


def assert_equal(found: np.ndarray, golden: dict) -> None:
    """Logits and logarithms to 1e-4 of their deviation, probabilities to 1e-5."""
    is_probability = found.min() >= 0 and abs(found.sum() - 1) < 1e-6
    tolerance = 1e-5 if is_probability else 1e-4 * golden["std"]
    np.testing.assert_allclose(found[:8], golden["first8"], rtol=0, atol=tolerance)
    assert found.mean() == pytest.approx(golden["mean"], abs=tolerance)
    assert found.std() == pytest.approx(golden["std"], abs=tolerance)
    assert np.argsort(-found, kind="stable")[:5].tolist() == golden["top5"]


def assert_averages(member: Classifier, shown: list, golden: dict) -> np.ndarray:
    """Compares the averages of logits, probabilities and their logarithms; returns all logits."""
    assert member.protocol.average == "logits"
    logits = member.scores([[view] for view in shown])
    assert_equal(member.scores([shown])[0], golden["mean_of_logits"])
    assert_equal(np.exp(views.average(logits)), golden["mean_of_probabilities"])
    mean = views.average(logits, "log_probabilities")
    assert_equal(mean, golden["mean_of_log_probabilities"])
    tolerance = 1e-4 * golden["mean_of_logits"]["std"]
    if "logits_first4_of_each" in golden:
        first4 = golden["logits_first4_of_each"]
        np.testing.assert_allclose(logits[:, :4], first4, rtol=0, atol=tolerance)
    return logits


@pytest.mark.recipe_goldens(golden=with_entry("ten_crop"))
def test_ten_crops(golden):
    rule = golden["ten_crop"]
    model, size = resnet(golden, rule["model"]), rule["size"]
    assert model.preprocessing.image_size == size
    pixels = image(rule["image"])
    member = Classifier(model, Protocol("ten_crop", average="logits"))
    shown = member.decode(pixels)
    for (top, left), view in zip(rule["boxes_top_left"], shown[:5], strict=True):
        assert (view == pixels[top : top + size, left : left + size]).all()
    logits = assert_averages(member, shown, rule)
    if "single_crop" in golden:
        assert_equal(logits[4], golden["single_crop"]["logits"])
    center = Classifier(model, Protocol())
    (view,) = center.decode(pixels)
    assert (view == shown[4]).all()


@pytest.mark.full
@pytest.mark.recipe_goldens(golden=with_entry("ten_crop", "ten_crop_alexnet"))
def test_ten_crops_of_the_central_square(golden):
    pixels = image(golden["ten_crop"]["image"])
    model = resnet(golden, golden["ten_crop_alexnet"]["model"])
    member = Classifier(model, Protocol("ten_crop_square", average="logits"))
    assert_averages(member, member.decode(pixels), golden["ten_crop_alexnet"])


@pytest.mark.full
@pytest.mark.recipe_goldens(golden=with_entry("ten_crop", "flip"))
def test_the_central_square_and_its_mirror(golden):
    pixels, model = image(golden["ten_crop"]["image"]), resnet(golden, golden["flip"]["model"])
    side = min(pixels.shape[:2])  # the whole square is shown
    preprocessing = dataclasses.replace(model.preprocessing, image_size=side, crop=1.0)
    model = dataclasses.replace(model, preprocessing=preprocessing)
    member = Classifier(model, Protocol("flip", average="logits"))
    assert_averages(member, member.decode(pixels), golden["flip"])


@pytest.mark.full
@pytest.mark.recipe_goldens(golden=with_entry("multi_scale_dense"))
def test_whole_images_at_several_scales(golden):
    rule = golden["multi_scale_dense"]
    model, shown = resnet(golden, rule["model"]), []
    for of_scale in rule["images"]:  # which are drawn at each scale, not resized
        scale = (min(of_scale["height"], of_scale["width"]),)
        member = Classifier(model, Protocol("dense", scale, "logits"))
        shown += member.decode(image(of_scale))
    assert_averages(member, shown, rule)


@pytest.mark.full
@pytest.mark.recipe_goldens(golden=with_entry("ten_crop", "ensemble"))
def test_an_ensemble(golden):
    pixels, rule = image(golden["ten_crop"]["image"]), golden["ensemble"]
    name, prefix = re.search(r"^(\w+) by the rule, .* prefix '(.*?)'", rule["models"]).groups()
    first, second = (
        Classifier(resnet(golden, name, before), Protocol("ten_crop")) for before in ("", prefix)
    )
    shown = [first.decode(pixels)] * 2
    assert_equal(second.probabilities(shown[:1])[0], rule["second_alone"])
    equal = probabilities([(first, 1.0), (second, 1.0)], [shown])
    assert_equal(equal[0], rule["equal_weights"])
    members = list(zip((first, second), rule["weights"], strict=True))
    assert_equal(probabilities(members, [shown])[0], rule["weighted"])


def boxes(folder: Path) -> dict[str, dict]:
    found = entries(folder).get("googlenet_144_views", {}).get("views", [])
    return {f"{'x'.join(map(str, case['image']))}-{case['scale']}": case for case in found}


@pytest.mark.recipe_goldens(case=boxes)
def test_the_views_of_googlenet(case):
    """Each pixel says where it is, so that a crop says where it was taken."""
    height, width = case["image"]
    model = dataclasses.replace(zoo.preprocess("googlenet"), mean=(0.0,), std=(1.0,))
    every = views.shown(np.zeros((height, width, 3), np.uint8), model, "googlenet_144")
    assert [view.shape for view in every] == [(224, 224, 3)] * 144
    one = views.shown(np.zeros((height, width, 3), np.uint8), model, "dense", (case["scale"],))
    assert list(one[0].shape[:2]) == case["resized"]
    rows, columns = np.mgrid[: case["resized"][0], : case["resized"][1]]
    pixels = np.stack([rows % 256, columns % 256, rows // 256 + 2 * (columns // 256)], -1)
    shown = views.googlenet_views(pixels.astype(np.uint8), 224)
    assert len(shown) == 36
    for number, corner in enumerate(case["squares_top_left"]):
        for crop, offset in zip(shown[6 * number :], case["crops_in_square"], strict=False):
            at = crop[0, 0].astype(int)
            found = [at[0] + 256 * (at[2] % 2), at[1] + 256 * (at[2] // 2)]
            assert found == np.add(corner, offset).tolist()
        top, left = corner
        square = pixels[top : top + case["scale"], left : left + case["scale"], :1]
        resized = shown[6 * number + 5][..., 0].astype(int)
        assert abs(resized[112, 112] - square[case["scale"] // 2, 0, 0]) <= 2
    for crop, mirror in zip(shown[:18], shown[18:], strict=True):
        assert (crop == mirror[:, ::-1]).all()


@pytest.mark.full
@pytest.mark.recipe_goldens(golden=with_entry("vgg_dense"))
def test_vgg_slides_over_the_image(golden):
    rule = golden["vgg_dense"]
    name = rule["model"].split()[0]
    model = trained(name)
    for case in (rule[size] for size in rule if re.fullmatch(r"\d+x\d+", size)):
        pixels = image(case["image"])
        scale = (min(pixels.shape[:2]),)
        member = Classifier(model, Protocol("dense", scale))
        shown = member.decode(pixels)
        sliding = zoo.create(name, fully_convolutional=True)
        logits = sliding.apply(model.variables, member.preprocessing.normalize(shown[0][None]))
        assert list(logits.shape[1:3]) == case["map"]
        first4 = np.moveaxis(np.asarray(logits[0]), -1, 0)[:4]
        tolerance = 1e-4 * case["spatial_mean_of_logits"]["std"]
        np.testing.assert_allclose(
            first4, case["map_first4_classes_unmirrored"], rtol=0, atol=tolerance
        )
        of_logits = Classifier(model, Protocol("dense", scale, "logits"))
        for view, name in zip(shown, ("", "_mirrored"), strict=True):
            assert_equal(of_logits.scores([[view]])[0], case[f"spatial_mean_of_logits{name}"])
        assert_equal(member.probabilities([shown])[0], case["simonyan"])
        positions = Protocol("dense", scale, positions="probabilities")
        found = Classifier(model, positions).probabilities([shown])[0]
        assert_equal(found, case["spatial_mean_of_probabilities"])


@pytest.mark.full
@pytest.mark.recipe_goldens(golden=with_entry("vgg_dense"))
def test_vgg_as_a_classifier(golden):
    rule = golden["vgg_dense"]
    model = trained(rule["model"].split()[0])
    case = rule["224_as_classifier"]
    for protocol in (Protocol(average="logits"), Protocol("dense", (224,), "logits")):
        found = Classifier(model, protocol).scores([[image(case["image"])]])[0]
        assert_equal(found, case["logits"])
    other = rule["torchvision_forward_is_different"]
    height, width = other["image"]
    pixels = image(rule[f"{height}x{width}"]["image"])
    assert pixels.shape[:2] == (height, width)
    found = Classifier(model, Protocol(average="logits")).scores([[pixels]])[0]
    assert_equal(found, other["logits"])
