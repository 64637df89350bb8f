import jax
import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.models.efficientnet import compound_scaling


def test_one_step_of_scaling_doubles_the_work():
    depth, width, size = compound_scaling(1)
    assert depth * width**2 * (size / 224) ** 2 == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("phi", "width", "size"),
    [(0, 1.0, 224), (0.5, 1.0, 240), (1, 1.1, 260), (2, 1.2, 300), (5, 1.6, 456), (7, 2.0, 600)],
)
def test_released_coefficients_are_the_formula_rounded(phi, width, size):
    """B0, B1, B2, B3, B5 and B7."""
    _, exact_width, exact_size = compound_scaling(phi)
    assert width == pytest.approx(exact_width, rel=0.05)
    assert size == pytest.approx(exact_size, rel=0.02)


def test_scaling_keeps_the_first_stage_of_lite_models():
    b4, lite4 = zoo.create("efficientnet_b4"), zoo.create("efficientnet_lite4")
    assert [stage.depth for stage in b4.stages] == [2, 4, 4, 6, 6, 8, 2]
    assert [stage.depth for stage in lite4.stages] == [1, 4, 4, 6, 6, 8, 1]
    assert [stage.features for stage in b4.stages] == [stage.features for stage in lite4.stages]


@pytest.mark.parametrize(
    ("name", "source", "tensor"),
    [
        ("efficientnet_b0", "timm", "blocks.1.0.se.conv_reduce.weight"),
        ("efficientnet_b0", "efficientnet_pytorch", "_blocks.15._expand_conv.weight"),
        ("efficientnet_v2_s", "timm", "blocks.1.0.conv_exp.weight"),
    ],
)
def test_other_names_of_the_same_weights(name, source, tensor):
    tensors = zoo.to_torch(name, variables := some_variables(name), source=source)
    assert tensor in tensors
    back = zoo.load_torch(name, tensors)
    assert jax.tree.all(jax.tree.map(np.array_equal, back, variables))


def some_variables(name):
    """Numbers that tell every tensor from every other."""
    leaves, tree = jax.tree.flatten(registry.abstract_variables(name))
    return tree.unflatten([np.full(leaf.shape, i, np.float32) for i, leaf in enumerate(leaves)])
