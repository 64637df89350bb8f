"""Scanned stages of the convolutional networks; the transformers' tests have their own."""

from functools import partial

import jax
import numpy as np
import pytest

from zoo.layers.blocks import stack_blocks, unstack_blocks
from zoo.models import efficientnet, resnet

IMAGES = np.random.RandomState(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
STAGES = [efficientnet.Stage(1, 3, 1, 8, 1), efficientnet.Stage(4, 3, 2, 8, 3)]
MODELS = {
    "ResNet": partial(resnet.ResNet, (1, 3), resnet.Bottleneck, num_classes=5),
    "EfficientNet": partial(
        efficientnet.EfficientNet, STAGES, 8, 16, num_classes=5, dropout=0.0, drop_path=0.0
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ResNet", marks=pytest.mark.quick),
        pytest.param("EfficientNet", marks=pytest.mark.full),
    ],
)
def test_scanned_stages_are_the_same_function(name):
    """Logits, updated statistics and gradients; the first block of a stage stays by itself."""
    model, scanned = MODELS[name](), MODELS[name](scan=True, remat=True)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGES)
    stacked = stack_blocks(variables, jax.eval_shape(scanned.init, jax.random.key(0), IMAGES))
    names = {path for path in stacked["params"] if path.startswith("stage")}
    assert names == {"stage1_block1", "stage2_block1", "stage2_blocks"}
    assert set(stacked["params"]["stage2_blocks"]) == {"block2"}

    def loss(model, params, statistics):
        everything = {"params": params, "batch_stats": statistics}
        logits, state = model.apply(everything, IMAGES, train=True, mutable=["batch_stats"])
        return (logits[:, 0] ** 2).mean(), (logits, state)

    def results(model, variables):
        run = jax.jit(jax.grad(partial(loss, model), has_aux=True))
        return run(variables["params"], variables["batch_stats"])

    gradients, (logits, state) = results(model, variables)
    scanned_gradients, (scanned_logits, scanned_state) = results(scanned, stacked)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    close(scanned_logits, logits)
    jax.tree.map(close, unstack_blocks(dict(scanned_state)), dict(state))
    back = unstack_blocks({"params": scanned_gradients})["params"]
    jax.tree.map(close, back, dict(gradients))
