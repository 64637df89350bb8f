"""What a network computes on the way: the outputs of its stages, by names all families share."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
from flax import linen as nn
from flax import traverse_util

# Collections of what networks leave behind, besides their variables.
_SOWN = ("intermediates", "attention")


def features(
    model: nn.Module,
    variables: Mapping[str, Any] | jax.Array,
    images: jax.Array | None = None,
    *,
    at: str | Sequence[str] | None = None,
    train: bool = False,
    rngs: Mapping[str, jax.Array] | None = None,
) -> Any:
    """Intermediate outputs of a network: its stages, its embedding, its attention maps.

    Under `jax.jit` whatever the chosen outputs do not need is never computed. Outside of modules:

        stages = zoo.features(model, variables, images, at=["stage3", "stage4"])
        one, updates = zoo.features(model, variables, images, at="stage4", train=True, rngs=rngs)

    Within a module, a network that it contains has variables of its own, and the images follow it.
    This is how a network of the zoo becomes a backbone:

        class Pyramid(nn.Module):
            '''1x1 convolutions of the last three stages of a ResNet, to 64 channels each.'''

            def setup(self):
                self.backbone = zoo.create("resnet50", num_classes=0)
                self.lateral = [nn.Conv(64, (1, 1)) for _ in range(3)]

            def __call__(self, images, *, train=False):
                stages = zoo.features(
                    self.backbone, images, at=("stage2", "stage3", "stage4"), train=train
                )
                return [conv(x) for conv, x in zip(self.lateral, stages.values(), strict=True)]

    Args:
      model: from `zoo.create`.
      variables: its variables; not given within a module.
      images: [B, H, W, C], normalised as `zoo.info(name)` says.
      at: "stem", "stage1", "stage2", ... ([B, H, W, C] each; `zoo.info(name).stages` has their
        strides and channels), "embedding" (the head's input, [B, C]), or what else the family's
        file sows. A name gives one array, several names a dict in their order, None a dict of all.
        "attention" gives a dict from the layer's path to its attention map [B, heads, queries,
        keys], whose rows sum to 1; only when it is named, as maps are large.
      train: normalise by the statistics of the batch, and drop out.
      rngs: {"dropout": key} for dropout and drop path in training; within a module they come from
        its own stream "dropout".

    Returns:
      An array or a dict, see `at`. In training, outside of modules, a pair: this, and the updated
      collections, {"batch_stats": ...} where the network has any. Within a module the updated
      statistics go where the module's own layers leave theirs.

    Raises:
      ValueError: the network has no output of that name; the message lists those it has.
    """
    named = () if at is None else (at,) if isinstance(at, str) else tuple(at)
    if model.scope is not None:
        if images is not None:
            raise TypeError("Within a module call zoo.features(network, images): no variables.")
        sown = _of_submodule(model, cast(jax.Array, variables), named, train)
        return _chosen(model, sown, at, named)
    if images is None:
        raise TypeError("Outside of modules call zoo.features(model, variables, images).")
    given = cast(Mapping[str, Any], variables)
    sown, updates = _run(model, given, images, named, train, rngs)
    chosen = _chosen(model, sown, at, named)
    return (chosen, updates) if train else chosen


def _of_submodule(
    module: nn.Module, images: jax.Array, named: Sequence[str], train: bool
) -> dict[str, Any]:
    """What a bound module sows; its variables are made, and its statistics updated, in place."""
    if module.is_initializing():
        module(images, train=train)
    unbound, variables = module.unbind()
    rngs = {"dropout": module.make_rng("dropout")} if train and module.has_rng("dropout") else None
    sown, updates = _run(unbound, variables, images, named, train, rngs)
    if not module.is_initializing():
        for collection, values in updates.items():
            for name, value in values.items():
                module.put_variable(collection, name, value)
    return sown


def _run(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    named: Sequence[str],
    train: bool,
    rngs: Mapping[str, jax.Array] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an unbound network sows, and its updated collections."""
    wanted = _SOWN if "attention" in named else _SOWN[:1]
    statistics = [name for name in variables if name != "params"] if train else []
    mode: dict[str, Any] = dict(train=True, rngs=rngs) if train else {}
    state: Any
    _, state = model.apply(variables, images, **mode, mutable=[*wanted, *statistics])
    # Submodules that sow come as nested mappings.
    sown = {name: x[0] for name, x in state["intermediates"].items() if isinstance(x, tuple)}
    maps: dict[str, Any] = traverse_util.flatten_dict(state.get("attention", {}), sep="/")
    if maps:
        sown["attention"] = {path.removesuffix("/map"): value[0] for path, value in maps.items()}
    return sown, {name: state[name] for name in statistics if name in state}


def _chosen(
    model: nn.Module, sown: dict[str, Any], at: str | Sequence[str] | None, named: Sequence[str]
) -> Any:
    if unknown := [name for name in named if name not in sown]:
        raise ValueError(
            f"{type(model).__name__} has no output {', '.join(unknown)}; "
            f"it has {', '.join(sorted(sown))}."
        )
    if isinstance(at, str):
        return sown[at]
    return {name: sown[name] for name in (sown if at is None else named)}
