"""Windows of convolutions and poolings, as the network's program has them: padding in numbers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jax.extend import core

from zoo.look.layers import Layer, scope
from zoo.look.trace import Trace, is_variable


class Window(NamedTuple):
    """How a window goes over a map.

    Attributes:
      size: (height, width) of the kernel.
      strides: Of the rows and the columns.
      padding: ((before, after) of the rows, (before, after) of the columns).
      dilation: Distance of the kernel's entries, of rows and columns.
      groups: Number of groups of channels, each of which is convolved by itself.
    """

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def windows(traced: Trace, found: Mapping[str, Layer]) -> dict[str, Window]:
    """Returns the windows of convolutions and poolings by the names of their layers.

    Args:
      traced: A network, traced in the form for accelerators: `platform.tracing(platform.NATIVE)`.
      found: Its layers.
    """
    makers = {v: equation for equation in traced.jaxpr.eqns for v in equation.outvars}
    named = {layer.variable for layer in found.values()}
    result = {}
    for layer in found.values():
        equation = _windowed(layer, makers, named)
        if equation is not None:
            result[layer.name] = _window(equation)
    return result


def _windowed(layer: Layer, makers: Mapping[Any, Any], named: set) -> core.JaxprEqn | None:
    """The only convolution or pooling between a layer and those it reads; None for none or more."""
    found, ahead = [], [layer.variable]
    while ahead:
        equation = makers.get(ahead.pop())
        if equation is None:
            continue
        if _is_windowed(equation) and (scope(equation) == layer.path or not layer.settings):
            found.append(equation)
            continue
        ahead += [v for v in equation.invars if is_variable(v) and v not in named]
    return found[0] if len(found) == 1 else None


def _is_windowed(equation: core.JaxprEqn) -> bool:
    name = equation.primitive.name
    if name == "conv_general_dilated":
        numbers = equation.params["dimension_numbers"]
        layout = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
        plain = layout == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # NHWC, HWIO
        return plain and set(equation.params["lhs_dilation"]) == {1}
    return name in ("reduce_window", "reduce_window_max", "reduce_window_sum")


def _window(equation: core.JaxprEqn) -> Window:
    params = equation.params
    if equation.primitive.name == "conv_general_dilated":
        kernel: Any = equation.invars[1].aval
        size = kernel.shape[:2]
        dilation, groups = params["rhs_dilation"], params["feature_group_count"]
        return Window(size, params["window_strides"], params["padding"], dilation, groups)
    keys = ("window_dimensions", "window_strides", "padding", "window_dilation")
    size, strides, padding, dilation = (tuple(params[key][1:3]) for key in keys)
    return Window(size, strides, padding, dilation)
