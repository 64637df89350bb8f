"""Swin V2: Swin with cosine attention, biases from a network, and norms at the branches' ends.

Swin Transformer V2: Scaling Up Capacity and Resolution, Liu et al. 2021, arXiv:2111.09883,
section 3. Reference: torchvision `swin_v2_t`, `swin_v2_s`, `swin_v2_b`.

Differences from the paper: a head's temperature is kept as the logarithm of its inverse, at most
log(100); the bias is 16 * sigmoid of the network's output. Both are in the authors' code, too.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.attention import attend, split_qkv
from zoo.layers.dense import Dense
from zoo.layers.position import trunc_normal
from zoo.models.swin import BUFFERS, TORCHVISION, Swin, WindowAttention, relative_index
from zoo.registry import Family


class CosineWindowAttention(WindowAttention):
    """Self-attention within windows by the cosine of query and key. [B, H, W, C] -> [B, H, W, C].

    The attributes are those of `zoo.models.swin.WindowAttention`. The cosines, too, are in float32
    or wider.
    """

    def attend_in_windows(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Attention within each window, [B * n, N, C] -> [B * n, N, heads, C / heads].

        `mask` [B * n, 1, N, N] is added to the logits.
        """
        channels = x.shape[-1]
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        qkv = dense(3 * channels, use_bias=False, name="qkv")(x)
        # The reference has a bias for the keys as well, and sets it to zero.
        qkv_bias = self.param("qkv_bias", nn.initializers.zeros, (3 * channels,))
        qkv_bias = qkv_bias * np.repeat((1, 0, 1), channels)
        qkv = qkv + qkv_bias.astype(qkv.dtype).reshape(1, 1, -1)
        query, key, value = split_qkv(qkv, self.num_heads)  # [B * n, N, heads, C / heads] each

        # The logits are cosines times an inverse temperature, whose logarithm is a parameter.
        initializer = nn.initializers.constant(math.log(10))
        log_inverse = self.param("logit_scale", initializer, (self.num_heads,))
        inverse_temperature = jnp.exp(jnp.minimum(log_inverse, math.log(100)))
        inverse_temperature = inverse_temperature.reshape(1, 1, self.num_heads, 1)
        query = (inverse_temperature * l2_normalize(query)).astype(x.dtype)
        key = l2_normalize(key).astype(x.dtype)
        bias = self.relative_bias()  # [1, heads, N, N]
        bias = bias if mask is None else bias + mask  # [B * n, heads, N, N]
        return attend(self, query, key, value, bias=bias, scale=1.0)

    def relative_bias(self) -> jax.Array:
        """Returns the bias of each query and key, an MLP of their offset: [1, heads, N, N]."""
        dense = partial(Dense, kernel_init=trunc_normal)
        offsets = jnp.asarray(log_offsets(self.window), jnp.promote_types(self.dtype, jnp.float32))
        hidden = nn.relu(dense(512, name="bias_fc1")(offsets))
        table = dense(self.num_heads, use_bias=False, name="bias_fc2")(hidden)
        bias = 16 * nn.sigmoid(table[relative_index(self.window)])
        return bias.transpose(2, 0, 1)[None]


def l2_normalize(x: jax.Array) -> jax.Array:
    """Divides vectors [..., D] by their length, in float32 or wider; zeros stay zeros."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))


def log_offsets(side: int) -> np.ndarray:
    """Returns a window's offsets of rows and columns on a logarithmic scale, in [-1, 1].

    [(2 * side - 1)^2, 2].
    """
    offsets = np.arange(1 - side, side) * 8 / max(1, side - 1)
    offsets = np.sign(offsets) * np.log2(np.abs(offsets) + 1) / 3
    return np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)


family = Family(
    "swin_v2",
    dict(
        paper="Swin Transformer V2: Scaling Up Capacity and Resolution, arXiv:2111.09883",
        year=2021,
        image_size=256,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
        interpolation="bicubic",
    ),
    ignored_keys=BUFFERS,
)
SwinV2 = partial(Swin, window=8, attention=CosineWindowAttention, post_norm=True)


@family.variant(reference="torchvision swin_v2_t", top1=82.072, top5=96.132, crop=256 / 260)
def swin_v2_t(**kwargs) -> Swin:
    """28,351,570 parameters, 5.94 G multiply-adds, 82.1 % top-1."""
    return SwinV2((2, 2, 6, 2), 96, (3, 6, 12, 24), **kwargs)


@family.variant(reference="torchvision swin_v2_s", top1=83.712, top5=96.816, crop=256 / 260)
def swin_v2_s(**kwargs) -> Swin:
    """49,737,442 parameters, 11.55 G multiply-adds, 83.7 % top-1."""
    return SwinV2((2, 2, 18, 2), 96, (3, 6, 12, 24), **kwargs)


@family.variant(reference="torchvision swin_v2_b", top1=84.112, top5=96.864, crop=256 / 272)
def swin_v2_b(**kwargs) -> Swin:
    """87,930,848 parameters, 20.33 G multiply-adds, 84.1 % top-1."""
    return SwinV2((2, 2, 18, 2), 128, (4, 8, 16, 32), **kwargs)


family.checkpoint_keys(
    "torchvision",
    (
        *TORCHVISION,
        (r"/qkv_bias$", "/qkv/bias"),
        (r"/bias_fc1$", "/cpb_mlp/0"),
        (r"/bias_fc2$", "/cpb_mlp/2"),
    ),
    dense_as_conv1x1=(r".*/logit_scale",),
)
