"""Every model on flax's own layers, the baseline of the benchmarks."""

from zoo.kernels import platform


def use_plain_layers() -> None:
    """Makes all models trace to the operations of `nn.Conv`, `nn.Dense` and `nn.max_pool`."""
    platform.tracing(platform.NATIVE).__enter__()
