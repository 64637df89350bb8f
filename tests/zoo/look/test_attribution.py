"""Attributions equal those of public references, in float64: goldens."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import looking
import numpy as np
import pytest

import zoo
from zoo.look import attribution

# In the default run; the others behind `-m full`.
QUICK = ("squeezenet1_1-guided_backprop", "squeezenet1_1-gradcam_stage3")


def cases(folder: Path) -> dict[str, tuple]:
    """Record and key of each result."""
    return {
        f"{name}-{key}": (record, key)
        for name, record in looking.records(folder, "attribution").items()
        for key in record["results"]
    }


def some(folder: Path) -> dict[str, tuple]:
    found = cases(folder)
    return {name: found[name] for name in QUICK if name in found}


def others(folder: Path) -> dict[str, tuple]:
    return {name: case for name, case in cases(folder).items() if name not in QUICK}


SIMPLE = ("gradient", "saliency", "guided_backprop", "deconvnet")


def computed(record: dict, key: str):
    model, variables = looking.network(record["model"])
    images, targets = looking.images(record["image_size"]), jnp.asarray(record["targets"])
    case = model, variables, images, targets
    if key in SIMPLE:
        return jax.jit(getattr(attribution, key), static_argnums=0)(*case)
    if key == "logits_at_targets":
        return model.apply(variables, images)[jnp.arange(2), targets]
    if found := re.fullmatch(r"integrated_gradients_(gausslegendre|middle)_(\d+)", key):
        rule = found[1].replace("gaussl", "gauss_l")
        return attribution.integrated_gradients(*case, steps=int(found[2]), rule=rule).values
    if found := re.fullmatch(r"smoothgrad_(\d+)_([\d.]+)", key):
        noise = np.random.RandomState(1).standard_normal((int(found[1]), *images.shape))
        return attribution.smooth_grad(*case, jnp.asarray(float(found[2]) * noise))
    if found := re.fullmatch(r"occlusion_(\d+)_(\d+)", key):
        return attribution.occlusion(*case, window=int(found[1]), stride=int(found[2]))
    if found := re.fullmatch(r"scorecam_(\w+?)(_scores)?", key):
        return getattr(attribution.score_cam(*case, found[1]), "scores" if found[2] else "map")
    if found := re.fullmatch(r"(gradcam_plus_plus|gradcam|layercam)_(\w+)", key):
        names = dict(gradcam="grad_cam", layercam="layer_cam")
        function = names.get(found[1], "grad_cam_plus_plus")
        return getattr(attribution, function)(*case, found[2])
    if key == "gradient_probability_scaled":
        spread = np.std(np.asarray(model.apply(variables, images)), ddof=1)
        score = lambda logits, k: attribution.logit(jax.nn.softmax(logits / spread), k)  # noqa: E731
        return attribution.gradient(*case, score=score)
    rules = "deconvnet|guided_backprop|gradient"
    of_unit = rf"(?:({rules})_of_)?(\w+?)_channel(\d+)(?:_(position|value))?"
    if found := re.fullmatch(of_unit, key):
        unit = attribution.unit_picture(
            *(model, variables, images, found[2], int(found[3])), rule=found[1] or "gradient"
        )
        return getattr(unit, found[4] or "picture")
    return None


def check(record: dict, key: str) -> None:
    with jax.enable_x64(True):
        found = computed(record, key)
    assert found is not None, f"{key} is not known"
    looking.assert_equals(found, record["results"][key])


@pytest.mark.look_goldens(case=some)
def test_equals_the_reference(case):
    check(*case)


@pytest.mark.full
@pytest.mark.look_goldens(case=others)
def test_all_equal_the_reference(case):
    check(*case)


@pytest.fixture(scope="module")
def small():
    """A ResNet for CIFAR of eight layers, which ends in a global mean, and two images."""
    model = zoo.create("resnet20_cifar", depth=8)
    images = jnp.asarray(np.random.RandomState(3).standard_normal((2, 16, 16, 3)), jnp.float32)
    return model, jax.jit(model.init)(jax.random.key(0), images), images, jnp.array([2, 7])


def test_grad_cam_is_the_class_activation_map(small, quick_compilation):
    """Zhou et al. 2016: the mean of the map, times the number of positions, is the logit."""
    model, variables, images, targets = small
    grad_cam = jax.jit(functools.partial(attribution.grad_cam, model, at="stage3"))
    heat = grad_cam(variables, images, targets)
    logits = attribution.logit(jax.jit(model.apply)(variables, images), targets)
    bias = variables["params"]["head"]["bias"][targets]
    np.testing.assert_allclose(heat.sum((1, 2)), logits - bias, rtol=1e-4)


def test_integrated_gradients_add_up(small, quick_compilation):
    model, variables, images, targets = small
    found = attribution.integrated_gradients(model, variables, images, targets, steps=50)
    logits = [model.apply(variables, x) for x in (images, images * 0)]
    difference = attribution.logit(logits[0] - logits[1], targets)
    sums = found.values.sum((1, 2, 3))
    np.testing.assert_allclose(sums + found.gap, difference, rtol=1e-4)
    assert (abs(found.gap) < 0.05 * abs(difference) + 0.01).all()


def test_all_of_it_works_under_jit(small, quick_compilation):
    model, variables, images, targets = small

    @jax.jit
    def both(variables, images):
        heat = attribution.layer_cam(model, variables, images, targets, "stage2")
        unit = attribution.unit_picture(model, variables, images, "stage2", 3)
        return heat, unit.picture

    heat, picture = both(variables, images)
    assert heat.shape == (2, 8, 8) and picture.shape == images.shape
    expected = attribution.layer_cam(model, variables, images, targets, "stage2")
    np.testing.assert_allclose(heat, expected, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_is_told(small):
    with pytest.raises(ValueError, match="windows of 2 pixels leave pixels uncovered"):
        attribution.occlusion(*small, window=2, stride=3)
    with pytest.raises(ValueError, match='"gauss_legendre" or "middle"'):
        attribution.integrated_gradients(*small, rule="left")
    with pytest.raises(ValueError, match="has no output stage9; it has .*stage1"):
        attribution.grad_cam(*small, "stage9")
    with pytest.raises(ValueError, match="embedding of ResNetCifar is no map"):
        attribution.grad_cam(*small, "embedding")
    with pytest.raises(ValueError, match="rule='relu' is not known"):
        attribution.unit_picture(*small[:3], "stage1", 0, rule="relu")
    model = zoo.create("convnext_tiny", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))
    images = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    for function in (attribution.guided_backprop, attribution.deconvnet):
        with pytest.raises(ValueError, match="ConvNeXt has no ReLU, so this would be the plain"):
            jax.eval_shape(lambda v, f=function: f(model, v, images, jnp.array([0])), variables)
