"""Identical blocks in a row: one after the other, or one `nn.scan` over stacked parameters."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

# A parameter under a scan ("stage1_blocks/block2/norm1/scale"), without its leading axis.
_SCANNED = re.compile(r"(?P<prefix>.*\b|.*_|)blocks/block(?P<at>\d+)/(?P<rest>.*)")


def run_blocks(
    blocks: Sequence[Callable[..., nn.Module]],
    x: Any,
    rates: Sequence[float],
    *,
    train: bool,
    prefix: str = "",
    start: int = 1,
    scan: bool = False,
    remat: bool = False,
) -> list[Any]:
    """Applies blocks one after the other, one for each of `rates`.

    Args:
      blocks: Block constructors, applied cyclically, each called with `drop_path` and `name`. One
        where all blocks are alike; their number divides that of `rates`.
      x: Input of the first block.
      rates: Drop path rate of each block.
      train: Passed on to the blocks.
      prefix: Prefix of the blocks' names: `prefix`block1, `prefix`block2, ...
      start: Number of the first block, above 1 where blocks of another kind come before.
      scan: Whether to compile the blocks once, as a scan over stacked parameters, which lie under
        `prefix`blocks/block1 (and block2, ... where there are several constructors).
      remat: Whether to rematerialize block activations in the backward pass; only the blocks'
        inputs are kept.

    Returns:
      The output of each block; the last is that of the whole sequence. [x] without `rates`.
    """
    if not rates:
        return [x]
    if not scan:
        outputs = []
        for i, rate in enumerate(rates):
            block = blocks[i % len(blocks)](drop_path=rate, name=f"{prefix}block{start + i}")
            x = _call(block, x, train, remat)
            outputs.append(x)
        return outputs
    length = len(rates) // len(blocks)
    scanned = nn.scan(
        _ScanBody,
        variable_axes={"params": 0, "batch_stats": 0, "intermediates": 0, "attention": 0},
        split_rngs={"params": True, "dropout": True},
        length=length,
    )
    body = scanned(tuple(blocks), start, train, remat, name=f"{prefix}blocks")
    # Without drop path there is nothing to scan over, and no random numbers are asked for.
    per_step = jnp.asarray(rates).reshape(length, len(blocks)) if any(rates) else None
    _, outputs = body(x, per_step)
    return [
        jax.tree.map(lambda leaf, at=at: leaf[at], output)
        for at in range(length)
        for output in outputs
    ]


def run_stage(
    blocks: Sequence[Callable[..., nn.Module]],
    x: Any,
    rates: Sequence[float],
    *,
    first: Callable[..., nn.Module] | None = None,
    prefix: str = "",
    **settings,
) -> Any:
    """Applies the blocks of a stage and returns the output of the last.

    Args:
      blocks: Block constructors, applied cyclically, as for `run_blocks`.
      x: Input of the stage.
      rates: Drop path rate of each block.
      first: Constructor of the first block where it is of a kind of its own, as in stages that
        begin with a stride. It is neither scanned nor rematerialized.
      prefix: Prefix of the blocks' names: `prefix`block1, `prefix`block2, ...
      **settings: `train`, `scan` and `remat`, as for `run_blocks`.
    """
    if first is None:
        return run_blocks(blocks, x, rates, prefix=prefix, **settings)[-1]
    x = first(drop_path=rates[0], name=f"{prefix}block1")(x, train=settings["train"])
    return run_blocks(blocks, x, rates[1:], prefix=prefix, start=2, **settings)[-1]


class _ScanBody(nn.Module):
    """The body of the scan: one block of each constructor."""

    blocks: Sequence[Callable[..., nn.Module]]
    start: int
    train: bool
    remat: bool

    @nn.compact
    def __call__(self, x: Any, rates: jax.Array | None) -> tuple[Any, list[Any]]:
        outputs = []
        for i, block in enumerate(self.blocks):
            rate = 0.0 if rates is None else rates[i]
            block = block(drop_path=rate, name=f"block{self.start + i}")
            x = _call(block, x, self.train, self.remat)
            outputs.append(x)
        return x, outputs


def _call(block: nn.Module, x: Any, train: bool, remat: bool) -> Any:
    def call(block, x):
        return block(x, train=train)

    return (nn.remat(call) if remat else call)(block, x)


def stack_blocks(variables: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Converts variables of a model without `scan` to those of the same model with it.

    Args:
      variables: Variables of the model without `scan`.
      like: Variables, or their shapes, of the model with `scan`.
    """
    values: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep="/")
    shapes: dict[str, Any] = traverse_util.flatten_dict(dict(like), sep="/")
    stacked = {}
    for path, shape in shapes.items():
        names = _unstacked(path, shape.shape[0], like) if shape.shape else None
        stacked[path] = np.stack([values[name] for name in names]) if names else values[path]
    return traverse_util.unflatten_dict(stacked, sep="/")


def unstack_blocks(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `stack_blocks`; variables without stacked blocks are returned as they are."""
    values: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep="/")
    unstacked = {}
    for path, value in values.items():
        names = _unstacked(path, len(value), variables) if np.ndim(value) else None
        unstacked |= zip(names, value, strict=True) if names else {path: value}
    return traverse_util.unflatten_dict(unstacked, sep="/")


def _unstacked(path: str, length: int, variables: Mapping[str, Any]) -> list[str] | None:
    """The paths, without scan, of the `length` parameters stacked at `path`; None if it is none."""
    match = _SCANNED.fullmatch(path)
    if not match:
        return None
    siblings = variables
    for key in f"{match['prefix']}blocks".split("/"):
        siblings = siblings[key]
    start, cycle = int(match["at"]), len(siblings)
    return [
        f"{match['prefix']}block{start + step * cycle}/{match['rest']}" for step in range(length)
    ]


def stage_ends(depth: int, stages: int = 4) -> list[int]:
    """Divides equal blocks into stages of nearly equal length and returns the stages' last blocks.

    `stage_ends(12)` is `[3, 6, 9, 12]`. Networks of one resolution have no stages of their own;
    `zoo.features` returns the outputs of their quarters, as dense-prediction heads use them.
    """
    return [round(depth * stage / stages) for stage in range(1, stages + 1)]
