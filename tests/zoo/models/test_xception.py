import jax
import jax.numpy as jnp
import pytest

import zoo
from zoo import registry


def test_36_convolutions_in_14_modules():
    """Section 4: the base has 36 convolutions; shortcuts and the halves of one do not count."""
    params = registry.abstract_variables("xception")["params"]
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    assert sum("pointwise" in path or "stem_conv" in path for path in paths) == 36
    blocks = sum("_block" in name for name in params)
    assert blocks == 12  # the stem and the last two convolutions are the other modules
    assert sum("shortcut_conv" in params[name] for name in params) == 4


def test_stage_sizes():
    model, images = zoo.create("xception"), jax.ShapeDtypeStruct((1, 299, 299, 3), "f4")
    variables = registry.abstract_variables("xception")
    features = jax.eval_shape(lambda v, x: zoo.features(model, v, x), variables, images)
    assert {key: value.shape[1:] for key, value in features.items()} == {
        "stem": (147, 147, 64),
        "stage1": (74, 74, 128),
        "stage2": (37, 37, 256),
        "stage3": (19, 19, 728),
        "stage4": (10, 10, 2048),
        "head_map": (10, 10, 2048),
        "embedding": (2048,),
    }


def test_too_small_an_image_is_an_error():
    model = zoo.create("xception")
    with pytest.raises(ValueError, match="at least 7x7 pixels, got 6x20"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 6, 20, 3)))
