"""Depth of a network: how many layers an image passes on its longest way, read in its program."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

from zoo.kernels import platform

_PRODUCTS = ("conv_general_dilated", "dot_general")
_POOLINGS = ("reduce_window", "reduce_window_max", "reduce_window_sum")


def depth(function: Callable, *args: Any, poolings: bool = False) -> int:
    """Returns the number of layers with weights on the longest way from the images to the result.

    Layers are convolutions and matrix products with something that does not depend on the images.
    Gates, such as those of squeeze-and-excitation, are beside the way: what is spread over all
    positions begins anew. This is how papers count: ResNet-152 and its variant with gates have 152.
    Nothing is computed.

    Args:
      function: A function that JAX can trace.
      *args: Its arguments, arrays or `jax.ShapeDtypeStruct`s; the last are the images.
      poolings: Whether poolings count as well, as in GoogLeNet's "27 layers".
    """
    with platform.tracing(platform.NATIVE):
        return depth_of(jax.make_jaxpr(function)(*args).jaxpr, poolings)


def depth_of(program: core.Jaxpr, poolings: bool = False) -> int:
    """Returns what `depth` does, of a program of JAX's own operations that was traced already."""
    seen = _Depth(0, False)
    (found, *_) = _Counter(poolings).outputs(program, [None] * (len(program.invars) - 1) + [seen])
    return found.layers if found else 0


class _Depth(NamedTuple):
    """How deep an array is; None instead for one that does not depend on the images.

    Attributes:
      layers: Number of layers on the longest way to it.
      spread: Whether it has one value for many positions, as a gate.
    """

    layers: int
    spread: bool


class _Counter:
    """Follows a program."""

    def __init__(self, poolings: bool):
        self.poolings = poolings

    def outputs(self, program: core.Jaxpr, inputs: Sequence[_Depth | None]) -> list[_Depth | None]:
        """The depths of a program's outputs, given those of its inputs."""
        known: dict[Any, _Depth | None] = dict(zip(program.invars, inputs, strict=True))

        def of(variable: Any) -> _Depth | None:
            return None if isinstance(variable, core.Literal) else known.get(variable)

        for equation in program.eqns:
            given = [of(variable) for variable in equation.invars]
            inner = _inner(equation)
            if all(depth is None for depth in given):
                results = [None] * len(equation.outvars)
            elif inner is not None:
                results = self.outputs(inner, given[-len(inner.invars) :])
            else:
                results = [self._through(equation, given)] * len(equation.outvars)
            known |= dict(zip(equation.outvars, results, strict=True))
        return [of(variable) for variable in program.outvars]

    def _through(self, equation: core.JaxprEqn, given: Sequence[_Depth | None]) -> _Depth:
        """The depth after one operation."""
        name, after = equation.primitive.name, _shape(equation.outvars[0])
        shapes = [_shape(variable) for variable in equation.invars]
        depths = [
            depth._replace(spread=depth.spread or _is_stretched(shape, after))
            for shape, depth in zip(shapes, given, strict=True)
            if depth is not None
        ]
        whole = [depth for depth in depths if not depth.spread]
        layers = max(depth.layers for depth in whole or depths)
        is_layer = name in _PRODUCTS and len(depths) == 1
        is_mean = name == "reduce_sum" and len(shapes[0]) == 4 and len(after) == 2
        is_pooling = self.poolings and (name in _POOLINGS or is_mean)
        enlarged = name == "broadcast_in_dim" and math.prod(after) > math.prod(shapes[0])
        spread = enlarged or not (whole or is_layer or is_mean)
        return _Depth(layers + (is_layer or is_pooling), spread)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _is_stretched(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether axes of length 1 are stretched to another shape."""
    stretched = len(shape) == len(to) and all(a in (1, b) for a, b in zip(shape, to, strict=True))
    return stretched and tuple(shape) != tuple(to)


def _inner(equation: core.JaxprEqn) -> core.Jaxpr | None:
    """The program that an operation calls; of several branches the last, of a loop one turn."""
    params = equation.params
    if equation.primitive.name == "cond":
        return params["branches"][-1].jaxpr
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in params:
            return getattr(params[key], "jaxpr", params[key])
    return None
