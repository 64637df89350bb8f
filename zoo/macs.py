"""Multiply-adds of a function, counted from its jaxpr: exact, and the same rule for every model."""

import collections
import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def count(function: Callable, *args) -> int:
    """Multiply-adds of `function(*args)`: its convolutions and matrix products, nothing else.

    `args` may be arrays or `jax.ShapeDtypeStruct`s; nothing is computed. A padded position counts
    like any other, as papers and other counters do.
    """
    return count_by_scope(function, *args).total()


def count_by_scope(function: Callable, *args) -> collections.Counter[str]:
    """The same, by name scope: Flax opens one for each module, "ResNet/stage1_block1/conv1"."""
    counts = collections.Counter()
    _count(jax.make_jaxpr(function)(*args).jaxpr, "", 1, counts)
    return counts


def _count(jaxpr: core.Jaxpr, outer: str, times: int, counts: collections.Counter) -> None:
    for equation in jaxpr.eqns:
        scope = f"{outer}/{equation.source_info.name_stack}"
        name, params = equation.primitive.name, equation.params
        if name in ("conv2d", "einsum", "conv_general_dilated", "dot_general"):
            counts[scope] += times * _products(equation)
        elif name == "cond":
            # lax.platform_dependent becomes a cond, and its last branch is the plain formulation.
            _count(params["branches"][-1].jaxpr, scope, times, counts)
        elif name == "scan":
            _count(params["jaxpr"].jaxpr, scope, times * params["length"], counts)
        else:
            for inner in core.jaxprs_in_params(params):
                _count(inner, scope, times, counts)


def _products(equation: core.JaxprEqn) -> int:
    """Multiply-adds of one convolution or matrix product."""
    output = math.prod(_shape(equation.outvars[0]))
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        lhs = _shape(equation.invars[0])
        return output * math.prod(lhs[axis] for axis in contracted)
    if (
        equation.primitive.name == "einsum"
    ):  # zoo.kernels.einsum: one product for each choice of axes
        shapes = [_shape(variable) for variable in equation.invars]
        first, second, _ = equation.params["axes"]
        return math.prod(dict(zip(first + second, sum(shapes, ()), strict=True)).values())
    if equation.primitive.name == "conv2d":
        return output * math.prod(_shape(equation.invars[1])[:3])  # zoo.kernels.conv, HWIO
    # The kernel's axes, input features first: each output is a sum over them and the window.
    kernel = _shape(equation.invars[1])
    _, features_in, *window = equation.params["dimension_numbers"].rhs_spec
    return output * kernel[features_in] * math.prod(kernel[axis] for axis in window)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape
