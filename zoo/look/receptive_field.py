"""Receptive fields: which pixels an output can depend on, read from the network's program.

The program of the network is followed operation by operation, and each array carries the interval
of pixels that one of its positions sees. This is exact where gradients are not: those of maximum
pooling skip all but the largest, and padding cuts fields at the border off.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core

from zoo.features import features
from zoo.kernels import platform
from zoo.look.layers import Layer
from zoo.look.trace import Trace


class ReceptiveField(NamedTuple):
    """What the positions of an output see, in either direction.

    Position i sees the pixels start + i * stride to start + i * stride + size - 1. Where start is
    below 0, that is padding.

    Attributes:
      size: Number of pixels in a row; infinity where every position sees the whole image.
      stride: Distance in pixels of what neighbouring positions see.
      start: First pixel that position 0 sees.
    """

    size: float
    stride: float
    start: float


def receptive_fields(
    model: nn.Module, image_size: int, channels: int = 3, at: Sequence[str] = ()
) -> dict[str, ReceptiveField]:
    """Returns the receptive field of each output of a network; nothing is computed.

    >>> receptive_fields(zoo.create("vgg16"), 224)["stage5"]
    ReceptiveField(size=212, stride=32, start=-90)

    Attention, squeeze-and-excitation and other means over the whole map make every position see the
    whole image: its size is infinity. Attention within windows is taken for attention over all.

    Args:
      model: Unbound network.
      image_size: Side of its square images in pixels, as the network takes them.
      channels: Number of channels of its images.
      at: Names of outputs, as for `zoo.features`; by default all that are maps.

    Raises:
      ValueError: The network has no output of a name, or its program has an operation between
        positions whose field is not known.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
    with platform.tracing(platform.NATIVE):
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
        outputs = functools.partial(features, model, at=tuple(at) or None)
        program, shapes = jax.make_jaxpr(outputs, return_shape=True)(variables, images)
    positions = {name: number for number, name in enumerate(sorted(shapes))}  # as in a dict of JAX
    return fields_of(program.jaxpr, {name: positions[name] for name in shapes})


def fields_of(program: core.Jaxpr, outputs: Mapping[str, int]) -> dict[str, ReceptiveField]:
    """Returns the receptive fields of outputs of a program; those that are no maps are left out.

    Args:
      program: Program whose last input are images, of JAX's own operations
        (`platform.tracing(platform.NATIVE)`).
      outputs: Positions of its outputs by the names that the result has.

    Raises:
      ValueError: It has an operation between positions whose field is not known.
    """
    found = _follow(program, [None] * (len(program.invars) - 1) + [_Seen(2, 1.0, 1.0, 0.0)])
    return {
        name: ReceptiveField(*map(_whole, (field.size, field.stride, field.start)))
        for name, number in outputs.items()
        if len(_shape_of(program.outvars[number])) == 4 and (field := found[number]) is not None
    }


def layer_fields(traced: Trace, found: Mapping[str, Layer]) -> dict[str, ReceptiveField]:
    """Returns the receptive fields of the layers that are maps, by their names.

    Args:
      traced: A network, traced in the form for accelerators: `platform.tracing(platform.NATIVE)`.
      found: Its layers.

    Raises:
      ValueError: As `receptive_fields`.
    """
    program = traced.jaxpr.replace(outvars=[layer.variable for layer in found.values()])
    return fields_of(program, {name: number for number, name in enumerate(found)})


class _Seen(NamedTuple):
    """What an array sees of the image's columns; None instead for one that sees nothing.

    Attributes:
      axis: Axis of the array that stands for columns; None where every entry sees all of them.
      size, stride, start: See `ReceptiveField`.
    """

    axis: int | None
    size: float
    stride: float
    start: float


_ALL = _Seen(None, math.inf, 0.0, -math.inf)
_Rule = Callable[[core.JaxprEqn, list[_Seen | None]], _Seen | None]


