"""What a model computes on the way: the outputs of its stages, by names that all families share."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn
from flax import traverse_util


def features(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    *,
    at: str | Sequence[str] | None = None,
) -> Any:
    """Intermediate outputs of `model` in evaluation mode.

    Under `jax.jit` whatever the chosen outputs do not need is never computed.

    Args:
      model: from `zoo.create`.
      variables: its variables.
      images: [B, H, W, C], normalised as `zoo.info(name)` says.
      at: "stem", "stage1", "stage2", ... ([B, H, W, C] each), "embedding" (the classifier's input,
        [B, C]), or what else the family's file sows. A name gives one array, several names a dict,
        None a dict of all. "attention" gives a dict from the layer's path to its attention map
        [B, heads, queries, keys], whose rows sum to 1; only when it is named, as maps are large.

    Raises:
      ValueError: the model has no output of that name; the message lists those it has.
    """
    named = () if at is None else (at,) if isinstance(at, str) else tuple(at)
    collections = ["intermediates"] + ["attention"] * ("attention" in named)
    _, state = model.apply(variables, images, mutable=collections)
    sown = {name: values[0] for name, values in state["intermediates"].items() if _is_sown(values)}
    if maps := traverse_util.flatten_dict(state.get("attention", {}), sep="/"):
        sown["attention"] = {path.removesuffix("/map"): value[0] for path, value in maps.items()}
    wanted = tuple(sown) if at is None else named
    if unknown := [name for name in wanted if name not in sown]:
        raise ValueError(
            f"{type(model).__name__} has no output {', '.join(unknown)}; "
            f"it has {', '.join(sorted(sown))}."
        )
    return sown[at] if isinstance(at, str) else {name: sown[name] for name in wanted}


def _is_sown(values: Any) -> bool:
    """True for what the network itself sows; submodules that sow come as nested mappings."""
    return isinstance(values, tuple)
