"""What a network computes on the way: the outputs of its stages, by names all families share."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
from flax import linen as nn
from flax import traverse_util

# Collections that networks sow, which are no variables.
_SOWN_COLLECTIONS = ("intermediates", "attention")


def features(
    model: nn.Module,
    variables: Mapping[str, Any] | jax.Array,
    images: jax.Array | None = None,
    *,
    at: str | Sequence[str] | None = None,
    train: bool = False,
    rngs: Mapping[str, jax.Array] | None = None,
) -> Any:
    """Returns intermediate outputs of a network: stages, embedding, attention maps.

    Under `jax.jit` whatever the selected outputs do not need is never computed. Outside of modules:

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
      model: Module from `zoo.create`.
      variables: Variables of the module; not given within a module.
      images: Images [B, H, W, C], normalised as `zoo.info(name)` says.
      at: Name or names of the outputs: "stem", "stage1", "stage2", ... ([B, H, W, C] each;
        `zoo.info(name).stages` has their strides and channels), "head_map" (the last map before
        pooling [B, H, W, C], of every convolutional network), "embedding" (the head's input,
        [B, C]), or what else the family's file sows. A name gives one array, several names a dict
        in their order, None a dict of all. "attention" gives a dict from the layer's path to its
        attention map [B, heads, queries, keys], whose rows sum to 1; only when it is named, as
        maps are large.
      train: Whether to normalise by the statistics of the batch, and to apply dropout.
      rngs: {"dropout": key} for dropout and drop path in training. Within a module they come from
        the module's own stream "dropout".

    Returns:
      An array or a dict, see `at`. In training, outside of modules, a pair: this, and the updated
      collections, {"batch_stats": ...} where the network has any. Within a module the updated
      statistics go where the module's own layers leave theirs.

    Raises:
      ValueError: The network has no output of that name; the message lists those it has.
      TypeError: Variables are given within a module, or not given outside of modules.
    """
    named = () if at is None else (at,) if isinstance(at, str) else tuple(at)
    if model.scope is not None:
        if images is not None:
            raise TypeError("Within a module call zoo.features(network, images): no variables.")
        sown = _sown_by_submodule(model, cast(jax.Array, variables), named, train)
        return _select(model, sown, at, named)
    if images is None:
        raise TypeError("Outside of modules call zoo.features(model, variables, images).")
    given = cast(Mapping[str, Any], variables)
    sown, updates = _apply(model, given, images, named, train, rngs)
    selected = _select(model, sown, at, named)
    return (selected, updates) if train else selected


def _sown_by_submodule(
    module: nn.Module, images: jax.Array, named: Sequence[str], train: bool
) -> dict[str, Any]:
    """Returns what a bound module sows; makes its variables and updates its statistics in place."""
    if module.is_initializing():
        module(images, train=train)
    unbound, variables = module.unbind()
    rngs = {"dropout": module.make_rng("dropout")} if train and module.has_rng("dropout") else None
    sown, updates = _apply(unbound, variables, images, named, train, rngs)
    if not module.is_initializing():
        for collection, values in updates.items():
            for name, value in values.items():
                module.put_variable(collection, name, value)
    return sown


def _apply(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    named: Sequence[str],
    train: bool,
    rngs: Mapping[str, jax.Array] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what an unbound network sows, and its updated collections."""
    sown_collections = _SOWN_COLLECTIONS if "attention" in named else _SOWN_COLLECTIONS[:1]
    statistics = [name for name in variables if name != "params"] if train else []
    mode: dict[str, Any] = dict(train=True, rngs=rngs) if train else {}
    _, state = model.apply(variables, images, **mode, mutable=[*sown_collections, *statistics])
    # Submodules that sow come as nested mappings.
    sown = {name: x[0] for name, x in state["intermediates"].items() if isinstance(x, tuple)}
    maps: dict[str, Any] = traverse_util.flatten_dict(state.get("attention", {}), sep="/")
    if maps:
        sown["attention"] = {path.removesuffix("/map"): value[0] for path, value in maps.items()}
    return sown, {name: state[name] for name in statistics if name in state}


def _select(
    model: nn.Module, sown: dict[str, Any], at: str | Sequence[str] | None, named: Sequence[str]
) -> Any:
    """Returns the outputs that `at` names, see `features`."""
    if unknown := [name for name in named if name not in sown]:
        raise ValueError(
            f"{type(model).__name__} has no output {', '.join(unknown)}; "
            f"it has {', '.join(sorted(sown))}."
        )
    if isinstance(at, str):
        return sown[at]
    return {name: sown[name] for name in (sown if at is None else named)}