def _follow(jaxpr: core.Jaxpr, seen: Sequence[_Seen | None]) -> list[_Seen | None]:
    """What the outputs of a program see, given what its inputs see."""
    known: dict[Any, _Seen | None] = dict(zip(jaxpr.invars, seen, strict=True))

    def look(variable: Any) -> _Seen | None:
        return None if isinstance(variable, core.Literal) else known.get(variable)

    for equation in jaxpr.eqns:
        inputs = [look(variable) for variable in equation.invars]
        results = [None] * len(equation.outvars)
        if any(inputs):
            inner = _inner(equation)
            if inner is not None:
                results = _follow(inner, inputs[-len(inner.invars) :])
            else:
                rule = _RULES.get(equation.primitive.name, _elementwise)
                results = [rule(equation, inputs)] * len(equation.outvars)
        known |= dict(zip(equation.outvars, results, strict=True))
    return [look(variable) for variable in jaxpr.outvars]


def _inner(equation: core.JaxprEqn) -> core.Jaxpr | None:
    """The program that an operation calls once; of several branches the last, which is native."""
    params = equation.params
    if equation.primitive.name == "cond":
        return params["branches"][-1].jaxpr
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in params and equation.primitive.name != "scan":
            inner = params[key]
            return getattr(inner, "jaxpr", inner)
    return None


def _union(fields: Sequence[_Seen | None]) -> _Seen | None:
    """What an entry sees that is made of one entry of each."""
    real = [field for field in fields if field is not None]
    if not real or all(field == real[0] for field in real):
        return real[0] if real else None
    if any(field.axis is None for field in real):
        return _ALL
    (axis, *others), strides = {f.axis for f in real}, {f.stride for f in real}
    if others or len(strides) > 1:
        raise ValueError(f"Arrays that see the image in different ways are joined: {real}.")
    start = min(field.start for field in real)
    stop = max(field.start + field.size for field in real)
    return _Seen(axis, stop - start, strides.pop(), start)


def _shape(equation: core.JaxprEqn, number: int = 0) -> tuple[int, ...]:
    return _shape_of(equation.invars[number])


