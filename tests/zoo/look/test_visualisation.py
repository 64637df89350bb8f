"""Feature visualisation equals the references step by step, in float64: goldens."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import looking
import numpy as np
import pytest

import zoo
from zoo.look import attribution, fourier, objectives, robustness
from zoo.look.program import Program
from zoo.look.visualisation import visualise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(images):
    mean, std = (jnp.asarray(x, images.dtype)[None, None, None] for x in (MEAN, STD))
    return (images - mean) / std


def fourier_cases(folder: Path) -> dict[str, dict]:
    file = folder / "fourier_image.json"
    cases = json.loads(file.read_text())["cases"] if file.exists() else []
    return {f"{n}-{case['height']}x{case['width']}": case for n, case in enumerate(cases)}


def cases(folder: Path) -> dict[str, dict]:
    return looking.records(folder, "featurevis")


@pytest.mark.look_goldens(case=fourier_cases)
def test_images_of_spectra(case):
    spectrum = 0.01 * np.random.RandomState(2).standard_normal(case["spectrum_shape"])
    image = fourier.FourierImage(case["height"], case["width"])
    assert image.shape == tuple(case["spectrum_shape"][-2:])
    looking.assert_equals(image.scale(), case["scale"])
    with jax.enable_x64(True):
        looking.assert_equals(image.render(jnp.asarray(spectrum)), case["rgb"])


def objective(record: dict, name: str) -> objectives.Objective:
    stage, channel, target = record["stage"], record["channel"], record["class"]
    return {
        "neuron": lambda: objectives.neuron(stage, channel),
        "channel": lambda: objectives.channel(stage, channel),
        "deepdream": lambda: objectives.deep_dream(stage),
        "logit": lambda: objectives.logit(target),
        "probability": lambda: objectives.probability(target, record["logit_std"]),
    }[name]()


@pytest.mark.full
@pytest.mark.look_goldens(record=cases)
def test_objectives_and_their_gradients(record):
    with jax.enable_x64(True):
        model, variables = looking.network(record["model"])
        images = looking.images(record["image_size"])
        for name, golden in record["objectives"].items():
            wanted = objective(record, name)
            program = Program(model, variables, images, wanted.at)
            total = lambda x: wanted.of(*program(variables, x)).sum()  # noqa: B023, E731
            value, gradient = jax.jit(jax.value_and_grad(total))(images)
            assert value == pytest.approx(golden["value"], rel=1e-9), name
            looking.assert_equals(gradient, golden["gradient"])


@pytest.mark.full
@pytest.mark.look_goldens(record=cases)
def test_climbs_step_by_step(record):
    size = record["image_size"]
    image = fourier.FourierImage(size, size)
    with jax.enable_x64(True):
        model, variables = looking.network(record["model"])
        noise = np.random.RandomState(2).standard_normal((2, 1, 3, *image.shape))
        start = jnp.asarray(0.01 * noise)
        for name, golden in record["climb"].items():
            values = np.asarray(golden["values"])  # before each step, and after the last
            found = visualise(
                *(model, variables, objective(record, name), image, start),
                normalise=normalise,
                steps=len(values) - 1,
                redirected=0,
            )
            np.testing.assert_allclose(found.values[:, 0], values, rtol=1e-6, atol=1e-9)
            looking.assert_equals(found.images, golden["rgb"])


@pytest.mark.full
@pytest.mark.look_goldens(record=cases)
def test_effective_fields(record):
    with jax.enable_x64(True):
        model, variables = looking.network(record["model"])
        images = looking.images(record["image_size"])
        field = np.asarray(attribution.effective_field(model, variables, images, record["stage"]))
    golden = record["effective_field"]
    looking.assert_equals(field, golden)
    assert (field > 0.0455 * field.max()).sum() == golden["pixels_over_4.55_percent"]


@pytest.fixture(scope="module")
def small():
    model = zoo.create("lenet5")
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def climb(small, wanted, seed=0, **options):
    image = fourier.FourierImage(32, 32)
    start = image.init(jax.random.key(seed), 2)
    options = dict(normalise=normalise, key=jax.random.key(7), steps=12) | options
    return visualise(*small, wanted, image, start, **options)


def test_the_same_key_gives_the_same_pictures(small, quick_compilation):
    wanted = objectives.channel("stage2", 3) - 0.5 * objectives.logit(1)
    options = dict(transform=robustness.standard)
    first, again = (climb(small, wanted, **options) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.allclose(*first.images)  # of two starts
    assert first.images.shape == (2, 32, 32, 3) and first.values.shape == (13, 2)
    assert (first.values[-1] > first.values[0]).all()


def test_a_unit_that_is_dead_at_the_start_is_reached(small, quick_compilation):
    """Without another rule at ReLUs nothing would ever change."""
    model, variables = small
    params = dict(variables["params"])
    params["conv1"] = {**params["conv1"], "bias": params["conv1"]["bias"] - 20}
    dead = model, {**variables, "params": params}
    wanted = objectives.neuron("stage1", 3)
    plain = climb(dead, wanted, redirected=0)
    assert (plain.values == 0).all()
    reached = climb(dead, wanted, redirected=60, steps=60, learning_rate=1.0)
    assert (reached.images != plain.images).any()


@pytest.mark.full
def test_magnitudes_stay_those_of_photographs(small, quick_compilation):
    photographs = np.random.RandomState(5).uniform(size=(6, 32, 32, 3)).cumsum(1) / 32
    image = fourier.MacoImage(fourier.mean_magnitude(photographs), 32)
    found = visualise(
        *(*small, objectives.logit(3), image, image.init(jax.random.key(0), 1)),
        normalise=normalise,
        key=jax.random.key(1),
        transform=robustness.random_crops(4, 32),
        steps=3,
        learning_rate=1.0,
    )
    assert found.values.shape == (4, 1) and found.importance.shape == (1, 32, 32)
    assert (found.importance > 0).any() and found.images.min() >= 0 and found.images.max() <= 1


def test_transformations(quick_compilation):
    images = jnp.asarray(np.random.RandomState(0).uniform(size=(2, 40, 48, 3)), jnp.float32)
    resampled = jax.jit(robustness._resampled)
    still = resampled(images, jnp.zeros(2), jnp.zeros(()), jnp.ones(()))
    np.testing.assert_allclose(still, images, atol=1e-6)
    moved = resampled(images, jnp.array([3.0, -2.0]), jnp.zeros(()), jnp.ones(()))
    np.testing.assert_allclose(moved[:, 3:, :-2], images[:, :-3, 2:], atol=1e-6)
    np.testing.assert_allclose(moved[:, :3], 0.5, atol=1e-6)
    turned = resampled(images[:, :40, :40], *map(jnp.asarray, ([0.0, 0.0], jnp.pi / 2, 1.0)))
    np.testing.assert_allclose(turned, jnp.rot90(images[:, :40, :40], -1, (1, 2)), atol=1e-4)
    both = robustness.compose([robustness.jitter(8), robustness.standard])
    assert both(jax.random.key(3), images).shape == (2, 32, 40, 3)


def test_objectives_add_up():
    logits = jnp.arange(6.0).reshape(2, 3)
    outputs = {"a": jnp.arange(16.0).reshape(2, 2, 2, 2), "b": jnp.ones((2, 4))}
    a, b = objectives.channel("a", 1), objectives.neuron("b", 2)
    both = 2 * a - b
    assert both.at == ("a", "b")
    np.testing.assert_allclose(both.of(logits, outputs), 2 * a.of(logits, outputs) - 1)
    np.testing.assert_allclose(a.of(logits, outputs), [4, 12])
    assert objectives.neuron("a", 0, (0, 1)).of(logits, outputs).tolist() == [2, 10]
    alike = objectives.diversity("b").of(logits, outputs)
    np.testing.assert_allclose(alike, [-1, -1], rtol=1e-6)
    along = objectives.direction("a", jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(along.of(logits, outputs), a.of(logits, outputs))
    np.testing.assert_allclose(objectives.inversion("a", outputs["a"][0]).of(logits, outputs)[0], 0)


def test_a_transformation_needs_a_key(small):
    with pytest.raises(ValueError, match="give a key"):
        climb(small, objectives.logit(0), transform=robustness.standard, key=None)
