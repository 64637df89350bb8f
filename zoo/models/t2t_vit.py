"""T2T-ViT: narrow vision transformers on tokens that gather their neighbours step by step.

Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet, Yuan et al. 2021,
arXiv:2101.11986, Table 1. Performer: Choromanski et al. 2020, arXiv:2009.14794. Reference: the
authors' `t2t_vit_7`, `t2t_vit_14` ..., `t2t_vit_t_14` ... (github.com/yitu-opensource/T2T-ViT).

Instead of one cut into patches, overlapping windows are unfolded into tokens three times; between
two cuts the tokens attend to each other, 3136 of them at first (of 224 pixels). Performers
approximate that attention in linear time, and so have no attention map.

Differences from the paper: the tokens' attention has values as its shortcut, as its input is wider
than its output (as in the authors' code).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import attend, merge_heads
from zoo.layers.blocks import run_blocks, stage_ends
from zoo.layers.dense import Dense, einsum
from zoo.layers.drop_path import drop_path_rates
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.mlp import Mlp
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.tokens import prepend_tokens
from zoo.layers.transformer import TransformerBlock
from zoo.models.vit import TIMM
from zoo.registry import Family, Rules


class TokenPerformer(nn.Module):
    """Attention in time linear in N, with values as its shortcut. [B, N, D] -> [B, N, C].

    exp(key . query) is the mean over random vectors w of f(key) f(query), with f(x) = exp(w . x -
    |x|^2 / 2), so that sums over keys are taken once for all queries. The feature map f and the
    sums are in float32 or wider. C = features.
    """

    features: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        key, query, value = jnp.split(dense(3 * self.features, name="kqv")(x), 3, axis=-1)
        # Drawn once and never trained; a parameter because checkpoints have it.
        count = self.features // 2
        orthogonal = nn.initializers.orthogonal(math.sqrt(count))
        w = self.param("random_vectors", orthogonal, (count, self.features))
        w = jax.lax.stop_gradient(w)

        def feature_map(x):  # [B, N, C] -> [B, N, count]
            x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
            projected = einsum("bnc,mc->bnm", x, w.astype(x.dtype))
            squares = jnp.sum(x * x, axis=-1, keepdims=True) / 2
            return jnp.exp(projected - squares) / math.sqrt(count)

        key, query = feature_map(key), feature_map(query)
        key_value = einsum("bnm,bnc->bmc", key, value.astype(key.dtype))
        normalizer = einsum("bnm,bm->bn", query, jnp.sum(key, axis=1))[..., None]
        x = einsum("bnm,bmc->bnc", query, key_value) / (normalizer + 1e-8)
        x = dense(self.features, name="proj")(x.astype(self.dtype))
        return value + nn.Dropout(self.dropout, deterministic=not train)(x)


class TokenTransformer(nn.Module):
    """Attention of one head, with values as its shortcut. [B, N, D] -> [B, N, features]."""

    features: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        qkv = dense(3 * self.features, use_bias=False, name="qkv")(x)
        query, key, value = jnp.split(qkv[:, :, None], 3, axis=-1)  # [B, N, 1, C]
        # The logits' scale is by the width of the input, as in the reference.
        x = merge_heads(attend(self, query, key, value, scale=x.shape[-1] ** -0.5))
        x = dense(self.features, name="proj")(x)
        return merge_heads(value) + nn.Dropout(self.dropout, deterministic=not train)(x)


class TokenBlock(nn.Module):
    """Attention and MLP on unfolded windows. [B, H, W, D] -> [B, H, W, features].

    Attributes:
      attention: Constructor of the attention, `TokenPerformer` or `TokenTransformer`.
      features: Width of the output tokens.
      dropout: Dropout rate after attention and after the MLP.
      dtype: Dtype of the computation.
    """

    attention: Callable[..., nn.Module]
    features: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, windows: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        attention = self.attention(self.features, self.dropout, self.dtype, name="attention")
        mlp = Mlp(self.features, dtype=self.dtype, kernel_init=trunc_normal, name="mlp")
        x = windows.reshape(windows.shape[0], -1, windows.shape[-1])  # [B, N, D]
        x = attention(norm(name="norm1")(x), train=train)  # [B, N, features]
        y = mlp(norm(name="norm2")(x), train=train)
        x = x + nn.Dropout(self.dropout, deterministic=not train)(y)
        return x.reshape(*windows.shape[:-1], self.features)


class T2TViT(nn.Module):
    """Images [B, H, W, C], sides multiples of 16 -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.

    Attributes:
      width: Width of the tokens, C.
      depth: Number of blocks.
      num_heads: Number of attention heads in each block.
      mlp_ratio: Width of the MLPs' hidden layers over C.
      attention: Constructor of the attention of tokens-to-token, `TokenPerformer` or
        `TokenTransformer`.
      num_classes: Number of classes; 0 removes the head and returns the class token [B, C].
      token_dropout: Dropout rate after this attention and after the MLP that follows it.
      dropout: Dropout rate after the position embedding, after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    width: int
    depth: int
    num_heads: int
    mlp_ratio: float = 3.0
    attention: Callable[..., nn.Module] = TokenPerformer
    num_classes: int = 1000
    token_dropout: float = 0.1
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images(multiples_of=16)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stem: tokens to tokens, class token, positions
        token_block = partial(TokenBlock, self.attention, 64, self.token_dropout, self.dtype)
        x = soft_split(images.astype(self.dtype), 7, 4, padding=2)  # [B, H/4, W/4, 49 * channels]
        x = token_block(name="tokens1")(x, train=train)  # [B, H/4, W/4, 64]
        x = soft_split(x, 3, 2, padding=1)  # [B, H/8, W/8, 576]
        x = token_block(name="tokens2")(x, train=train)  # [B, H/8, W/8, 64]
        x = soft_split(x, 3, 2, padding=1)  # [B, H/16, W/16, 576]
        x = Dense(self.width, dtype=self.dtype, kernel_init=trunc_normal, name="stem_proj")(x)
        self.sow("intermediates", "stem", x)
        batch, height, width, _ = x.shape
        x = prepend_tokens(self, x.reshape(batch, -1, self.width), "class_token")
        x = add_positions(self, x, init=sinusoids, trained=False)  # [B, 1 + N, C]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        # Blocks. Their quarters are the stages.
        settings = dict(qkv_bias=False, epsilon=1e-5, kernel_init=trunc_normal)
        settings |= dict(dropout=self.dropout, dtype=self.dtype)
        block = partial(TransformerBlock, self.num_heads, self.mlp_ratio, **settings)
        rates = drop_path_rates(self.drop_path, self.depth)
        outputs = run_blocks([block], x, rates, train=train, scan=self.scan, remat=self.remat)
        for i, end in enumerate(stage_ends(self.depth), 1):
            grid = outputs[end - 1][:, 1:].reshape(batch, height, width, -1)
            self.sow("intermediates", f"stage{i}", grid)  # [B, H/16, W/16, C]

        # Head
        x = nn.LayerNorm(1e-5, self.dtype, name="norm")(outputs[-1][:, 0])  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


