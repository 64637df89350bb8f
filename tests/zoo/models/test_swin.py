"""Windows and their shift, Swin V2's cosines, and how the weights of either load."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.blocks import stack_blocks
from zoo.layers.windows import from_windows, to_windows
from zoo.models import swin, swin_v2
from zoo.registry import abstract_variables

TOKENS = np.random.RandomState(0).standard_normal((1, 8, 8, 4)).astype(np.float32)


def random_like(shapes):
    random = np.random.RandomState(0)
    return jax.tree.map(
        lambda leaf: 0.3 * random.standard_normal(leaf.shape).astype(np.float32), shapes
    )


def variables_of(module, *args, **settings):
    return random_like(
        jax.eval_shape(lambda *xs: module.init(jax.random.key(0), *xs, **settings), *args)
    )


def test_windows_invert():
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    windows = to_windows(x, 2)
    assert windows.shape == (2 * 6, 4, 3)
    np.testing.assert_array_equal(windows[1], x[0, :2, 2:4].reshape(4, 3))
    np.testing.assert_array_equal(from_windows(windows, 4, 6, 2), x)


@pytest.mark.parametrize("attention", [swin.WindowAttention, swin_v2.CosineWindowAttention])
def test_who_attends_to_whom(attention):
    """Windows of 4 on a grid of 8: which rows see that the token at (4, 4) changed."""

    def rows_that_change(row, shifted):
        module = attention(2, 4, shifted)
        variables = variables_of(module, TOKENS)
        changed = TOKENS.copy()
        changed[0, row, 4] += 1
        difference = module.apply(variables, changed) - module.apply(variables, TOKENS)
        return sorted(set(np.nonzero(np.abs(np.asarray(difference[0])) > 1e-5)[0]))

    assert rows_that_change(4, shifted=False) == [4, 5, 6, 7]
    assert rows_that_change(4, shifted=True) == [2, 3, 4, 5]
    # A cyclic shift puts the first and last two rows into one window; they are kept apart.
    assert rows_that_change(0, shifted=True) == [0, 1]
    assert rows_that_change(7, shifted=True) == [6, 7]


def test_one_window_is_not_shifted():
    x = TOKENS[:, :4, :4]
    plain, shifted = (swin.WindowAttention(2, 4, shifted) for shifted in (False, True))
    variables = variables_of(plain, x)
    np.testing.assert_array_equal(plain.apply(variables, x), shifted.apply(variables, x))


def test_a_bias_belongs_to_an_offset():
    index = swin.relative_index(3)
    assert index.shape == (9, 9) and len(np.unique(index)) == 25
    assert index[0, 1] == index[4, 5] == index[7, 8]  # the right-hand neighbour
    assert index[0, 1] != index[1, 0]


def test_cosine_attention_does_not_depend_on_the_length_of_tokens():
    def map_of(module, x):
        variables = jax.tree_util.tree_map_with_path(
            lambda path, leaf: 0 * leaf if path[-1].key in ("bias", "qkv_bias") else leaf,
            variables_of(module, x),
        )
        _, state = module.apply(variables, x, mutable=["attention"])
        return state["attention"]["map"][0]

    for attention, same in [(swin_v2.CosineWindowAttention, True), (swin.WindowAttention, False)]:
        module = attention(2, 4, False)
        difference = np.abs(map_of(module, TOKENS) - map_of(module, 5 * TOKENS)).max()
        assert (difference < 1e-5) == same


@pytest.mark.parametrize("v2", [False, True])
def test_scanned_stages_are_the_same_function(v2):
    kinds = dict(attention=swin_v2.CosineWindowAttention, post_norm=True) if v2 else {}
    small = dict(depths=(2, 4), width=8, num_heads=(1, 2), window=2, num_classes=5, **kinds)
    model, scanned = swin.Swin(**small), swin.Swin(**small, scan=True, remat=True)
    images = np.random.RandomState(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    variables = variables_of(model, images)
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), images)
    assert set(shapes["params"]["stage2_blocks"]) == {"block1", "block2"}
    logits = jax.jit(scanned.apply)(stack_blocks(variables, shapes), images)
    expected = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


def test_names_of_the_authors_and_of_timm():
    variables = random_like(abstract_variables("swin_t"))
    for source, merging in [
        ("torchvision", "features.4.reduction.weight"),
        ("microsoft", "layers.1.downsample.reduction.weight"),
        ("timm", "layers.2.downsample.reduction.weight"),
    ]:
        tensors = zoo.to_torch("swin_t", variables, source=source)
        assert tensors[merging].shape == (384, 768)
        # Constants that the references keep beside their weights.
        tensors["layers.0.blocks.1.attn.relative_position_index"] = np.zeros((49, 49), int)
        tensors["layers.0.blocks.1.attn_mask"] = np.zeros((64, 49, 49), np.float32)
        back = zoo.load_torch("swin_t", tensors)
        jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_biases_are_resampled_for_another_window():
    variables = random_like(abstract_variables("swin_t"))
    tensors = zoo.to_torch("swin_t", variables)
    larger = zoo.load_torch("swin_t", tensors, image_size=384, window=12)
    table = larger["params"]["stage1_block1"]["attention"]["bias_table"]
    assert table.shape == (23 * 23, 3)
    centre = tensors["features.1.0.attn.relative_position_bias_table"][84]
    np.testing.assert_allclose(table[264], centre, rtol=1e-4)  # no offset stays no offset
    images = jax.ShapeDtypeStruct((1, 384, 384, 3), jnp.float32)
    model = zoo.create("swin_t", window=12)
    assert jax.eval_shape(model.apply, larger, images).shape == (1, 1000)
