"""Multiply-adds of a function, counted from its jaxpr: exact, and the same rule for every model."""

import math
from collections.abc import Callable

import jax
from jax.extend import core


def count(function: Callable, *args) -> int:
    """Multiply-adds of `function(*args)`: its convolutions and matrix products, nothing else.

    `args` may be arrays or `jax.ShapeDtypeStruct`s; nothing is computed. A padded position counts
    like any other, as papers and other counters do.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        # The kernel's axes, input features first: each output is a sum over them and the window.
        kernel = equation.invars[1].aval.shape
        _, features_in, *window = params["dimension_numbers"].rhs_spec
        taps = kernel[features_in] * math.prod(kernel[axis] for axis in window)
        return equation.outvars[0].aval.size * taps
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        lhs = equation.invars[0].aval.shape
        return equation.outvars[0].aval.size * math.prod(lhs[axis] for axis in contracted)
    if name == "cond":
        # lax.platform_dependent becomes a cond; its last branch is the default, plain formulation.
        return _count(params["branches"][-1].jaxpr)
    if name == "scan":
        return params["length"] * _count(params["jaxpr"].jaxpr)
    return sum(_count(inner) for inner in core.jaxprs_in_params(params))
