"""Reshapes along the batch that also work on meshes with explicit axes."""

from zoo.kernels.sharding import reshape_batch

__all__ = ["reshape_batch"]
