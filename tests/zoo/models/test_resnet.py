import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.models.resnet import BasicBlock, ResNet
from zoo.models.resnet_cifar import ResNetCifar


def convolution_weights(name: str, block: str) -> int:
    """Weights of the branch of one block."""
    params = registry.abstract_variables(name)["params"][block]
    return sum(params[conv]["kernel"].size for conv in params if conv.startswith("conv"))


def test_a_bottleneck_costs_about_as_much_as_a_basic_block():
    """Figure 5: 256 channels through a bottleneck of 64 against 64 channels through two 3x3."""
    assert convolution_weights("resnet50", "stage1_block2") == 2 * 256 * 64 + 9 * 64 * 64  # 69,632
    assert convolution_weights("resnet34", "stage1_block2") == 2 * 9 * 64 * 64  # 73,728


def test_groups_widen_a_bottleneck_at_the_same_cost():
    """ResNeXt, Figure 1: 32 groups of 4 features against 64 features, both about 70 thousand."""
    grouped = convolution_weights("resnext50_32x4d", "stage1_block2")
    assert grouped == 2 * 256 * 128 + 32 * 9 * 4 * 4
    assert abs(grouped / convolution_weights("resnet50", "stage1_block2") - 1) < 0.02


def test_152_layers_are_cheaper_than_vggs_16():
    assert zoo.info("resnet152").gmacs < zoo.info("vgg16").gmacs < zoo.info("vgg19").gmacs


@pytest.mark.parametrize(
    ("model", "last"),
    [
        pytest.param(
            *(ResNet((1, 1, 1, 1), BasicBlock, drop_path=1.0), "stage4_block1"),
            marks=pytest.mark.full,
        ),
        (ResNetCifar(8, drop_path=1.0), "stage3_block1"),
    ],
)
def test_drop_path_of_one_leaves_the_shortcut_of_the_last_block(model, last):
    """In training the last block passes on its input; in evaluation nothing is dropped."""
    images = np.ones((2, 32, 32, 3), np.float32)
    variables = model.init(jax.random.key(0), images)
    params = dict(variables["params"])
    branch = {name: layer for name, layer in params[last].items() if "shortcut" not in name}
    params[last] = {**params[last], **jax.tree.map(lambda p: p + 1, branch)}

    @functools.partial(jax.jit, static_argnums=1)
    def logits(params, train):
        collections = {**variables, "params": params}
        rngs = {"dropout": jax.random.key(1)}
        return model.apply(collections, images, train=train, rngs=rngs, mutable=["batch_stats"])[0]

    np.testing.assert_array_equal(logits(params, True), logits(variables["params"], True))
    assert jnp.abs(logits(params, False) - logits(variables["params"], False)).max() > 1e-3


def test_resnet_200_is_resnet_152_with_more_blocks_in_stage_2():
    deeper = set(registry.abstract_variables("resnet200")["params"])
    blocks = {f"stage2_block{j}" for j in range(9, 25)}
    assert deeper - set(registry.abstract_variables("resnet152")["params"]) == blocks


def test_the_stem_for_small_images_keeps_their_size():
    model = zoo.create("resnet18_cifar")
    images = jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert variables["params"]["stem_conv"]["kernel"].shape == (3, 3, 3, 64)
    shapes = jax.eval_shape(functools.partial(zoo.features, model), variables, images)
    assert shapes["stem"].shape == (2, 32, 32, 64) and shapes["stage4"].shape == (2, 4, 4, 512)
    wide = zoo.create("resnet50", stem="cifar", num_classes=10)
    assert wide.stem == "cifar"
    with pytest.raises(ValueError, match='stem is "imagenet" or "cifar", not \'small\''):
        jax.eval_shape(zoo.create("resnet18", stem="small").init, jax.random.key(0), images)
