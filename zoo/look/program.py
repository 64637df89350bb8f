"""A network as a program that can be run with taps at its outputs and another rule for ReLUs.

The network is traced once; nothing in it has to be prepared. What it sows are variables of the
program, to which a run can add what it is asked to, and every ReLU in it can be replaced.
"""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core

from zoo.look.layers import LOGITS, activation, layers
from zoo.look.trace import is_variable, trace

Relu = Callable[[jax.Array], jax.Array]
# Operations that only rearrange numbers, or take some of them.
_MOVES = ("reshape", "slice", "squeeze", "transpose")
# Operations that call one program with all of their inputs.
_CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "custom_vjp_call")


class Program:
    """The evaluation of a network on images of one shape.

    Args:
      model: Unbound network.
      variables: Its variables, or their shapes.
      images: Images [B, H, W, C], or their shape.
      at: Names of outputs, as for `zoo.features`, whose values are wanted or changed; "attention"
        stands for all maps of attention, in the order in which they are computed. The name of any
        layer, such as "stage1_block1/conv1", and "logits" will do as well.

    Attributes:
      relus: Number of ReLUs in it.
      shapes: Shapes of the outputs in `at` by their names.
      sown: Shapes of all outputs by their names.
      layers: Layers by their names, see `zoo.look.layers`.

    Raises:
      ValueError: The network has no output of a name.
    """

    def __init__(self, model: nn.Module, variables: Any, images: Any, at: Sequence[str] = ()):
        traced = trace(model, variables, images, attention="attention" in at)
        self._jaxpr, self._consts, sown = traced.jaxpr, traced.consts, traced.shapes
        steps = (variable for step in self._jaxpr.eqns for variable in step.outvars)
        order: dict[Any, int] = {variable: number for number, variable in enumerate(steps)}
        maps = [name for name in sown if name.startswith("attention/")]
        maps.sort(key=lambda name: order[traced.sown[name]])
        names = [each for name in at for each in (maps if name == "attention" else [name])]
        self.layers = layers(traced, variables)
        of_layers = {name: layer.variable for name, layer in self.layers.items()}
        variables_of = of_layers | {LOGITS: self._jaxpr.outvars[0]} | traced.sown
        if unknown := [name for name in names if name not in variables_of]:
            raise ValueError(
                f"{type(model).__name__} has no output {', '.join(unknown)}; it has "
                f"{', '.join(name for name in sown if name not in maps)}, and its layers."
            )
        self._taps = {name: variables_of[name] for name in names}
        self._sources = {name: _source(self._jaxpr, v) for name, v in self._taps.items()}
        self.sown = sown
        self.shapes: dict[str, Any] = {name: x.aval for name, x in self._taps.items()}
        self.relus = sum(1 for _ in _relus(self._jaxpr))

    def __call__(
        self,
        variables: Any,
        images: jax.Array,
        added: Mapping[str, jax.Array] | None = None,
        relu: Relu | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the logits [B, K] and the outputs by their names.

        Args:
          variables: Variables of the network.
          images: Images of the shape that was traced.
          added: What is added to outputs before the network goes on from them, by their names. An
            output that is cut out of something, as the patches out of all tokens, is changed there.
          relu: Function in place of every ReLU.
        """
        taps: dict[Any, jax.Array] = {}
        for name, value in (added or {}).items():
            source, moves = self._sources[name]
            value = _moved_back(value, source, moves)
            taps[source] = taps[source] + value if source in taps else value
        inputs = jax.tree.leaves((variables, images))
        known = _run(self._jaxpr, self._consts, inputs, taps, relu)
        outputs = {name: known(variable) for name, variable in self._taps.items()}
        return known(self._jaxpr.outvars[0]), outputs


def logit(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the logit of each image's class: [B, K], int [B] -> [B]."""
    return jnp.take_along_axis(logits, jnp.asarray(targets)[:, None], axis=1)[:, 0]


def logit_of(model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the logit of each image's class, [B]."""
    logits: Any = model.apply(variables, images)
    return logit(logits, targets)


def map_of(outputs: Any, at: str, model: nn.Module) -> Any:
    """Returns the output of that name, or its shape.

    Raises:
      ValueError: It has no positions.
    """
    if len(outputs[at].shape) != 4:
        name, shape = type(model).__name__, outputs[at].shape
        raise ValueError(f"{at} of {name} is no map [B, h, w, C]: its shape is {shape}.")
    return outputs[at]


def _source(jaxpr: core.Jaxpr, variable: Any) -> tuple[Any, list[core.JaxprEqn]]:
    """Where the network goes on from an output, and how the output is cut out of that.

    Most outputs are read by the network itself. Some are made for those who ask for them alone.
    """
    makers = {v: equation for equation in jaxpr.eqns for v in equation.outvars}
    reads = collections.Counter(v for e in jaxpr.eqns for v in e.invars if is_variable(v))
    source, moves, read = variable, [], reads[variable]
    while not read and source in makers and makers[source].primitive.name in _MOVES:
        moves.insert(0, makers[source])
        source = moves[0].invars[0]
        read = reads[source] - 1
    return (source, moves) if read else (variable, [])


def _moved_back(value: jax.Array, source: Any, moves: Sequence[core.JaxprEqn]) -> jax.Array:
    """What is added to the source of an output for `value` to be added to the output."""

    def cut(x: jax.Array) -> jax.Array:
        for equation in moves:
            (x,) = _bind(equation, [x])
        return x

    return jax.linear_transpose(cut, source.aval)(value)[0] if moves else value


def _run(
    jaxpr: core.Jaxpr,
    consts: Sequence[Any],
    inputs: Sequence[Any],
    taps: Mapping[Any, jax.Array],
    relu: Relu | None,
) -> Callable[[Any], Any]:
    """Runs a program; returns the function from its variables to their values."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs), strict=True))

    def value_of(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else values[variable]

    for equation in jaxpr.eqns:
        arguments = [value_of(variable) for variable in equation.invars]
        inner = _called(equation) if relu else None
        if relu and _is_relu(equation):
            results = [relu(*arguments)]
        elif relu and inner is not None and any(_relus(inner[0])):
            found = _run(*inner, arguments, {}, relu)
            results = [found(variable) for variable in inner[0].outvars]
        else:
            results = _bind(equation, arguments)
        for variable, result in zip(equation.outvars, results, strict=True):
            values[variable] = result + taps[variable] if variable in taps else result
    return value_of


def _bind(equation: core.JaxprEqn, arguments: Sequence[Any]) -> list[Any]:
    """Runs one operation."""
    bound: Any = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    with equation.ctx.manager:
        results = equation.primitive.bind(*functions, *arguments, **params)
    return list(results) if equation.primitive.multiple_results else [results]


def _relus(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    for equation in jaxpr.eqns:
        if _is_relu(equation):
            yield equation
        elif (inner := _called(equation)) is not None:
            yield from _relus(inner[0])


def _is_relu(equation: core.JaxprEqn) -> bool:
    """Whether this is jax.nn.relu, whose rule for gradients belongs to one function `relu`."""
    return equation.primitive.name == "custom_jvp_call" and activation(equation) == "relu"


def _called(equation: core.JaxprEqn) -> tuple[core.Jaxpr, Sequence[Any]] | None:
    """The program that an operation calls, and its constants."""
    if equation.primitive.name not in _CALLS:
        return None
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if inner is None:
        return None
    # A program without constants stands in some operations without its wrapper.
    return (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
