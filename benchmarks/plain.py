"""Flax's own layers under every model, for the benchmarks to compare ours with."""

import math

import jax

from zoo.kernels import conv, einsum, settle


def use_plain_layers() -> None:
    """From now on models trace to `nn.Conv`'s, `nn.Dense`'s and `nn.max_pool`'s operations."""
    conv._is_plain = lambda kernel, settings: False
    einsum.FEWEST_PRODUCTS = math.inf
    settle._stored = lambda array: array
    jax.lax.platform_dependent = lambda *arrays, default, **_: default(*arrays)
