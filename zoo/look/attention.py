"""What the tokens of a transformer attend to, through all of its blocks.

All functions take a network, its variables, and images [B, H, W, C] as the network takes them.
They are about self-attention over one set of N tokens. A network that first computes on other
tokens (T2T-ViT's tokens-to-token blocks, the earlier stages of PVT and Swin) is followed from its
last set of tokens on. Windows at the end, and attention of one token alone (CaiT, CrossViT), have
no such product and are refused.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.look.program import Program, logit


class Attended(NamedTuple):
    """Which tokens the result of a network comes from.

    Attributes:
      map: How much of each patch is in the class token; of a network without one, in the mean of
        all patches. [B, h, w].
      tokens: How much of each token (columns) is in each token (rows), [B, N, N]; the class token
        comes first.
    """

    map: jax.Array
    tokens: jax.Array


def attention_maps(model: nn.Module, variables: Any, images: jax.Array) -> list[jax.Array]:
    """Returns the attention of each block, [B, heads, N, N], whose rows sum to 1, first to last.

    Raises:
      ValueError: The network has no self-attention over one set of tokens, see the module.
    """
    program, names = _program(model, variables, images)
    outputs = program(variables, images)[1]
    return [outputs[name] for name in names]


def rollout(model: nn.Module, variables: Any, images: jax.Array, fuse: str = "mean") -> Attended:
    """Multiplies the attention of all blocks, with half of each token staying what it is.

    Heads are fused, the identity is added, rows are divided by their sums, and the matrices are
    multiplied, the last block leftmost. It does not depend on a class. Abnar and Zuidema 2020,
    arXiv:2005.00928.

    Args:
      model, variables, images: See the module.
      fuse: "mean" or "max" over the heads.

    Raises:
      ValueError: As `attention_maps`, or `fuse` is something else.
    """
    if fuse not in ("mean", "max"):
        raise ValueError(f'fuse={fuse!r} is not known: choose "mean" or "max".')
    program, names = _program(model, variables, images)
    outputs = program(variables, images)[1]
    kept = joined = jnp.eye(outputs[names[-1]].shape[-1], dtype=outputs[names[-1]].dtype)[None]
    for name in names:
        fused = kept + (outputs[name].mean(1) if fuse == "mean" else outputs[name].max(1))
        joined = fused / fused.sum(-1, keepdims=True) @ joined
    return _attended(joined, program)


def relevance(model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array) -> Attended:
    """Returns which tokens the logit of each image's class depends on.

    From the identity on, each block adds the mean over the heads of max(A dlogit/dA, 0) times what
    was there, A its attention. Chefer et al. 2021, arXiv:2103.15679, for self-attention.

    Args:
      model, variables, images: See the module.
      targets: Class of each image, int [B].

    Raises:
      ValueError: As `attention_maps`.
    """
    program, names = _program(model, variables, images)

    def logits(added: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits, outputs = program(variables, images, added)
        return logit(logits, targets).sum(), outputs

    shapes = {name: program.shapes[name] for name in names}
    zeros = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
    slopes, outputs = jax.grad(logits, has_aux=True)(zeros)
    joined = jnp.eye(zeros[names[-1]].shape[-1], dtype=zeros[names[-1]].dtype)[None]
    for name in names:
        joined = joined + jax.nn.relu(outputs[name] * slopes[name]).mean(1) @ joined
    return _attended(joined, program)


def _program(model: nn.Module, variables: Any, images: jax.Array) -> tuple[Program, list[str]]:
    """The network, and the names of its last maps of attention over one set of tokens."""
    program = Program(model, variables, images, ["attention"])
    name, sizes = type(model).__name__, [x.shape for x in program.shapes.values()]
    if not sizes:
        raise ValueError(f"{name} has no attention.")
    batch, _, queries, keys = sizes[-1]
    if batch != images.shape[0]:
        raise ValueError(f"{name} attends within windows, so its tokens never form one product.")
    if queries != keys:
        raise ValueError(
            f"{name} ends with {queries} tokens that attend to {keys}: there is no product of one "
            "set of tokens."
        )
    same = [size[0] == batch and size[2:] == (keys, keys) for size in sizes]
    first = len(same) - same[::-1].index(False) if False in same else 0
    return program, [*program.shapes][first:]


def _attended(tokens: jax.Array, program: Program) -> Attended:
    """The map of patches from a matrix of tokens [B, N, N]."""
    stages = [x.shape for name, x in program.sown.items() if name.startswith("stage")]
    _, height, width, _ = stages[-1]
    before = tokens.shape[-1] - height * width  # class token, distillation token
    row = tokens[:, 0] if before else tokens.mean(1)
    return Attended(row[:, before:].reshape(-1, height, width), tokens)
