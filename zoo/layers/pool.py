"""Pooling functions of every family, each in the form that is fast on its platform."""

from zoo.kernels.pool import adaptive_average_pool, average_pool, max_pool

__all__ = ["adaptive_average_pool", "average_pool", "max_pool"]
