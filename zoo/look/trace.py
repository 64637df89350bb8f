"""A network traced to a program, with a record of its modules and steps."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from flax import traverse_util
from flax.core import tracers
from jax.extend import core

from zoo.layers.observe import Step, observed_by


class Call(NamedTuple):
    """A module or a step, as it was called while the network was traced.

    Attributes:
      kind: Name of the module's class or of the step.
      path: Path of the module; of a step, that of the module which takes it.
      is_module: Whether it is a module.
      settings: The module's attributes that are numbers, such as "epsilon".
      input, output: What it was given first, and what it returned: variables of the program.
    """

    kind: str
    path: str
    is_module: bool
    settings: Mapping[str, Any]
    input: Any
    output: Any


class Trace(NamedTuple):
    """The program of a network's evaluation.

    Attributes:
      jaxpr, consts: The program.
      sown: Variables of what the network sows, by name; maps of attention as "attention/PATH".
      shapes: Their shapes.
      calls: Modules and steps by name.
    """

    jaxpr: core.Jaxpr
    consts: Sequence[Any]
    sown: dict[str, Any]
    shapes: dict[str, Any]
    calls: dict[str, Call]


def trace(model: nn.Module, variables: Any, images: Any, attention: bool = False) -> Trace:
    """Traces the evaluation of a network; nothing is computed.

    Args:
      model: Unbound network.
      variables: Its variables, or their shapes.
      images: Images [B, H, W, C], or their shape.
      attention: Whether maps of attention are among what it sows.
    """
    collections = ["intermediates", *(["attention"] if attention else [])]
    calls: dict[str, Call] = {}

    def run(variables: Any, images: jax.Array) -> tuple[Any, ...]:
        with _recorded() as found:
            logits, state = model.apply(variables, images, mutable=collections)
        calls.update({name: call._replace(input=None, output=None) for name, call in found.items()})
        return logits, _sown(state), {name: call[-2:] for name, call in found.items()}

    traced, shapes = jax.make_jaxpr(run, return_shape=True)(variables, images)
    _, sown, arrays = jax.tree.unflatten(jax.tree.structure(shapes), traced.jaxpr.outvars)
    calls = {
        name: call._replace(input=arrays[name][0], output=arrays[name][1])
        for name, call in calls.items()
    }
    return Trace(traced.jaxpr, traced.consts, sown, shapes[1], calls)


def is_variable(variable: Any) -> bool:
    """Returns whether what an operation reads is a variable, and no constant."""
    return not isinstance(variable, core.Literal)


def _sown(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a network has sown, by name; maps of attention as "attention/PATH"."""
    sown = {name: x[0] for name, x in state["intermediates"].items() if isinstance(x, tuple)}
    maps: dict[str, Any] = traverse_util.flatten_dict(state.get("attention", {}), sep="/")
    return sown | {f"attention/{path.removesuffix('/map')}": x[0] for path, x in maps.items()}


@contextlib.contextmanager
def _recorded() -> Iterator[dict[str, Call]]:
    """Collects what modules and steps are given and return while a network is traced.

    What is traced apart, as the body of a scan, is no array of the network and left out.
    """
    found: dict[str, Call] = {}
    inside: list[str] = []
    level = tracers.current_trace()

    def keep(name: str, call: Call) -> None:
        if tracers.current_trace() == level and isinstance(call.output, jax.Array):
            number, unique = 1, name
            while unique in found:
                number += 1
                unique = f"{name}_{number}"
            found[unique] = call

    def record(call, arguments, keywords, context):
        module, path = context.module, "/".join(context.module.path)
        if context.method_name != "__call__":
            return call(*arguments, **keywords)
        inside.append(path)
        output = call(*arguments, **keywords)
        inside.pop()
        given = arguments[0] if arguments and isinstance(arguments[0], jax.Array) else None
        numbers = (bool, int, float, str, tuple)
        settings = {
            key: value
            for key in module.__dataclass_fields__
            if key not in ("parent", "name") and isinstance(value := getattr(module, key), numbers)
        }
        keep(path, Call(type(module).__name__, path, True, settings, given, output))
        return output

    def take(step: Step) -> None:
        path = inside[-1] if inside else ""
        keep(f"{path}/{step.kind}".lstrip("/"), Call(step.kind, path, False, {}, None, step.output))

    with nn.intercept_methods(record), observed_by(take):
        yield found
