"""Flax's own layers under every model, for the benchmarks to compare ours with."""

from zoo.kernels import platform


def use_plain_layers() -> None:
    """From now on models trace to `nn.Conv`'s, `nn.Dense`'s and `nn.max_pool`'s operations."""
    platform.tracing(platform.NATIVE).__enter__()
