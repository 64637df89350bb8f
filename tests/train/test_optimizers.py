import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import base
from train.durations import Intervals
from train.errors import TrainError
from train.levenberg_marquardt import diagonal_levenberg_marquardt
from train.optimizers import decay_mask, factories, make_optimizer
from train.schedule_free import averaged_parameters
from train.schedules import make_schedule

pytestmark = pytest.mark.quick

INTERVALS = Intervals(total=100, log=10, evaluate=10, checkpoint=10, steps_per_epoch=10)
PARAMS = {"conv": {"kernel": jnp.full((2,), 2.0), "bias": jnp.full((2,), 3.0)}}
NO_GRADIENT = jax.tree.map(jnp.zeros_like, PARAMS)


def rates(steps, **schedule):
    config = base.get_config()
    config.batch_size = 10
    config.schedule.update(schedule)
    made = make_schedule(config, INTERVALS)
    return [float(made(step)) for step in steps]


def test_steps_multiply_at_their_boundaries():
    got = rates(
        [0, 29, 30, 59, 60, 99],
        name="steps",
        boundaries=("3 epochs", "60 steps"),
        factors=(0.1, 0.5),
    )
    np.testing.assert_allclose(got, [0.1, 0.1, 0.01, 0.01, 0.005, 0.005], rtol=1e-6)


def test_warmup_then_linear_or_cosine_to_zero():
    linear = rates([0, 5, 10, 55, 100], name="linear", warmup="1 epoch")
    np.testing.assert_allclose(linear, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)
    cosine = rates([0, 5, 10, 55, 100], name="cosine", warmup="1 epoch")
    np.testing.assert_allclose(cosine, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)


def test_schedules_may_start_and_end_above_zero():
    for name in ("linear", "cosine"):
        ends = rates([0, 10, 100], name=name, warmup="1 epoch", start=0.01, end=0.02)
        np.testing.assert_allclose(ends, [0.01, 0.1, 0.02], atol=1e-7)


def test_boundaries_count_from_the_start_also_after_a_warmup():
    got = rates(
        [9, 29, 30], name="steps", warmup="1 epoch", boundaries=("30 steps",), factors=(0.1,)
    )
    np.testing.assert_allclose(got, [0.09, 0.1, 0.01], rtol=1e-5)


@pytest.mark.parametrize(
    "schedule", [{"name": "cosin"}, {"name": "steps", "boundaries": ("1 epoch",)}]
)
def test_bad_schedules_are_refused(schedule):
    with pytest.raises(TrainError):
        rates([0], **schedule)


def updates(gradients=NO_GRADIENT, **settings):
    config = base.get_config().optimizer
    with config.unlocked():
        config.update(settings)
    optimizer = make_optimizer(config, optax.constant_schedule(0.1))
    return optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)[0]["conv"]


