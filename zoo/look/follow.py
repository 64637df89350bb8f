"""What the arrays of a network's program see of the image, from operation to operation.

Each array carries the interval of pixels that one of its positions sees.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax.extend import core


class Seen(NamedTuple):
    """What an array sees of the image's columns; None instead for one that sees nothing.

    Attributes:
      axis: Axis of the array that stands for columns; None where every entry sees all of them.
      size, stride, start: See `ReceptiveField`.
      within: Where columns are cut into blocks, along `axis`: the axis of the columns of a block,
        their number, and their stride. Size and start are those of the first column of a block.
    """

    axis: int | None
    size: float
    stride: float
    start: float
    within: tuple[int, int, float] | None = None

    def whole_blocks(self) -> "Seen":
        """What all columns of a block see together."""
        if self.within is None:
            return self
        _, count, stride = self.within
        return self._replace(size=self.size + (count - 1) * stride, within=None)


_ALL = Seen(None, math.inf, 0.0, -math.inf)
_Rule = Callable[[core.JaxprEqn, list[Seen | None]], Seen | None]


def follow(jaxpr: core.Jaxpr, seen: Sequence[Seen | None]) -> list[Seen | None]:
    """What the outputs of a program see, given what its inputs see."""
    known: dict[Any, Seen | None] = dict(zip(jaxpr.invars, seen, strict=True))

    def look(variable: Any) -> Seen | None:
        return None if isinstance(variable, core.Literal) else known.get(variable)

    for equation in jaxpr.eqns:
        inputs = [look(variable) for variable in equation.invars]
        results = [None] * len(equation.outvars)
        if any(inputs):
            inner = _inner(equation)
            if inner is not None:
                results = follow(inner, inputs[-len(inner.invars) :])
            else:
                name = equation.primitive.name
                if name in _RULES and name not in _OF_BLOCKS:
                    inputs = [field and field.whole_blocks() for field in inputs]
                result = _RULES.get(name, _elementwise)(equation, inputs)
                results = [result] * len(equation.outvars)
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


def _union(fields: Sequence[Seen | None]) -> Seen | None:
    """What an entry sees that is made of one entry of each."""
    real = [field for field in fields if field is not None]
    if not real or all(field == real[0] for field in real):
        return real[0] if real else None
    if any(field.axis is None for field in real):
        return _ALL
    real = [field.whole_blocks() for field in real]
    (axis, *others), strides = {f.axis for f in real}, {f.stride for f in real}
    if others or len(strides) > 1:
        raise ValueError(f"Arrays that see the image in different ways are joined: {real}.")
    start = min(field.start for field in real)
    stop = max(field.start + field.size for field in real)
    return Seen(axis, stop - start, strides.pop(), start)


def _shape(equation: core.JaxprEqn, number: int = 0) -> tuple[int, ...]:
    return shape_of(equation.invars[number])


def shape_of(variable: Any) -> tuple[int, ...]:
    """Shape of what a variable of a jaxpr holds."""
    return variable.aval.shape


def _elementwise(equation: core.JaxprEqn, inputs: list[Seen | None]) -> Seen | None:
    """Any operation that works entry by entry, where axes of length 1 are stretched."""
    shape = shape_of(equation.outvars[0])
    for variable, field in zip(equation.invars, inputs, strict=True):
        if field is None or field.axis is None:
            continue
        own = shape_of(variable)
        if len(own) != len(shape) or own[field.axis] != shape[field.axis]:
            raise ValueError(f"What {equation.primitive.name} lets through is not known.")
    return _union(inputs)


def _windowed(field: Seen, window: int, stride: int, dilation: int, before: int, axis: int) -> Seen:
    """What windows over a row of positions see."""
    return Seen(
        axis,
        field.size + (window - 1) * dilation * field.stride,
        field.stride * stride,
        field.start - before * field.stride,
    )


def _convolution(equation: core.JaxprEqn, inputs: list[Seen | None]) -> Seen | None:
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


def _dot(equation: core.JaxprEqn, inputs: list[Seen | None]) -> Seen | None:
    """A product over channels leaves positions alone; one over positions sees all of them."""
    contracted, batch = equation.params["dimension_numbers"]
    fields: list[Seen | None] = []
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


def _everything(equation: core.JaxprEqn, inputs: list[Seen | None]) -> Seen | None:
    return _ALL


def _moving(
    rule: Callable[[core.JaxprEqn, Seen, int], Seen],
) -> _Rule:
    """A rule for what moves positions: of (operation, field, its axis) -> field.

    What sees nothing, or everything, goes on doing so.
    """

    def apply(equation: core.JaxprEqn, inputs: list[Seen | None]) -> Seen | None:
        field = _union(inputs)
        if field is None or field.axis is None:
            return field
        return rule(equation, field, field.axis)

    return apply


def _reduce_window(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
    keys = ("window_dimensions", "window_strides", "window_dilation")
    window, stride, dilation = (equation.params[key][axis] for key in keys)
    return _windowed(field, window, stride, dilation, equation.params["padding"][axis][0], axis)


def _pad(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
    before, _, inside = equation.params["padding_config"][axis]
    if inside:
        raise ValueError("Padding between positions has no field.")
    return field._replace(start=field.start - before * field.stride)


def _slice(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
    start = field.start + equation.params["start_indices"][axis] * field.stride
    strides = equation.params["strides"]
    return field._replace(start=start, stride=field.stride * (strides[axis] if strides else 1))


def _without_axes(key: str) -> _Rule:
    """The rule for operations that take away the axes which their parameter `key` names."""

    def rule(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
        gone = equation.params[key]
        if axis in gone:
            return _ALL
        if field.within is not None and field.within[0] in gone:
            field = field.whole_blocks()
        return _with_axes(field, lambda axis: axis - sum(a < axis for a in gone))

    return _moving(rule)


def _broadcast(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
    return field._replace(axis=equation.params["broadcast_dimensions"][axis])


def _reshape(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
    """Positions stay positions where their axis keeps its length and what is before it.

    An axis can also be cut into blocks, and blocks be put together again.
    """
    before, after = _shape(equation), shape_of(equation.outvars[0])
    joined = before[axis]
    if field.within is not None:
        if field.within[0] == axis + 1:
            joined *= before[axis + 1]
        else:
            field = field.whole_blocks()
    outer = math.prod(before[:axis])
    for number, length in enumerate(after):
        if math.prod(after[:number]) != outer:
            continue
        if length == joined and field.within is not None:
            return field._replace(axis=number, stride=field.within[2], within=None)
        if length == before[axis]:
            if (
                field.within is not None
                and after[number + 1 : number + 2] == before[axis + 1 : axis + 2]
            ):
                return field._replace(axis=number, within=(number + 1, *field.within[1:]))
            return field.whole_blocks()._replace(axis=number)
        if field.within is None and math.prod(after[number : number + 2]) == joined and length > 1:
            count = joined // length
            within = number + 1, count, field.stride
            return field._replace(axis=number, stride=field.stride * count, within=within)
    return _ALL


def _transpose(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
    return _with_axes(field, equation.params["permutation"].index)


def _with_axes(field: Seen, move: Callable[[int], int]) -> Seen:
    """The same where an operation moves the axes of the array."""
    if field.axis is None:
        return field
    within = field.within and (move(field.within[0]), *field.within[1:])
    return field._replace(axis=move(field.axis), within=within)


def _concatenate(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
    return _ALL if axis == equation.params["dimension"] else field


def _stack(equation: core.JaxprEqn, field: Seen, axis: int) -> Seen:
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
# Rules that know what becomes of columns within blocks.
_OF_BLOCKS = {"reshape", "transpose", "squeeze", "reduce_sum", "reduce_max", "reduce_min"}
