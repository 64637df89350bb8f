"""The zoo in somebody's own module: names, backbones, weights under a prefix, freezing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import zoo

IMAGES = np.random.RandomState(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
STAGES = ("stage1", "stage3")
small = partial(zoo.create, "resnet20_cifar", depth=8)


class Compact(nn.Module):
    """A network of the zoo and a head of its own."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = small(num_classes=0, name="backbone")(images, train=train)
        return nn.Dense(5, name="classifier")(x)


class Setup(nn.Module):
    """The same, made in `setup`."""

    def setup(self):
        self.backbone = small(num_classes=0)
        self.classifier = nn.Dense(5)

    def __call__(self, images, *, train=False):
        return self.classifier(self.backbone(images, train=train))


class Pyramid(nn.Module):
    """Stages of a network, with as many channels each."""

    backbone: nn.Module

    def setup(self):
        self.lateral = [nn.Conv(4, (1, 1)) for _ in STAGES]

    def __call__(self, images, *, train=False):
        stages = zoo.features(self.backbone, images, at=STAGES, train=train)
        assert tuple(stages) == STAGES
        return [conv(x) for conv, x in zip(self.lateral, stages.values(), strict=True)]


@pytest.mark.quick
@pytest.mark.parametrize("module", [Compact(), Setup()])
def test_a_network_has_the_name_it_is_given(module):
    variables = jax.eval_shape(module.init, jax.random.key(0), IMAGES)
    assert set(variables["params"]) == {"backbone", "classifier"}
    alone = small(num_classes=0)
    expected = jax.eval_shape(alone.init, jax.random.key(0), IMAGES)
    for collection in ("params", "batch_stats"):
        found = variables[collection]["backbone"]
        assert jax.tree.structure(found) == jax.tree.structure(expected[collection])


@pytest.fixture(scope="module")
def pyramid():
    module = Pyramid(small(num_classes=0))
    return module, jax.jit(module.init)(jax.random.key(0), IMAGES)


def of_backbone(variables):
    return {name: collection["backbone"] for name, collection in variables.items()}


def test_features_within_a_module(pyramid):
    module, variables = pyramid
    assert set(variables["params"]) == {"backbone", "lateral_0", "lateral_1"}
    outputs = jax.jit(module.apply)(variables, IMAGES)
    assert [x.shape for x in outputs] == [(2, 16, 16, 4), (2, 4, 4, 4)]
    stages = zoo.features(module.backbone, of_backbone(variables), IMAGES, at=STAGES)
    layer = variables["params"]["lateral_1"]
    expected = stages["stage3"] @ layer["kernel"][0, 0] + layer["bias"].reshape(1, 1, 1, 4)
    np.testing.assert_allclose(outputs[1], expected, rtol=1e-4, atol=1e-5)


def test_statistics_are_updated_within_a_module_as_outside(pyramid):
    module, variables = pyramid

    @jax.jit
    def run(variables):
        outputs, updates = module.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
        stages, alone = zoo.features(
            module.backbone, of_backbone(variables), IMAGES, at=STAGES, train=True
        )
        _, plain = module.backbone.apply(
            of_backbone(variables), IMAGES, train=True, mutable=["batch_stats"]
        )
        return outputs, updates, stages, alone, plain

    _, updates, stages, alone, plain = run(variables)
    assert set(stages) == set(STAGES)
    assert set(alone) == {"batch_stats"}
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, dict(updates["batch_stats"]["backbone"]), dict(plain["batch_stats"]))
    jax.tree.map(close, dict(alone["batch_stats"]), dict(plain["batch_stats"]))
    before = variables["batch_stats"]["backbone"]["stem_norm"]["mean"]
    assert (alone["batch_stats"]["stem_norm"]["mean"] != before).all()


def test_two_calls_update_statistics_twice(pyramid):
    """Also where one of them is an ordinary call."""

    class Twice(nn.Module):
        backbone: nn.Module
        kinds: str

        def __call__(self, images, *, train=False):
            for kind in self.kinds:
                if kind == "f":
                    zoo.features(self.backbone, images, at="stage1", train=train)
                else:
                    self.backbone(images, train=train)

    _, variables = pyramid
    variables = {name: {"backbone": x} for name, x in of_backbone(variables).items()}
    means = {}
    for kinds in ("cc", "fc", "cf", "ff"):
        module = Twice(small(num_classes=0), kinds)
        run = partial(module.apply, train=True, mutable=["batch_stats"])
        _, updates = jax.jit(run)(variables, IMAGES)
        means[kinds] = updates["batch_stats"]["backbone"]["stem_norm"]["mean"]
    for kinds in ("fc", "cf", "ff"):
        np.testing.assert_allclose(means[kinds], means["cc"], rtol=1e-5, err_msg=kinds)


def test_gradients_reach_the_backbone_and_dropout_has_its_stream():
    module = Pyramid(small(num_classes=0, drop_path=0.5))
    variables = jax.jit(module.init)(jax.random.key(0), IMAGES)

    @jax.jit
    def gradients(params, key):
        def loss(params):
            outputs, _ = module.apply(
                {**variables, "params": params},
                IMAGES,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            return sum(jnp.sum(x**2) for x in outputs)

        return jax.grad(loss)(params)

    one, other = (gradients(variables["params"], jax.random.key(i)) for i in (1, 2))
    stem = [g["backbone"]["stem_conv"]["kernel"] for g in (one, other)]
    assert abs(stem[0]).max() > 0
    assert abs(stem[0] - stem[1]).max() > 0  # other paths were dropped


def test_calls_with_the_wrong_arguments(pyramid):
    module, variables = pyramid
    with pytest.raises(TypeError, match=r"zoo.features\(model, variables, images\)"):
        zoo.features(module.backbone, IMAGES)
    bound = module.backbone.bind(of_backbone(variables))
    with pytest.raises(TypeError, match="no variables"):
        zoo.features(bound, of_backbone(variables), IMAGES)


def test_weights_under_a_prefix_and_a_frozen_backbone():
    module = Setup()
    variables = jax.jit(module.init)(jax.random.key(0), IMAGES)
    published = zoo.to_torch("resnet20_cifar", of_backbone(variables), depth=8, num_classes=0)
    published = {name: tensor + 0.1 for name, tensor in published.items()}

    # The weights of the backbone go below its name.
    loaded = zoo.load_torch("resnet20_cifar", published, depth=8, num_classes=0)
    params = {**variables["params"], "backbone": loaded["params"]}
    batch_stats = {**variables["batch_stats"], "backbone": loaded["batch_stats"]}

    # The backbone is frozen, all else is trained.
    labels = {name: "frozen" if name == "backbone" else "trained" for name in params}
    optimizer = optax.multi_transform(
        {"trained": optax.adamw(1e-3), "frozen": optax.set_to_zero()}, labels
    )

    def loss(params):
        logits = module.apply({"params": params, "batch_stats": batch_stats}, IMAGES)
        return -jax.nn.log_softmax(logits)[:, 3].mean()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    trained, _ = step(params, optimizer.init(params))
    jax.tree.map(np.testing.assert_array_equal, trained["backbone"], params["backbone"])
    moved = abs(trained["classifier"]["kernel"] - params["classifier"]["kernel"])
    assert moved.min() > 0
    np.testing.assert_array_equal(
        trained["backbone"]["stem_conv"]["kernel"],
        published["conv1.weight"].transpose(2, 3, 1, 0),
    )
