"""Pooling functions of every family, each in the form that is fast on its platform."""

from zoo.kernels import pool
from zoo.layers.observe import observable

__all__ = ["adaptive_average_pool", "average_pool", "max_pool"]

adaptive_average_pool = observable(pool.adaptive_average_pool)
average_pool = observable(pool.average_pool)
max_pool = observable(pool.max_pool)
