"""LocalViT: vision transformers whose MLPs are inverted residuals.

LocalViT: Bringing Locality to Vision Transformers, Li et al. 2021, arXiv:2104.05707. Reference: the
authors' ofsoundof/LocalViT `localvit_tiny_mlp4_act3_r192`, `localvit_small_mlp4_act3_r384` (DeiT
with it) and `localvit_pvt_tiny` (PVT with it).

Differences from the paper: none known. As in the reference there is no LayerNorm before the
convolutions and no drop path around them, and the class token skips them; so the logits do not
depend on the convolutions of the last block.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import SelfAttention
from zoo.layers.blocks import run_blocks, stage_ends
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath, drop_path_rates
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.reduced_attention import ReducedAttention
from zoo.layers.tokens import patch_embedding, prepend_tokens
from zoo.models import pvt, vit
from zoo.registry import Family


class LocalFeedForward(nn.Module):
    """Inverted residual with squeeze-and-excitation, [B, H, W, C] -> [B, H, W, C].

    1x1 to `ratio * C` features, depthwise 3x3, squeeze-and-excitation, 1x1 to C features, and a
    shortcut.

    Attributes:
      ratio: Expansion of the features; also the number of squeezed features.
      dtype: Dtype of the computation.
    """

    ratio: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        features, hidden = x.shape[-1], self.ratio * x.shape[-1]
        conv = partial(Conv, use_bias=False, dtype=self.dtype)
        depthwise = partial(conv, feature_group_count=hidden, padding=1, name="depthwise_conv")
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        y = conv(hidden, (1, 1), name="expand_conv")(x)
        y = nn.hard_swish(norm(name="expand_norm")(y))
        y = depthwise(hidden, (3, 3))(y)
        y = nn.hard_swish(norm(name="depthwise_norm")(y))
        gate = jnp.mean(y, axis=(1, 2), keepdims=True)  # [B, 1, 1, ratio * C]
        gate = nn.relu(Dense(self.ratio, dtype=self.dtype, name="squeeze")(gate))
        gate = nn.hard_sigmoid(Dense(hidden, dtype=self.dtype, name="excite")(gate))
        y = conv(features, (1, 1), name="project_conv")(y * gate)
        return x + norm(name="project_norm")(y)


class Block(nn.Module):
    """Pre-norm residual attention, and an inverted residual, [B, N, C] -> [B, N, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      mlp_ratio: Width of the inverted residual's hidden features over C.
      ratio: Side, in tokens, of the patches that give one key each; 0 for plain self-attention.
      grid: (H, W) of the last H * W tokens; those before them skip the convolutions.
      drop_path: Drop path rate of the attention.
      dropout: Dropout rate after attention.
      dtype: Dtype of the computation.
    """

    num_heads: int
    mlp_ratio: int
    ratio: int
    grid: tuple[int, int]
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        (height, width), (batch, _, features) = self.grid, x.shape
        attention = partial(SelfAttention, kernel_init=trunc_normal)
        if self.ratio:
            attention = partial(ReducedAttention, ratio=self.ratio, grid=self.grid)
        attention = partial(attention, dropout=self.dropout, dtype=self.dtype, name="attention")
        y = nn.LayerNorm(1e-6, self.dtype, name="norm1")(x)
        y = attention(self.num_heads)(y, train=train)
        x = x + DropPath(self.drop_path)(y, train=train)
        token, grid = jnp.split(x, [x.shape[1] - height * width], axis=1)
        grid = grid.reshape(batch, height, width, features)
        feed_forward = LocalFeedForward(self.mlp_ratio, self.dtype, name="feed_forward")
        grid = feed_forward(grid, train=train).reshape(batch, height * width, features)
        return jnp.concatenate([token, grid], axis=1)


class LocalViT(nn.Module):
    """LocalViT, images [B, H, W, C] whose sides are multiples of 16 -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.

    Attributes:
      width: Width of a token, C.
      num_heads: Number of attention heads in each block.
      depth: Number of blocks.
      num_classes: Number of classes; 0 removes the head and returns the class token [B, C].
      dropout: Dropout rate after the position embedding and after attention.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    width: int
    num_heads: int
    depth: int = 12
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stem: patches, class token, positions
        x = patch_embedding(images, 16, self.width, self.dtype)  # [B, H/16, W/16, C]
        self.sow("intermediates", "stem", x)
        batch, *grid, _ = x.shape
        x = prepend_tokens(self, x.reshape(batch, -1, self.width), "class_token")  # [B, 1 + N, C]
        x = nn.Dropout(self.dropout, deterministic=not train)(add_positions(self, x))

        # Blocks. Their quarters are the stages.
        block = partial(Block, self.num_heads, 4, 0, (grid[0], grid[1]))
        block = partial(block, dropout=self.dropout, dtype=self.dtype)
        rates = drop_path_rates(self.drop_path, self.depth)
        settings: dict[str, Any] = dict(train=train, scan=self.scan, remat=self.remat)
        outputs = run_blocks([block], x, rates, **settings)
        for i, end in enumerate(stage_ends(self.depth), 1):
            stage = outputs[end - 1][:, 1:].reshape(batch, *grid, self.width)
            self.sow("intermediates", f"stage{i}", stage)  # [B, H/16, W/16, C]

        # Head
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(outputs[-1][:, 0])  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


family = Family(
    "localvit",
    dict(
        paper="LocalViT: Bringing Locality to Vision Transformers, arXiv:2104.05707",
        year=2021,
        accuracy_source="ofsoundof/LocalViT",
        interpolation="bicubic",
    ),
    resampling=((r"pos_embed$", resample_tokens), *pvt.family.resampling),
)


@family.variant(reference="ofsoundof/LocalViT localvit_tiny_mlp4_act3_r192", top1=74.84, top5=92.61)
def localvit_t(**kwargs) -> LocalViT:
    """5,908,696 parameters, 1.27 G multiply-adds, 74.8 % top-1."""
    return LocalViT(192, 4, **kwargs)


@family.variant(
    reference="ofsoundof/LocalViT localvit_small_mlp4_act3_r384", top1=80.78, top5=95.38
)
def localvit_s(**kwargs) -> LocalViT:
    """22,433,176 parameters, 4.62 G multiply-adds, 80.8 % top-1."""
    return LocalViT(384, 8, **kwargs)


@family.variant(reference="ofsoundof/LocalViT localvit_pvt_tiny", top1=78.14, top5=94.24)
def localvit_pvt_t(**kwargs) -> pvt.PVT:
    """13,456,152 parameters, 1.98 G multiply-adds, 78.1 % top-1."""
    return pvt.PVT((2, 2, 2, 2), block=Block, **kwargs)


FEED_FORWARD = (
    (r"/feed_forward/", "/conv/conv/"),
    (r"/expand_conv$", "/0"),
    (r"/expand_norm$", "/1"),
    (r"/depthwise_conv$", "/3"),
    (r"/depthwise_norm$", "/4"),
    (r"/squeeze$", "/6/fc/0"),
    (r"/excite$", "/6/fc/2"),
    (r"/project_conv$", "/7"),
    (r"/project_norm$", "/8"),
)


def reference_names(model: LocalViT | pvt.PVT) -> tuple[tuple[str, str], ...]:
    """Checkpoint keys of the authors: those of PVT or timm's ViT, and of the inverted residuals."""
    return (*(pvt.NAMES if isinstance(model, pvt.PVT) else vit.TIMM), *FEED_FORWARD)


family.checkpoint_keys("ofsoundof/LocalViT", reference_names)