def soft_split(x: jax.Array, size: int, strides: int, *, padding: int) -> jax.Array:
    """Unfolds overlapping windows to vectors, as `torch.nn.Unfold` does.

    [B, H, W, C] -> [B, H / strides, W / strides, C * size^2]. A vector holds the window of the
    first channel, row by row, then that of the next channel.
    """
    height, width = x.shape[1] // strides, x.shape[2] // strides
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    last = strides * (height - 1) + 1, strides * (width - 1) + 1
    taps = [
        x[:, row : row + last[0] : strides, column : column + last[1] : strides]
        for row in range(size)
        for column in range(size)
    ]
    return jnp.stack(taps, axis=-1).reshape(*taps[0].shape[:3], -1)


def sinusoids(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Sinusoidal position embedding (Vaswani et al. 2017), [1, N, C]; `key` is not used."""
    _, count, width = shape
    channel = jnp.arange(width)[None]
    angles = jnp.arange(count)[:, None] / 10000.0 ** (channel // 2 * 2 / width)
    return jnp.where(channel % 2, jnp.cos(angles), jnp.sin(angles))[None]


family = Family(
    "t2t_vit",
    dict(
        paper="Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet, "
        "arXiv:2101.11986",
        year=2021,
        accuracy_source="the authors' README",
        interpolation="bicubic",
        crop=0.9,
    ),
    resampling=((r"pos_embed$", resample_tokens),),
)
transformer = dict(attention=TokenTransformer, token_dropout=0.0)


@family.variant(reference="T2T-ViT t2t_vit_7", top1=71.7)
def t2t_vit_7(**kwargs) -> T2TViT:
    """4,310,222 parameters, 1.15 G multiply-adds, 71.7 % top-1."""
    return T2TViT(256, 7, 4, 2.0, **kwargs)


@family.variant(reference="T2T-ViT t2t_vit_14", top1=81.5)
def t2t_vit_14(**kwargs) -> T2TViT:
    """21,545,550 parameters, 4.78 G multiply-adds, 81.5 % top-1."""
    return T2TViT(384, 14, 6, **kwargs)


@family.variant(reference="T2T-ViT t2t_vit_19", top1=81.9)
def t2t_vit_19(**kwargs) -> T2TViT:
    """39,177,422 parameters, 8.48 G multiply-adds, 81.9 % top-1."""
    return T2TViT(448, 19, 7, **kwargs)


@family.variant(reference="T2T-ViT t2t_vit_24", top1=82.3)
def t2t_vit_24(**kwargs) -> T2TViT:
    """64,105,934 parameters, 13.66 G multiply-adds, 82.3 % top-1."""
    return T2TViT(512, 24, 8, **kwargs)


@family.variant(reference="T2T-ViT t2t_vit_t_14", top1=81.7)
def t2t_vit_t_14(**kwargs) -> T2TViT:
    """21,541,070 parameters, 6.09 G multiply-adds, 81.7 % top-1."""
    return T2TViT(384, 14, 6, **transformer, **kwargs)


@family.variant(reference="T2T-ViT t2t_vit_t_19", top1=82.4)
def t2t_vit_t_19(**kwargs) -> T2TViT:
    """39,172,942 parameters, 9.78 G multiply-adds, 82.4 % top-1."""
    return T2TViT(448, 19, 7, **transformer, **kwargs)


@family.variant(reference="T2T-ViT t2t_vit_t_24", top1=82.6)
def t2t_vit_t_24(**kwargs) -> T2TViT:
    """64,101,454 parameters, 14.97 G multiply-adds, 82.6 % top-1."""
    return T2TViT(512, 24, 8, **transformer, **kwargs)


def authors_names(model: T2TViT) -> Rules:
    """Returns the authors' names, which arrange the two kinds of token attention differently."""
    performer = (
        (r"^tokens(\d)/attention/random_vectors$", r"tokens\1/w"),
        (r"^tokens(\d)/attention/", r"tokens\1/"),
        (r"^tokens(\d)/mlp/fc1$", r"tokens\1/mlp/0"),
        (r"^tokens(\d)/mlp/fc2$", r"tokens\1/mlp/2"),
    )
    rules = performer if model.attention is TokenPerformer else ()
    stem = ((r"^stem_proj$", "tokens_to_token/project"),)
    return (*rules, *stem, *TIMM, (r"^tokens(\d)/", r"tokens_to_token/attention\1/"))


family.checkpoint_keys("T2T-ViT", authors_names)