def test_sgd_decays_by_l2_except_where_excluded():
    got = updates(weight_decay=0.5, weight_decay_exclude="bias$")
    np.testing.assert_allclose(got["kernel"], -0.1 * 0.5 * 2.0 * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(got["bias"], 0)


def test_adamw_decays_apart_from_the_gradient():
    got = updates(name="adamw", weight_decay=0.5, weight_decay_exclude="bias$")
    np.testing.assert_allclose(got["kernel"], -0.1 * 0.5 * 2.0 * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(got["bias"], 0)


def test_gradients_are_clipped_to_their_norm():
    gradients = jax.tree.map(lambda x: jnp.full_like(x, 5.0), PARAMS)  # norm 10
    got = updates(gradients, clip_norm=1.0)
    np.testing.assert_allclose(got["kernel"], -0.1 * 0.5 * np.ones(2), rtol=1e-5)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(TrainError, match="closest names are .*sgd"):
        updates(name="sdg")
    with pytest.raises(
        TrainError, match="momentun.*Its options are: momentum=None, nesterov=False"
    ):
        updates(options=ConfigDict({"momentun": 0.9}))


def test_diagonal_levenberg_marquardt_divides_by_the_mean_square():
    optimizer = diagonal_levenberg_marquardt(0.1, mu=0.02, memory=0.25)
    params, state = jnp.zeros(2), optimizer.init(jnp.zeros(2))
    gradients = np.random.RandomState(0).normal(size=(3, 2)) * [1, 10]
    for step, gradient in enumerate(gradients):  # the first few are a plain mean
        update, state = optimizer.update(jnp.asarray(gradient), state, params)
        curvature = (gradients[: step + 1] ** 2).mean(0)
        np.testing.assert_allclose(update, -0.1 * gradient / (0.02 + curvature), rtol=1e-5)


def test_what_has_one_axis_need_not_decay():
    got = updates(weight_decay=0.5, weight_decay_exclude_1d=True)  # all of PARAMS has one axis
    for update in got.values():
        np.testing.assert_allclose(update, 0)
    stacked = {"blocks": {"block1": {"scale": jnp.ones((3, 2)), "kernel": jnp.ones((3, 2, 2))}}}
    assert decay_mask("", True)(stacked) == {"blocks": {"block1": {"scale": False, "kernel": True}}}


def test_partials_and_contrib_are_known_and_optax_keeps_its_own():
    assert {"nadamw", "ademamix", "prodigy", "schedule_free_adamw", "sgd"} <= factories().keys()
    assert factories()["lamb"] is not optax.lamb
    for name in ("optax:lamb", "optax:nadam", "optax.contrib:muon"):
        assert jnp.shape(updates(name=name)["bias"]) == (2,)


@pytest.mark.parametrize("name", ["lamb", "lars", "novograd", "muon", "sgd"])
def test_stacked_blocks_are_updated_as_blocks(name):
    """Norms, units and matrices are those of each block (`model.options.scan`)."""
    random = np.random.RandomState(0)
    kernels, gradients = random.standard_normal((2, 3, 4, 5))  # of three blocks
    config = base.get_config().optimizer
    config.name, config.weight_decay = name, 0.1
    config.clip_agc = 0.1 if name == "sgd" else 0.0

    def first_update(params, gradients):
        optimizer = make_optimizer(config, optax.constant_schedule(0.1))
        params, gradients = jax.tree.map(jnp.asarray, (params, gradients))
        return optimizer.update(gradients, optimizer.init(params), params)[0]

    one = first_update(
        {f"block{i}": {"kernel": kernel} for i, kernel in enumerate(kernels)},
        {f"block{i}": {"kernel": gradient} for i, gradient in enumerate(gradients)},
    )
    stacked = first_update(
        {"blocks": {"block1": {"kernel": kernels}}}, {"blocks": {"block1": {"kernel": gradients}}}
    )
    for i, update in enumerate(stacked["blocks"]["block1"]["kernel"]):
        np.testing.assert_allclose(update, one[f"block{i}"]["kernel"], rtol=1e-4, atol=1e-6)


def test_muon_leaves_the_classifier_the_stem_and_vectors_to_adam():
    params = {
        "stem_conv": {"kernel": jnp.ones((3, 3, 1, 4))},
        "block1": {"kernel": jnp.ones((3, 3, 4, 8)), "bias": jnp.ones(8)},
        "head": {"kernel": jnp.ones((8, 2))},
    }
    random = np.random.RandomState(0)
    gradients = jax.tree.map(
        lambda x: jnp.asarray(random.standard_normal(x.shape), x.dtype), params
    )
    config = base.get_config().optimizer
    config.name = "muon"
    optimizer = make_optimizer(config, optax.constant_schedule(0.02))
    found, _ = optimizer.update(gradients, optimizer.init(params), params)
    for part, name in (("stem_conv", "kernel"), ("block1", "bias"), ("head", "kernel")):
        np.testing.assert_allclose(
            jnp.abs(found[part][name]), 0.02 * 0.015, rtol=1e-5
        )  # Adam's first
    matrix = found["block1"]["kernel"].reshape(36, 8)  # as the authors flatten convolutions
    singular = np.linalg.svd(matrix / 0.02, compute_uv=False)
    assert 0.6 < singular.min() and singular.max() < 1.3
    with pytest.raises(TrainError, match="adjust='x'"):
        updates(name="muon", options={"adjust": "x"})


def test_the_classifier_is_not_clipped_by_agc():
    params = {part: {"kernel": jnp.ones((2, 2))} for part in ("fc", "head")}
    config = base.get_config().optimizer
    config.clip_agc = 0.01
    optimizer = make_optimizer(config, optax.constant_schedule(1.0))
    found, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(found["head"]["kernel"], -1)
    np.testing.assert_allclose(found["fc"]["kernel"], -0.01, rtol=1e-5)


def test_schedule_free_is_the_rule_of_its_paper():
    """z = z - rate g(y); x = x + c (z - x), c of the rates' squares; y = b1 x + (1 - b1) z."""
    rates = [0.1, 0.2, 0.2, 0.05]
    config = base.get_config().optimizer
    config.name, config.freeze = "schedule_free_sgd", "^b$"
    with config.unlocked():
        config.options = {"b1": 0.8}
    optimizer = make_optimizer(config, lambda count: jnp.array(rates)[count])
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.ones(2)}
    state = optimizer.init(params)
    x = z = y = np.array([1.0, -2.0])
    weights = largest = 0.0
    for rate in rates:
        gradients = jax.tree.map(lambda p: p**2, params)
        update, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, update)
        largest = max(largest, rate)
        weights += largest**2
        z = z - rate * y**2
        x = x + largest**2 / weights * (z - x)
        y = 0.8 * x + 0.2 * z
    np.testing.assert_allclose(params["a"], y, rtol=1e-5)
    averaged = averaged_parameters(state, params)
    np.testing.assert_allclose(averaged["a"], x, rtol=1e-5)
    np.testing.assert_array_equal(averaged["b"], 1)
    assert averaged_parameters(optax.sgd(0.1).init(params), params) is None
