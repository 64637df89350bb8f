"""Initializers as in `jax.nn.initializers`, without compiling a program for each shape.

Under `jax.jit` these are JAX's own random numbers. Called eagerly, they would compile a program for
every shape, which takes longer than all that follows up to the first training step. There an array
is the start of a vector whose length is a power of two, so that a few programs serve all: by
default JAX's random numbers are functions of the key and the position alone. Both ways give the
same values up to the rounding of their scale.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray, Tracer
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from zoo.kernels import platform

Initializer = Callable[..., jax.Array]

MIN_LENGTH = 2**12  # drawing fewer numbers takes no less time

_distributions = {
    "normal": jax.random.normal,
    "truncated_normal": partial(jax.random.truncated_normal, lower=-2, upper=2),
    "uniform": partial(jax.random.uniform, minval=-1),
}
_deviations = {"normal": 1.0, "truncated_normal": 0.87962566103423978, "uniform": 3**-0.5}


def variance_scaling(scale: float, mode: str, distribution: str) -> Initializer:
    """Initializer of kernels [..., features in, features out] with variance scale / fan.

    Args:
      scale: Variance times fan, above 0.
      mode: The fan: "fan_in", "fan_out" or "fan_avg".
      distribution: "normal", "truncated_normal" (at two standard deviations) or "uniform".
    """

    def factor(shape) -> float:
        inputs, outputs = math.prod(shape[:-1]), math.prod(shape[:-2]) * shape[-1]
        fan = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[mode]
        return math.sqrt(scale / fan) / _deviations[distribution]

    return _initializer(distribution, factor)


def normal(stddev: float) -> Initializer:
    """Initializer from a normal distribution with mean 0 and this standard deviation."""
    return _initializer("normal", lambda shape: stddev)


def truncated_normal(stddev: float) -> Initializer:
    """Initializer from a normal distribution of mean 0, truncated at two standard deviations.

    `stddev` is the standard deviation before truncation.
    """
    return _initializer("truncated_normal", lambda shape: stddev)


lecun_normal = partial(variance_scaling, 1.0, "fan_in", "truncated_normal")
xavier_uniform = partial(variance_scaling, 1.0, "fan_avg", "uniform")


def _initializer(distribution: str, factor: Callable) -> Initializer:
    def init(key: jax.Array, shape, dtype=jnp.float32) -> jax.Array:
        settings = dict(distribution=distribution, factor=factor(shape), shape=tuple(shape))
        settings |= dict(kind=jax.random.key_impl(key), dtype=np.dtype(dtype))
        data = jax.random.key_data(key)
        if platform.form(data) == platform.CPU:
            return _draw.bind(data, **settings)
        is_traced = isinstance(data, Tracer)
        return (_draw_traced if is_traced else _draw_eagerly)(data, **settings)

    return init


def _draw_traced(data, *, kind, distribution, factor, shape, dtype) -> jax.Array:
    key = jax.random.wrap_key_data(data, impl=kind)
    return _distributions[distribution](key, shape=shape, dtype=dtype) * jnp.asarray(factor, dtype)


_compiled = jax.jit(
    _draw_traced, static_argnames=("kind", "distribution", "factor", "shape", "dtype")
)


def _draw_eagerly(data, *, factor, shape, dtype, **settings) -> jax.Array:
    alike = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue] (JAX makes it at run time)
    if settings["kind"] != "threefry2x32" or not alike:
        return _compiled(data, factor=factor, shape=shape, dtype=dtype, **settings)
    size = math.prod(shape)
    length = max(MIN_LENGTH, 1 << (size - 1).bit_length())
    values = np.asarray(_compiled(data, factor=1.0, shape=(length,), dtype=dtype, **settings))
    return jnp.asarray((values[:size] * dtype.type(factor)).reshape(shape))


_draw = Primitive("draw")
_draw.def_impl(_draw_eagerly)
_draw.def_abstract_eval(lambda data, *, shape, dtype, **settings: ShapedArray(shape, dtype))
batching.primitive_batchers[_draw] = lambda arrays, axes, **settings: (
    jax.vmap(partial(_draw_traced, **settings), in_axes=axes)(*arrays),
    0,
)
mlir.register_lowering(_draw, mlir.lower_fun(_draw_traced, multiple_results=False))

# PyTorch's initializers: `kaiming_normal_` with either mode, and the default of `torch.nn.Linear`
# and `torch.nn.Conv2d`.
kaiming_fan_in = variance_scaling(2.0, "fan_in", "normal")
kaiming_fan_out = variance_scaling(2.0, "fan_out", "normal")
torch_default = variance_scaling(1 / 3, "fan_in", "uniform")
