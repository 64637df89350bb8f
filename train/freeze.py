"""Frozen layers: parameters that are not trained, and BatchNorms whose statistics are kept."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import optax
from flax import linen as nn

from train.errors import TrainError


def is_frozen(pattern: str, path: str) -> bool:
    """Whether the expression `optimizer.freeze` is found in a path such as "stem_conv/kernel"."""
    return bool(pattern and re.search(pattern, path))


def parameter_name(path: Any) -> str:
    """Returns the path of a parameter as text, "stage1_block1/conv1/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def some_names(params: Any) -> str:
    """Returns a sentence with names of parameters, for error messages."""
    names = [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return f"Their paths are such as {', '.join(names[:: max(1, len(names) // 4)][:5])}."


def freeze(optimizer: optax.GradientTransformation, pattern: str) -> optax.GradientTransformation:
    """Returns an optimizer that leaves frozen parameters alone, and keeps no state for them."""
    if not pattern:
        return optimizer

    def labels(params) -> Any:
        def label(path, _) -> str:
            return "frozen" if is_frozen(pattern, parameter_name(path)) else "trained"

        labelled = jax.tree_util.tree_map_with_path(label, params)
        if len(found := set(jax.tree.leaves(labelled))) == 1:
            raise TrainError(
                f"optimizer.freeze={pattern!r} matches {'all' if 'frozen' in found else 'none'} of "
                f"the parameters. {some_names(params)}"
            )
        return labelled

    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


@contextlib.contextmanager
def frozen_statistics(pattern: str) -> Iterator[None]:
    """Within it, frozen BatchNorms normalize by their running statistics and do not change them.

    A BatchNorm is frozen if the expression is found in the path of its statistics, such as
    "stage1_block1/norm1/mean". Trained on few images with statistics of each batch, frozen layers
    would give other features than in evaluation.
    """

    def intercept(call, args, kwargs, context):
        module = context.module
        if not isinstance(module, nn.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        if not is_frozen(pattern, "/".join([*module.path, "mean"])):
            return call(*args, **kwargs)
        # The attribute and the argument exclude each other, so the attribute is what can be set.
        before = module.use_running_average
        object.__setattr__(module, "use_running_average", True)
        try:
            return call(*args, **kwargs)
        finally:
            object.__setattr__(module, "use_running_average", before)

    with nn.intercept_methods(intercept) if pattern else contextlib.nullcontext():
        yield
