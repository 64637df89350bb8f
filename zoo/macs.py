"""Multiply-adds of a function, counted in its jaxpr: exactly, and by one rule for all models."""

import collections
import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def count(function: Callable, *args) -> int:
    """Counts the multiply-adds of `function(*args)` in convolutions and matrix products.

    Nothing else counts, and nothing is computed. A padded position counts like any other, as in
    papers and other counters.

    Args:
      function: A function that JAX can trace.
      *args: Its arguments, arrays or `jax.ShapeDtypeStruct`s.
    """
    return count_by_scope(function, *args).total()


def count_by_scope(function: Callable, *args) -> collections.Counter[str]:
    """Counts as `count` does, by name scope.

    Flax opens a scope for each module, such as "ResNet/stage1_block1/conv1".
    """
    return of_program(jax.make_jaxpr(function)(*args).jaxpr)


def of_program(program: core.Jaxpr) -> collections.Counter[str]:
    """Counts as `count_by_scope` does, in a program that was traced already."""
    counts = collections.Counter()
    _count(program, "", 1, counts)
    return counts


def _count(jaxpr: core.Jaxpr, outer: str, times: int, counts: collections.Counter) -> None:
    for equation in jaxpr.eqns:
        scope = f"{outer}/{equation.source_info.name_stack}"
        name, params = equation.primitive.name, equation.params
        if name in ("conv2d", "einsum", "conv_general_dilated", "dot_general"):
            counts[scope] += times * _products(equation)
        elif name == "cond":
            # lax.platform_dependent becomes a cond, whose last branch is the native formulation.
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
    if equation.primitive.name == "einsum":
        # zoo.kernels.einsum: one product for each index into all axes.
        shapes = [_shape(variable) for variable in equation.invars]
        first, second, _ = equation.params["axes"]
        return math.prod(dict(zip(first + second, sum(shapes, ()), strict=True)).values())
    if equation.primitive.name == "conv2d":
        return output * math.prod(_shape(equation.invars[1])[:3])  # zoo.kernels.conv, HWIO
    # Each output is a sum over the kernel's input features and its window.
    kernel = _shape(equation.invars[1])
    _, features_in, *window = equation.params["dimension_numbers"].rhs_spec
    return output * kernel[features_in] * math.prod(kernel[axis] for axis in window)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape
