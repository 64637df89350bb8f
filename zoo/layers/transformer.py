"""The block of vision transformers (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import SelfAttention, xavier
from zoo.layers.drop_path import DropPath
from zoo.layers.mlp import Mlp


class TransformerBlock(nn.Module):
    """Self-attention and an MLP as pre-norm residual branches, [B, N, C] -> [B, N, C].

    x + attention(norm1(x)), then x + mlp(norm2(x)).

    Attributes:
      num_heads: Number of attention heads; divides C.
      mlp_ratio: Width of the MLP's hidden layer over C.
      qkv_bias: Whether queries, keys and values have biases.
      branch_scale: Factor of either branch.
      epsilon: Epsilon of the LayerNorms.
      kernel_init: Initializer of all dense kernels.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation; the softmax is in float32 or wider.
    """

    num_heads: int
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    branch_scale: float = 1.0
    epsilon: float = 1e-6
    kernel_init: Callable[..., jax.Array] = xavier
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=self.epsilon, dtype=self.dtype)
        settings: dict[str, Any] = dict(
            dropout=self.dropout, dtype=self.dtype, kernel_init=self.kernel_init
        )
        attention = SelfAttention(self.num_heads, self.qkv_bias, **settings, name="attention")
        mlp = Mlp(int(self.mlp_ratio * x.shape[-1]), **settings, name="mlp")
        y = attention(norm(name="norm1")(x), train=train)
        x = x + self.branch_scale * DropPath(self.drop_path)(y, train=train)
        y = mlp(norm(name="norm2")(x), train=train)
        return x + self.branch_scale * DropPath(self.drop_path)(y, train=train)