def _shape_of(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _elementwise(equation: core.JaxprEqn, inputs: list[_Seen | None]) -> _Seen | None:
    """Any operation that works entry by entry, where axes of length 1 are stretched."""
    shape = _shape_of(equation.outvars[0])
    for variable, field in zip(equation.invars, inputs, strict=True):
        if field is None or field.axis is None:
            continue
        own = _shape_of(variable)
        if len(own) != len(shape) or own[field.axis] != shape[field.axis]:
            raise ValueError(f"What {equation.primitive.name} lets through is not known.")
    return _union(inputs)


def _windowed(
    field: _Seen, window: int, stride: int, dilation: int, before: int, axis: int
) -> _Seen:
    """What windows over a row of positions see."""
    return _Seen(
        axis,
        field.size + (window - 1) * dilation * field.stride,
        field.stride * stride,
        field.start - before * field.stride,
    )


def _convolution(equation: core.JaxprEqn, inputs: list[_Seen | None]) -> _Seen | None:
    field, params = _union(inputs), equation.params
    if field is None or field.axis is None:
        return field
    numbers = params["dimension_numbers"]
    if field.axis not in numbers.lhs_spec[2:] or inputs[1] is not None:
        return _ALL  # positions are channels, or the kernel depends on the image
    spatial = numbers.lhs_spec.index(field.axis) - 2
    if params["lhs_dilation"][spatial] != 1:
        raise ValueError("The field of a transposed convolution is not one interval.")
    return _windowed(
        field,
        _shape(equation, 1)[numbers.rhs_spec[2 + spatial]],
        params["window_strides"][spatial],
        params["rhs_dilation"][spatial],
        params["padding"][spatial][0],
        numbers.out_spec[2 + spatial],
    )


def _dot(equation: core.JaxprEqn, inputs: list[_Seen | None]) -> _Seen | None:
    """A product over channels leaves positions alone; one over positions sees all of them."""
    contracted, batch = equation.params["dimension_numbers"]
    fields: list[_Seen | None] = []
    free_before = len(batch[0])
    for side, field in enumerate(inputs):
        rank = len(_shape(equation, side))
        free = [a for a in range(rank) if a not in (*contracted[side], *batch[side])]
        if field is not None and field.axis is not None:
            if field.axis in contracted[side]:
                return _ALL
            if field.axis in batch[side]:
                field = field._replace(axis=tuple(batch[side]).index(field.axis))
            else:
                field = field._replace(axis=free_before + free.index(field.axis))
        fields.append(field)
        free_before += len(free) if side == 0 else 0
    if len({field.axis for field in fields if field is not None}) > 1:
        return _ALL  # every position is multiplied by every other one
    return _union(fields)


def _everything(equation: core.JaxprEqn, inputs: list[_Seen | None]) -> _Seen | None:
    return _ALL


def _moving(
    rule: Callable[[core.JaxprEqn, _Seen, int], _Seen],
) -> _Rule:
    """A rule for what moves positions: of (operation, field, its axis) -> field.

    What sees nothing, or everything, goes on doing so.
    """

    def apply(equation: core.JaxprEqn, inputs: list[_Seen | None]) -> _Seen | None:
        field = _union(inputs)
        if field is None or field.axis is None:
            return field
        return rule(equation, field, field.axis)

    return apply


def _reduce_window(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
    keys = ("window_dimensions", "window_strides", "window_dilation")
    window, stride, dilation = (equation.params[key][axis] for key in keys)
    return _windowed(field, window, stride, dilation, equation.params["padding"][axis][0], axis)


def _pad(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
    before, _, inside = equation.params["padding_config"][axis]
    if inside:
        raise ValueError("Padding between positions has no field.")
    return field._replace(start=field.start - before * field.stride)


def _slice(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
    start = field.start + equation.params["start_indices"][axis] * field.stride
    strides = equation.params["strides"]
    return field._replace(start=start, stride=field.stride * (strides[axis] if strides else 1))


def _without_axes(key: str) -> _Rule:
    """The rule for operations that take away the axes which their parameter `key` names."""

    def rule(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
        gone = equation.params[key]
        return _ALL if axis in gone else field._replace(axis=axis - sum(a < axis for a in gone))

    return _moving(rule)


def _broadcast(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
    return field._replace(axis=equation.params["broadcast_dimensions"][axis])


def _reshape(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
    """Positions stay positions where their axis keeps its length and what is before it."""
    before, after = _shape(equation), _shape_of(equation.outvars[0])
    outer = math.prod(before[:axis])
    for number, length in enumerate(after):
        if math.prod(after[:number]) == outer and length == before[axis]:
            return field._replace(axis=number)
    return _ALL


def _transpose(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
    return field._replace(axis=equation.params["permutation"].index(axis))


def _concatenate(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
    return _ALL if axis == equation.params["dimension"] else field


def _stack(equation: core.JaxprEqn, field: _Seen, axis: int) -> _Seen:
    return field._replace(axis=axis + (equation.params["axis"] <= axis))


_RULES: dict[str, _Rule] = {
    "conv_general_dilated": _convolution,
    "dot_general": _dot,
    "pad": _moving(_pad),
    "slice": _moving(_slice),
    "broadcast_in_dim": _moving(_broadcast),
    "reshape": _moving(_reshape),
    "transpose": _moving(_transpose),
    "concatenate": _moving(_concatenate),
    "stack": _moving(_stack),
    "squeeze": _without_axes("dimensions"),
    **dict.fromkeys(
        ("reduce_window", "reduce_window_max", "reduce_window_sum"), _moving(_reduce_window)
    ),
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_and", "argmax"), _without_axes("axes")
    ),
    **dict.fromkeys(("gather", "rev", "scan", "dynamic_slice"), _everything),
}


def _whole(number: float) -> float:
    return int(number) if math.isfinite(number) and number == int(number) else number
