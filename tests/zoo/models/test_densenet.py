from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import zoo
from zoo import registry
from zoo.layers.conv import Conv
from zoo.models.densenet import DenseLayer


def shapes(name: str, size: int, **overrides) -> dict:
    """Stage outputs for one image of that size; nothing is computed."""
    model, images = zoo.create(name, **overrides), jax.ShapeDtypeStruct((1, size, size, 3), "f4")
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    features = jax.eval_shape(lambda v, x: zoo.features(model, v, x), variables, images)
    return {key: value.shape[1:] for key, value in features.items()}


def test_stage_sizes():
    """Table 1 for k = 32: each layer adds 32 features, each transition halves them."""
    assert shapes("densenet121", 224) == {
        "stem": (56, 56, 64),
        "stage1": (56, 56, 64 + 6 * 32),
        "stage2": (28, 28, 128 + 12 * 32),
        "stage3": (14, 14, 256 + 24 * 32),
        "stage4": (7, 7, 512 + 16 * 32),
        "head_map": (7, 7, 1024),
        "embedding": (1024,),
    }


def test_stage_sizes_without_compression():
    sizes = shapes("densenet_40_12_cifar", 32)
    assert sizes["stage1"] == (32, 32, 24 + 12 * 12)
    assert sizes["stage3"] == (8, 8, 24 + 3 * 12 * 12)


def test_a_layer_hands_on_all_that_it_got():
    """Every layer has direct access to all outputs before it."""
    norm = partial(nn.BatchNorm, use_running_average=True)
    drop = partial(nn.Dropout, 0.0, deterministic=True)
    layer = DenseLayer(12, True, conv=Conv, norm=norm, drop=drop)
    x = np.random.RandomState(0).standard_normal((2, 4, 4, 5)).astype(np.float32)
    y = layer.apply(layer.init(jax.random.key(0), x), x)
    assert y.shape == (2, 4, 4, 17)
    np.testing.assert_array_equal(y[..., :5], x)


def test_the_papers_stem_has_16_features():
    """Section 4.1: 1.0 M parameters for L = 40, k = 12."""
    variables = registry.abstract_variables("densenet_40_12_cifar", stem_width=16)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 1_019_722


@pytest.mark.parametrize(
    ("name", "depth"),
    [("densenet121", 121), ("densenet201", 201), ("densenet_bc_100_12_cifar", 100)],
)
def test_depth_is_the_number_of_layers_with_kernels(name, depth):
    params = registry.abstract_variables(name)["params"]
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    assert sum("kernel" in path for path in paths) == depth


@pytest.mark.parametrize(("name", "smallest"), [("densenet121", 29), ("densenet_40_12_cifar", 4)])
def test_too_small_an_image_is_an_error(name, smallest):
    assert min(shapes(name, smallest)["stem"]) > 0
    with pytest.raises(ValueError, match=f"at least {smallest}x{smallest} pixels, got {smallest}x"):
        images = jnp.zeros((1, smallest, smallest - 1, 3))
        jax.eval_shape(zoo.create(name).init, jax.random.key(0), images)


def test_torchvisions_files_have_older_names():
    variables = jax.tree.map(
        lambda leaf: np.full(leaf.shape, leaf.size, np.float32),
        registry.abstract_variables("densenet121"),
    )
    tensors = zoo.to_torch("densenet121", variables, source="torchvision's files")
    assert "features.denseblock1.denselayer1.norm.1.weight" in tensors
    jax.tree.map(np.testing.assert_array_equal, zoo.load_torch("densenet121", tensors), variables)
