"""Twins: windows, the whole image, positions from a convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.windows import from_windows, pad_to_multiples, to_windows
from zoo.models.twins import Twins

SMALL = dict(depths=(2, 1, 1, 1), dims=(8, 8, 8, 8), num_heads=(2, 2, 2, 2), num_classes=5)
IMAGES = np.random.RandomState(0).standard_normal((2, 64, 64, 3)).astype(np.float32)


def variables_of(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape), shapes)


@pytest.mark.parametrize(("height", "width"), [(14, 7), (16, 9), (2, 3)])
def test_windows_and_back(height, width):
    x = np.arange(2 * height * width * 3.0).reshape(2, height, width, 3)
    padded = pad_to_multiples(jnp.asarray(x), 7)
    windows = to_windows(padded, 7)
    assert windows.shape == (2 * -(-height // 7) * -(-width // 7), 49, 3)
    np.testing.assert_array_equal(windows[0, : min(7, width)], x[0, 0, :7])
    back = from_windows(windows, *padded.shape[1:3], 7)
    np.testing.assert_array_equal(back[:, :height, :width], x)


def test_blocks_attend_to_windows_and_to_the_whole_image_in_turn():
    model = Twins(**SMALL)
    variables = variables_of(model)
    maps = jax.eval_shape(lambda: zoo.features(model, variables, IMAGES, at="attention"))
    # 16x16 tokens: nine windows of 7x7 for each image, then one key of each 8x8 patch
    assert maps["stage1_block1/attention"].shape == (2 * 9, 2, 49, 49)
    assert maps["stage1_block2/attention"].shape == (2, 2, 256, 4)


def reach(model, at):
    """Where the first stage depends on the pixel (0, 0)."""
    variables = variables_of(model)

    def outputs(pixel):
        images = jnp.asarray(IMAGES[:1]).at[0, 0, 0, 0].set(pixel)
        return zoo.features(model, variables, images, at=at)

    tangent = jax.jit(lambda: jax.jvp(outputs, (0.0,), (1.0,))[1])()
    return np.abs(np.asarray(tangent[0])).max(-1) > 1e-7


def test_what_one_pixel_reaches():
    """Its window, and by the convolution the tokens beside that; all with the second block."""
    settings = SMALL | dict(depths=(1, 0, 0, 0))
    local = reach(Twins(**settings), "stage1")
    assert local[:8, :8].all() and not local[8:].any() and not local[:, 8:].any()
    assert reach(Twins(**settings | dict(depths=(2, 0, 0, 0))), "stage1").all()
    assert reach(Twins(**settings, window=0), "stage1").all()


def test_any_image_size():
    model = zoo.create("twins_svt_s")
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    for shape in [(1, 96, 64, 3), (1, 32, 32, 3)]:
        assert jax.eval_shape(model.apply, variables, jnp.zeros(shape)).shape == (1, 1000)
    with pytest.raises(ValueError, match="at least 32x32 pixels, got 31x64"):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 31, 64, 3)))
