"""Shapes that change along the batch, for meshes with explicit axes as well."""

from zoo.kernels.sharding import reshape_batch

__all__ = ["reshape_batch"]
