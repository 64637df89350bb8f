from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn

import zoo
from zoo.layers.conv import square_conv
from zoo.models.resnet_cifar import SHORTCUTS, Block, pad_shape


def joined(shortcut: str, x, branch: float):
    """A block whose branch is a constant, the bias of its last BatchNorm."""
    norm = partial(nn.BatchNorm, use_running_average=True)
    block = Block(x.shape[-1], 1, shortcut, -6.0, square_conv, norm)
    variables = block.init(jax.random.key(0), x)
    params = jax.tree.map(np.zeros_like, variables["params"])
    params["norm2"]["bias"] += branch
    return block.apply({**variables, "params": params}, x)


def count(**overrides) -> int:
    model = zoo.create("resnet20_cifar", **overrides)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def test_option_a_takes_every_second_pixel_and_pads_both_sides_of_the_channels():
    x = np.arange(1 * 4 * 4 * 2, dtype=np.float32).reshape(1, 4, 4, 2)
    padded = pad_shape(x, 2, 4)
    np.testing.assert_array_equal(padded[..., 1:3], x[:, ::2, ::2])
    assert padded.shape == (1, 2, 2, 4)
    assert not padded[..., 0].any() and not padded[..., 3].any()


def test_constant_shortcuts():
    x = np.full((1, 2, 2, 4), 2.0, np.float32)
    assert (joined("none", x, 1.0) == 1).all()
    assert (joined("identity", x, 1.0) == 3).all()
    assert (joined("constant", x, 1.0) == 2).all()
    assert (joined("constant_both", x, 1.0) == 1.5).all()


def test_parameters_of_the_study():
    """Gates and 1x1 convolutions in all nine blocks; widths 16, 32, 64."""
    inputs, outputs = [16] * 4 + [32] * 3 + [64] * 2, [16] * 3 + [32] * 3 + [64] * 3
    weights = sum(c * w for c, w in zip(inputs, outputs, strict=True))
    for shortcut in ("identity", "constant", "constant_both", "dropout"):
        assert count(shortcut=shortcut) == 269_722
    for shortcut in ("exclusive_gating", "shortcut_gating"):
        assert count(shortcut=shortcut) == 269_722 + weights + sum(outputs)
    assert count(shortcut="conv") == 269_722 + weights + 2 * sum(outputs)
    gates = sum(2 * c * (c // 16) + c // 16 + c for c in outputs)
    assert count(squeeze_excite=True) == 269_722 + gates


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_shortcuts_in_the_network(shortcut):
    """Closed gates are the identity (or leave nothing of the branch); the others differ from it."""
    images = np.random.RandomState(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    identity = zoo.create("resnet20_cifar", depth=8)
    model = zoo.create("resnet20_cifar", depth=8, shortcut=shortcut, gate_bias=-100.0)
    variables = jax.jit(model.init)(jax.random.key(0), images)

    @jax.jit
    def both(variables):
        mode = dict(train=True, rngs={"dropout": jax.random.key(1)}, mutable=["batch_stats"])
        return [net.apply(variables, images, **mode)[0] for net in (model, identity)]

    logits, reference = both(variables)
    assert np.isfinite(logits).all()
    same = np.allclose(logits, reference, rtol=1e-5, atol=1e-5)
    assert same == (shortcut in ("identity", "shortcut_gating"))


def test_an_unknown_shortcut_and_a_depth_that_cannot_be_are_errors():
    images = np.zeros((1, 32, 32, 3), np.float32)
    with pytest.raises(ValueError, match="one of identity, constant.*not 'gated'"):
        zoo.create("resnet20_cifar", shortcut="gated").init(jax.random.key(0), images)
    with pytest.raises(ValueError, match=r"6 n \+ 2.*not 21"):
        zoo.create("resnet20_cifar", depth=21).init(jax.random.key(0), images)
