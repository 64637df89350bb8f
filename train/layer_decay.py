"""Learning rates that fall from the classifier to the stem: `optimizer.layer_decay`."""

import re
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util

from zoo.weights.adapt import restack

# Names in the first part of paths: "stem_conv1" and "tokens1" come before the first block, and
# "final_conv1" after the last; blocks are "stage1_block2", "block3", "stage1_layer4", "conv5".
_BEFORE_OR_AFTER = re.compile(r"(branch\d+_)?(stem|tokens|final)")
_BLOCK = re.compile(r".*(block|layer|cell|conv|fc)\d+")
_HEAD = re.compile(r"(.*_)?head")


def layer_factors(model: nn.Module, images: jax.ShapeDtypeStruct, decay: float) -> dict[str, Any]:
    """Returns a factor of the learning rate for each parameter: a tree as the model's params.

    Each block is a layer, in the order in which images pass them; what comes before the first block
    is layer 0, what lies between two belongs to the next one, and all that follows the last block
    is the last layer L. Layer i has the factor decay ** (L - i), as in BEiT and MAE
    (microsoft/unilm, facebookresearch/mae `util/lr_decay.py`). ConvNeXt-S, -B, -L and -XL have the
    groups of their authors (facebookresearch/ConvNeXt `optim_factory.py`).

    Args:
      model: a model of the zoo.
      images: shape and dtype of its input.
      decay: factor from one layer to the one before, in (0, 1].

    Returns:
      float32 [], or [N] for N stacked blocks (`scan=True`), times ones for the other axes.
    """
    stacked = getattr(model, "scan", False)
    flat_model = model.clone(scan=False) if stacked else model
    called: list[str] = []

    def note(call, args, kwargs, context):
        if context.module.path and context.module.path[0] not in called:
            called.append(context.module.path[0])
        return call(*args, **kwargs)

    def shapes(module) -> Any:
        return jax.eval_shape(module.init, jax.random.key(0), images)["params"]

    with nn.intercept_methods(note):
        params: dict[str, Any] = traverse_util.flatten_dict(shapes(flat_model), sep="/")
    layers = _layers(called)
    factors = {}
    for path, shape in params.items():
        layer = layers.get(path.partition("/")[0], 0)  # parameters of the model itself: 0
        factor = np.full([1] * len(shape.shape), decay ** (layers[""] - layer), np.float32)
        factors[f"params/{path}"] = factor
    tree = traverse_util.unflatten_dict(factors, sep="/")
    return (restack(tree, {"params": shapes(model)}) if stacked else tree)["params"]


def _layers(called: list[str]) -> dict[str, int]:
    """The layer of each part of the model, and of the last one under the name ""."""
    if any(name == "stage3_block27" for name in called) and "stage2_downsample" in called:
        return {name: _convnext_layer(name) for name in called} | {"": 13}
    layers, passed, waiting = {}, 0, []
    for name in called:
        if _BLOCK.fullmatch(name) and not _BEFORE_OR_AFTER.match(name):
            passed += 1
            layers |= dict.fromkeys([*waiting, name], passed)
            waiting = []
        elif _HEAD.fullmatch(name):  # auxiliary ones too, which lie between blocks
            layers[name] = -1
        elif passed:
            waiting.append(name)
    last = passed + 1
    heads = [name for name, layer in layers.items() if layer < 0]
    return layers | dict.fromkeys([*waiting, *heads, ""], last)


def _convnext_layer(name: str) -> int:
    match = re.fullmatch(r"stage(\d)_(block|downsample)(\d*)", name)
    if not match:
        return 0 if name.startswith("stem") else 13
    stage, block = int(match[1]), int(match[3] or 1)
    if stage < 3:
        return stage
    return 3 + (block - 1) // 3 if stage == 3 else 12
