"""RegionViT's two attentions, its padding at odd sizes, and its checkpoints' second names."""

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo.models.regionvit import Block, padding_bias, relative_index
from zoo.registry import abstract_variables

# 2x2 regions of a regional and 49 local tokens each
TOKENS = np.random.RandomState(0).standard_normal((1, 4, 50, 32)).astype(np.float32)


def random_like(shapes):
    random = np.random.RandomState(0)
    return jax.tree.map(
        lambda leaf: 0.3 * random.standard_normal(leaf.shape).astype(np.float32), shapes
    )


def test_regions_meet_in_their_regional_tokens():
    block = Block(2, (2, 2), (0, 0))
    variables = random_like(
        jax.eval_shape(lambda x: block.init(jax.random.key(0), x, train=False), TOKENS)
    )
    apply = jax.jit(lambda x: block.apply(variables, x, train=False))
    local, regional = TOKENS.copy(), TOKENS.copy()
    local[0, 1, 7, 0] += 1
    regional[0, 1, 0, 0] += 1
    changed = [
        np.asarray(apply(x) != apply(TOKENS))[0].any(axis=(1, 2)).tolist()
        for x in (local, regional)
    ]
    assert changed == [[False, True, False, False], [True, True, True, True]]


def test_biases_wrap_round():
    index = relative_index()
    assert index.shape == (49, 49)
    assert index[0, 0] == 3 * 13 + 3  # no offset
    assert index[0, 1] == 3 * 13 + 4  # the right-hand neighbour
    assert index[6, 0] == 3 * 13 + (-6 + 3) % 13  # six to the left: past the table's start


def test_padding_is_kept_apart():
    assert (padding_bias((2, 2), (0, 0)) == 0).all()
    bias = padding_bias((2, 3), (1, 2))
    assert bias.shape == (6, 1, 50, 50)
    assert (bias[:2] == 0).all()
    right = bias[2, 0, 1].reshape(-1)[1:].reshape(7, 7)  # what the first local token attends to
    assert (right[:, 5:] < 0).all() and (right[:, :5] == 0).all()
    bottom = bias[3, 0, 1][1:].reshape(7, 7)
    assert (bottom[6] < 0).all() and (bottom[:6] == 0).all()
    assert (bias[:, 0, 0, 0] == 0).all()


def test_any_size():
    model = zoo.create("regionvit_tiny")
    variables = abstract_variables("regionvit_tiny")
    for size in [(28, 28), (100, 60)]:
        images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        assert jax.eval_shape(model.apply, variables, images).shape == (1, 1000)


def test_the_second_name_of_a_shared_layer_is_passed_over():
    variables = random_like(abstract_variables("regionvit_tiny"))
    tensors = zoo.to_torch("regionvit_tiny", variables)
    assert tensors["layers.1.block.0.proj_cls.0.weight"].shape == (1, 64, 1, 1)
    shared = {key: value for key, value in tensors.items() if ".proj_cls." in key}
    assert len(shared) == 12
    again = {key.replace("proj_cls", "proj"): value for key, value in shared.items()}
    back = zoo.load_torch("regionvit_tiny", tensors | again)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
