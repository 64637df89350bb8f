"""From a jaxpr to an ONNX graph: equation by equation, what does not depend on the input folded."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from zoo.export.graph import BATCH, ExportError, Graph, Value
from zoo.export.primitives import RULES

# Calls of functions, by the parameter that holds the function's own jaxpr.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}


def convert(
    function: Callable[[jax.Array], jax.Array],
    images: jax.ShapeDtypeStruct,
    graph: Graph,
    value: Value,
) -> Value:
    """Writes a function of images into a graph.

    Args:
      function: What to write, a pure function.
      images: Shape and dtype of its argument; the first axis may be a symbol.
      graph: Graph that takes the nodes.
      value: Input of the graph.

    Returns:
      The function's result.

    Raises:
      ExportError: It has an operation that cannot be written; the message names it.
    """
    closed = jax.make_jaxpr(function)(images)
    batch = images.shape[0]
    results = _run(closed.jaxpr, closed.consts, [value], graph, _Sizes(batch))
    if len(results) != 1:
        raise ExportError(f"The model returns {len(results)} arrays, and one can be exported.")
    return results[0]


class _Sizes:
    """Turns sizes that may hold the symbol of the batch into multiples of `BATCH`."""

    def __init__(self, batch: Any):
        self.batch = batch

    def __call__(self, value: Any) -> Any:
        if isinstance(value, tuple):  # named ones too
            items = [self(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if not jax.export.is_symbolic_dim(value):
            return value
        factor = value // self.batch
        if not isinstance(factor, int) or factor * self.batch != value:
            raise ExportError(
                f"A size of {value} cannot be exported: it is no multiple of a batch."
            )
        return factor * BATCH


def _run(jaxpr, constants: Sequence[Any], arguments: Sequence[Value], graph: Graph, sizes: _Sizes):
    """Writes the equations of a jaxpr; returns its results."""
    known: dict[Any, Value] = {}

    def read(atom) -> Value:
        if isinstance(atom, core.Literal):
            return Value.constant(np.asarray(atom.val, jax.typeof(atom.val).dtype))
        return known[atom]

    known.update(
        (variable, Value.constant(np.asarray(array)))
        for variable, array in zip(jaxpr.constvars, constants, strict=True)
    )
    known.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        results = _equation(equation, inputs, graph, sizes)
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(equation, inputs: list[Value], graph: Graph, sizes: _Sizes) -> Sequence[Value]:
    """Returns the results of one equation."""
    name, parameters = equation.primitive.name, equation.params
    if name in CALLS and CALLS[name] in parameters:
        inner = parameters[CALLS[name]]
        jaxpr = getattr(inner, "jaxpr", inner)
        return _run(jaxpr, getattr(inner, "consts", ()), inputs, graph, sizes)
    if name == "cond" and inputs[0].is_constant:
        branch = parameters["branches"][int(np.clip(inputs[0].tensor, 0, None))]
        return _run(branch.jaxpr, branch.consts, inputs[1:], graph, sizes)
    shapes = [sizes(tuple(out.aval.shape)) for out in equation.outvars]
    sized = {key: sizes(value) for key, value in parameters.items()}
    if name == "dim_as_value":
        raise ExportError("A model that computes with the batch size cannot be exported to ONNX.")
    if all(value.is_constant for value in inputs) and (folded := _fold(equation, inputs, shapes)):
        return folded
    if name not in RULES:
        raise ExportError(
            f"The operation {name!r} of this model has no counterpart in ONNX that the export "
            f"knows; it knows {', '.join(sorted(RULES))}. StableHLO takes every model."
        )
    return RULES[name](graph, inputs, sized, shapes)


def _fold(equation, inputs: list[Value], shapes) -> list[Value] | None:
    """Returns the results of an equation of constants, or None where the batch is in its sizes."""
    of_batch = any(dim and dim % BATCH == 0 for shape in shapes for dim in shape)
    if of_batch or any(dim and dim % BATCH == 0 for value in inputs for dim in value.shape):
        return None
    if equation.primitive.name in ("broadcast_in_dim", "reshape", "transpose"):
        return None  # those have no cost, and would write out what is broadcast
    scratch = Graph("")
    arrays = [scratch.ordered(value).tensor for value in inputs]
    arrays = [np.reshape(a, v.shape) for a, v in zip(arrays, inputs, strict=True)]
    results = equation.primitive.bind(*map(jax.numpy.asarray, arrays), **equation.params)
    results = results if equation.primitive.multiple_results else [results]
    return [Value.constant(np.asarray(result)) for result in results]
