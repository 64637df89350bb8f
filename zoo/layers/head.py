"""The heads of classifiers: from pooled features to logits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.pool import flatten, global_average_pool

lecun_normal = initializers.lecun_normal()


def logits_layer(num_classes: int, dtype: Any, *, name: str = "head", **settings) -> nn.Module:
    """A dense layer, [B, C] -> logits [B, num_classes] in float32, or wider where `dtype` is.

    Logits stay float32 in a network that computes in bfloat16 because a softmax of 16-bit logits
    is too coarse to train with. `settings` are further arguments of `Dense`.
    """
    return Dense(num_classes, dtype=jnp.promote_types(dtype, jnp.float32), name=name, **settings)


def pool_head_map(module: nn.Module, x: jax.Array) -> jax.Array:
    """Global average pooling, [B, H, W, C] -> [B, C]; call it inside a compact module.

    It sows `x` as "head_map", the last map before pooling: the map of a class activation map.
    """
    module.sow("intermediates", "head_map", x)
    return global_average_pool(x)


def flatten_head_map(module: nn.Module, x: jax.Array) -> jax.Array:
    """What fully connected layers take of a map, [B, H, W, C] -> [B, C * H * W], channels first.

    It sows `x` as "head_map", as `pool_head_map` does; call it inside a compact module.
    """
    module.sow("intermediates", "head_map", x)
    return flatten(x)


def classify(
    module: nn.Module,
    embedding: jax.Array,
    num_classes: int,
    dtype: Any,
    *,
    kernel_init: Callable[..., jax.Array] = lecun_normal,
    use_bias: bool = True,
    dropout: nn.Dropout | None = None,
) -> jax.Array:
    """The head of a classifier, [B, C] -> [B, num_classes]; call it inside a compact module.

    It sows "embedding" for `zoo.features` and adds the layer "head" to `module`.

    Args:
      module: The network.
      embedding: Pooled features, [B, C].
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dtype: Dtype of the network; the logits are float32 or wider.
      kernel_init: Initializer of the head's kernel.
      use_bias: Whether the head has biases.
      dropout: Layer applied between the embedding and the head; None for none.
    """
    module.sow("intermediates", "embedding", embedding)
    if not num_classes:
        return embedding
    x = dropout(embedding) if dropout else embedding
    return logits_layer(num_classes, dtype, kernel_init=kernel_init, use_bias=use_bias)(x)


def classify_maps(
    module: nn.Module,
    x: jax.Array,
    num_classes: int,
    dtype: Any,
    *,
    kernel_init: Callable[..., jax.Array],
    dropout: nn.Dropout | None = None,
) -> jax.Array:
    """Global average pooling of class maps, [B, H, W, C] -> [B, num_classes].

    The head is a 1x1 convolution with ReLU that makes a map of each class, and a logit is the mean
    of its map (Lin et al. 2013, arXiv:1312.4400, section 3.2), so that no layer is fully connected.
    The embedding is the average of `x`; "head_map" are the maps whose averages are the result. The
    other arguments are those of `classify`.
    """
    module.sow("intermediates", "embedding", jnp.mean(x, axis=(1, 2)))
    if not num_classes:
        return pool_head_map(module, x)
    x = dropout(x) if dropout else x
    logits_dtype = jnp.promote_types(dtype, jnp.float32)
    head = Conv(num_classes, (1, 1), dtype=logits_dtype, kernel_init=kernel_init, name="head")
    return pool_head_map(module, nn.relu(head(x)))
